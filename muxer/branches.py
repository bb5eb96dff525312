"""Both sides of a share compared: what a request costs, how long it takes, how often it fails and how good its answer
was judged to be, with 95 % intervals.

Conversations are what was drawn, so they are what varies: the turns of one say little more than one of them does.
"""

import math
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from muxer.money import NANOS_PER_USD
from muxer.types import Record

_Z = 1.959964  # 95 % of a normal distribution lie within so many deviations


class Mean(Struct, frozen=True):
    """A mean and the interval it lies in at 95 %, as far as there is enough to tell."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


class Talk(Struct):
    """What the requests of one conversation add up to."""

    requests: int = 0
    usd: float = 0.0
    failed: int = 0
    answered: int = 0
    ms: float = 0.0
    scored: int = 0
    score: float = 0.0


class Side:
    """The requests on one side of a share, by conversation."""

    def __init__(self) -> None:
        self._talks: dict[tuple[str, str, str], Talk] = {}

    def add(self, record: Record) -> None:
        """Counts a finished request. What is presumed spent counts as spent."""
        talk = self._talks.setdefault((record.key, record.user, record.conversation), Talk())
        talk.requests += 1
        talk.usd += (record.cost_nanos + record.presumed_nanos) / NANOS_PER_USD
        if record.state == "done":
            talk.answered += 1
            talk.ms += record.ms
        else:
            talk.failed += 1
        if record.feedback is not None:
            talk.scored += 1
            talk.score += record.feedback

    @property
    def requests(self) -> int:
        """How many there were."""
        return sum(talk.requests for talk in self._talks.values())

    @property
    def conversations(self) -> int:
        """In how many conversations."""
        return len(self._talks)

    @property
    def scored(self) -> int:
        """How many of them have a score."""
        return sum(talk.scored for talk in self._talks.values())

    @property
    def usd(self) -> Mean:
        """Dollars a request."""
        return _ratio([(talk.usd, talk.requests) for talk in self._talks.values()])

    @property
    def ms(self) -> Mean:
        """Milliseconds until an answer was complete."""
        return _ratio([(talk.ms, talk.answered) for talk in self._talks.values() if talk.answered])

    @property
    def failed(self) -> Mean:
        """The part of the requests that were not answered."""
        found = _ratio([(talk.failed, talk.requests) for talk in self._talks.values()])
        return _within_one(found, self.conversations)

    @property
    def feedback(self) -> Mean:
        """The score of those that have one."""
        pairs = [(talk.score, talk.scored) for talk in self._talks.values() if talk.scored]
        return _within_one(_ratio(pairs), len(pairs))


class Comparison(Struct, frozen=True):
    """The sides of one share, and what being in it changes."""

    route: str
    inside: Side
    outside: Side

    @property
    def usd(self) -> Mean:
        """The change in dollars a request."""
        return _change(self.inside.usd, self.outside.usd)

    @property
    def ms(self) -> Mean:
        """The change in milliseconds."""
        return _change(self.inside.ms, self.outside.ms)

    @property
    def failed(self) -> Mean:
        """The change in the part that fails."""
        return _change(self.inside.failed, self.outside.failed)

    @property
    def feedback(self) -> Mean:
        """The change in the score."""
        return _change(self.inside.feedback, self.outside.feedback)


class Comparisons:
    """Sorts finished requests by the shares that they met; what met several counts for each."""

    def __init__(self) -> None:
        self._sides: dict[str, tuple[Side, Side]] = {}

    def add(self, record: Record) -> None:
        """Counts a request, unless it is still open or met no share."""
        if record.state == "open" or not record.branch:
            return
        for branch in record.branch.split(", "):
            name = branch.removeprefix("not ")
            self._sides.setdefault(name, (Side(), Side()))[branch != name].add(record)

    @property
    def found(self) -> list[Comparison]:
        """One for each share, by the name of its route."""
        return [Comparison(name, *sides) for name, sides in sorted(self._sides.items())]


def as_json(found: Iterable[Comparison]) -> list[dict[str, Any]]:
    """The comparisons; `failed` and `feedback` are from 0 to 1; intervals are null where too little is known."""
    return [
        {
            "route": one.route,
            "in": _side_fields(one.inside),
            "not_in": _side_fields(one.outside),
            "difference": _fields(one),
        }
        for one in found
    ]


def _side_fields(side: Side) -> dict[str, Any]:
    counts = {name: getattr(side, name) for name in ("requests", "conversations", "scored")}
    return {**counts, **_fields(side)}


def _fields(one: Side | Comparison) -> dict[str, Any]:
    return {name: msgspec.to_builtins(getattr(one, name)) for name in ("usd", "ms", "failed", "feedback")}


def _ratio(pairs: list[tuple[float, int]]) -> Mean:
    """A sum over a count, where the conversations that both come from are drawn: Cochran's ratio estimator."""
    total = sum(count for _, count in pairs)
    if not total:
        return Mean()
    value, drawn = sum(amount for amount, _ in pairs) / total, len(pairs)
    if drawn < 2:
        return Mean(value)
    rest = sum((amount - value * count) ** 2 for amount, count in pairs)
    reach = _quantile(drawn - 1) * math.sqrt(rest * drawn / (drawn - 1)) / total
    return Mean(value, value - reach, value + reach)


def _within_one(found: Mean, conversations: int) -> Mean:
    """The interval of a mean of values from 0 to 1 by Wilson's score, with as many independent draws as the
    conversations are worth: it has a width also where all are the same."""
    if found.value is None or found.low is None:
        return found
    part, deviation = found.value, (found.value - found.low) / _quantile(conversations - 1)
    draws = part * (1 - part) / deviation**2 if deviation else float(conversations)
    middle = (part + _Z**2 / (2 * draws)) / (1 + _Z**2 / draws)
    reach = _Z * math.sqrt(part * (1 - part) / draws + _Z**2 / (4 * draws**2)) / (1 + _Z**2 / draws)
    return Mean(part, max(0.0, middle - reach), min(1.0, middle + reach))


def _change(inside: Mean, outside: Mean) -> Mean:
    """The difference of two independent means, each interval going in by the side that faces the other (Newcombe)."""
    if inside.value is None or outside.value is None:
        return Mean()
    value = inside.value - outside.value
    if inside.low is None or inside.high is None or outside.low is None or outside.high is None:
        return Mean(value)
    below = math.hypot(inside.value - inside.low, outside.high - outside.value)
    above = math.hypot(inside.high - inside.value, outside.value - outside.low)
    return Mean(value, value - below, value + above)


def _quantile(freedom: int) -> float:
    """Student's t at 97.5 %, by Cornish and Fisher's expansion, which from 4 degrees of freedom on has two decimals
    right; for fewer by the table."""
    table = (12.706, 4.303, 3.182)
    if freedom <= len(table):
        return table[freedom - 1]
    z, n = _Z, freedom
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / n + second / n**2 + third / n**3
