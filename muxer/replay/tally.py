"""What a replay adds up: sums and the largest changes, in memory that does not grow with the requests."""

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import TypeVar

from msgspec import Struct

from muxer.replay.outcomes import Outcome
from muxer.types import Record

KeyT = TypeVar("KeyT", bound=Hashable)
FlowT = TypeVar("FlowT", bound=Hashable)
LARGEST = 10
_HOUR_S = 3_600


class Sum(Struct):
    """Requests, those of them that moved, and nano-dollars before and after."""

    requests: int = 0
    moved: int = 0
    before_nanos: int = 0
    after_nanos: int = 0

    def add(self, before_nanos: int, after_nanos: int, *, moved: bool) -> None:
        """Counts one request."""
        self.requests += 1
        self.moved += moved
        self.before_nanos += before_nanos
        self.after_nanos += after_nanos

    @property
    def change_nanos(self) -> int:
        """What it costs more; less is negative."""
        return self.after_nanos - self.before_nanos

    @property
    def change(self) -> float | None:
        """The same as a share of what it cost before; None where that was nothing and is something now."""
        if self.before_nanos:
            return self.change_nanos / self.before_nanos
        return None if self.after_nanos else 0.0


class Change(Struct, frozen=True, order=True):
    """One request whose cost changes, ordered by how much."""

    by_nanos: int
    id: str
    before: Outcome
    after: Outcome


class Tally:
    """All that is said of a replay. A request that is unknown on one side is in no sum."""

    def __init__(self) -> None:
        self.hours: dict[int, Sum] = {}
        self._flows: dict[tuple[str, str, str], Sum] = {}
        self.cheaper = 0
        self.dearer = 0
        self.level = 0
        self.newly_refused = 0
        self.refusals: dict[str, list[int]] = {}
        self.unknown: Counter[str] = Counter()
        self.first_s = 0.0
        self.last_s = 0.0
        self._largest: list[Change] = []

    def add(self, record: Record, before: Outcome, after: Outcome) -> None:
        """Counts one request and what both sides make of it."""
        unknown = before.unknown or after.unknown
        if unknown:
            self.unknown[unknown] += 1
            return
        self.first_s = self.first_s or record.at
        self.last_s = record.at
        costs, moved = (before.cost_nanos, after.cost_nanos), not before.is_same_as(after)
        pair = _pair(before, after) if moved else (before.goes_to, before.goes_to)
        _of(self._flows, (before.route, *pair)).add(*costs, moved=moved)
        _of(self.hours, int(record.at // _HOUR_S) * _HOUR_S).add(*costs, moved=moved)
        if moved:
            self._count_refusals(before, after)
        by_nanos = after.cost_nanos - before.cost_nanos
        if by_nanos or moved:
            self._keep(Change(abs(by_nanos), record.id, before, after))
        if moved and before.model and after.model:
            self.cheaper += by_nanos < 0
            self.dearer += by_nanos > 0
            self.level += by_nanos == 0

    def leave_out(self, reason: str) -> None:
        """Counts a request that neither side can be asked about."""
        self.unknown[reason] += 1

    @property
    def total(self) -> Sum:
        """All requests."""
        return _summed(self._flows.values())

    @property
    def routes(self) -> dict[str, Sum]:
        """By the route before."""
        return _grouped(self._flows, lambda flow: flow[0])

    @property
    def flows(self) -> dict[tuple[str, str], Sum]:
        """By the models before and after, or what refuses."""
        return _grouped(self._flows, lambda flow: flow[1:])

    @property
    def moves(self) -> dict[tuple[str, str], Sum]:
        """Of the flows from model to model those between two."""
        return {pair: one for pair, one in self.flows.items() if one.moved}

    @property
    def largest(self) -> list[Change]:
        """The largest changes of single requests, the largest first."""
        return sorted(self._largest, reverse=True)

    def _keep(self, change: Change) -> None:
        if len(self._largest) < LARGEST:
            heapq.heappush(self._largest, change)
        elif change.by_nanos > self._largest[0].by_nanos:
            heapq.heapreplace(self._largest, change)

    def _count_refusals(self, before: Outcome, after: Outcome) -> None:
        """Those on one side only: who is refused on both has not moved."""
        self.newly_refused += bool(after.refused and not before.refused)
        for side, one in enumerate((before, after)):
            if one.refused:
                self.refusals.setdefault(one.refused, [0, 0])[side] += 1


def _of(sums: dict[KeyT, Sum], key: KeyT) -> Sum:
    found = sums.get(key)
    if found is None:
        found = sums[key] = Sum()
    return found


def _grouped(flows: Mapping[FlowT, Sum], by: Callable[[FlowT], KeyT]) -> dict[KeyT, Sum]:
    groups: dict[KeyT, list[Sum]] = {}
    for flow, one in flows.items():
        groups.setdefault(by(flow), []).append(one)
    return {key: _summed(sums) for key, sums in groups.items()}


def _summed(sums: Collection[Sum]) -> Sum:
    return Sum(
        sum(one.requests for one in sums),
        sum(one.moved for one in sums),
        sum(one.before_nanos for one in sums),
        sum(one.after_nanos for one in sums),
    )


def _pair(before: Outcome, after: Outcome) -> tuple[str, str]:
    if before.model and before.model == after.model:
        return f"{before.model} ({before.upstream})", f"{after.model} ({after.upstream})"
    return before.goes_to, after.goes_to
