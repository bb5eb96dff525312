"""Whether the store answers, and what was done while it did not: said when that begins and when it is over (S18)."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec import Struct

from muxer import measurements
from muxer.deadlines import Deadline
from muxer.entries import pinned
from muxer.errors import StoreUnavailable
from muxer.interfaces import Log, Meter
from muxer.log import frames
from muxer.money import NANOS_PER_USD, usd
from muxer.stores import BudgetClaim, HoldChoice, Store

T = TypeVar("T")
DEADLINE_S = 5.0
GIVEN_UP_AFTER, ASK_EVERY_S = 3, 0.5  # F8: then nobody waits for the store but one call in that time
_MOST_ACCOUNTS = 1_000


class _Passed(Struct):
    """What one account was let spend unasked."""

    claim: BudgetClaim
    nanos: int = 0


class Outage:
    """Watches the changes asked of one store. `changed` is set when it may be time to tell it what it missed, `over`
    when it knows all again; `answers` counts the changes it made. `now` gives seconds."""

    def __init__(self, meter: Meter, log: Log, now: Callable[[], float] = time.monotonic) -> None:
        self._meter = meter
        self._log = log
        self._now = now
        self._failures = 0
        self._counted_at = float("-inf")
        self._ask_at = 0.0
        self._met: dict[str, int] = {}
        self._broke: set[tuple[str, type[Exception]]] = set()
        self._passed: dict[tuple[str, str, int], _Passed] = {}
        self.is_on = False
        self.answers = 0
        self.reason = ""
        self.changed = asyncio.Event()
        self.over = asyncio.Event()

    async def watch(self, call: str, work: Callable[[], Awaitable[T]], *, is_suspect: bool = False) -> T:
        """Runs one change by a deadline, measured. Raises StoreUnavailable, whatever a store raises: the change may
        have been made all the same, and nothing that is owed is given up for it. A failure of what `is_suspect` itself
        says nothing of the store."""
        begun, asked_at = time.perf_counter(), self._now()
        try:
            with Deadline(DEADLINE_S):
                result = await work()
        except TimeoutError as error:
            failure = StoreUnavailable("the store did not answer in time; try again in a moment")
            self._failed(failure, "timeout", asked_at, is_suspect)
            raise failure from error
        except StoreUnavailable as error:
            self._failed(error, "unavailable", asked_at, is_suspect)
            raise
        except Exception as error:  # a store is a plugin: its defects must end neither requests nor tasks
            failure = StoreUnavailable(f"the store failed: {type(error).__name__}")
            if (call, type(error)) not in self._broke:
                self._broke.add((call, type(error)))
                self._log("error", "store_broke", call=call, error=repr(error), trace=frames(error))
            self._failed(failure, "broke", asked_at, is_suspect)
            raise failure from error
        finally:
            self._meter.observe(measurements.STORE_SECONDS, time.perf_counter() - begun, call)
        self._failures = 0
        self.answers += 1
        if self.is_on:
            self.changed.set()
        return result

    @property
    def is_answering(self) -> bool:
        """Whether the last change was made."""
        return self._failures == 0

    def may_ask(self) -> bool:
        """Whether to ask at all: after some failures in a row, one call in a while finds out whether that is over."""
        if self._failures < GIVEN_UP_AFTER:
            return True
        now = self._now()
        if now < self._ask_at:
            return False
        self._ask_at = now + ASK_EVERY_S
        return True

    def met(self, policy: str, choice: HoldChoice | None = None, granted_nanos: int = 0, at_s: float = 0.0) -> None:
        """A request was refused, or let in for `choice`, without asking."""
        self._meter.add(measurements.OUTAGE_REQUESTS, 1, policy)
        self._met[policy] = self._met.get(policy, 0) + 1
        for claim in choice.claims if choice else ():
            claim = pinned(claim, at_s)
            key = claim.limit, claim.account, claim.windows[0].start_s
            is_listed = key in self._passed or len(self._passed) < _MOST_ACCOUNTS
            if claim.on_store_error == "allow" and is_listed:
                self._passed.setdefault(key, _Passed(claim)).nanos += granted_nanos

    async def tell_overruns(self, store: Store) -> None:
        """Says which limits were passed. Raises StoreUnavailable; then it can be called again."""
        passed, self._passed = self._passed, {}
        try:
            standings = await self.watch("standings", lambda: store.standings([one.claim for one in passed.values()]))
        except StoreUnavailable:
            self._passed = passed | self._passed
            raise
        over: dict[str, list[int]] = {}
        for one, at in zip(passed.values(), standings, strict=True):
            excess = at.spent_nanos + at.held_nanos + at.presumed_nanos - (at.limit_nanos or 0)
            if excess > 0:
                # No more than what was let in without asking: the rest has other causes.
                over.setdefault(at.limit, []).append(min(excess, one.nanos))
        for limit, amounts in over.items():
            self._meter.add(measurements.OUTAGE_OVERRUN_USD, sum(amounts) / NANOS_PER_USD, limit)
            self._log("warning", "limit_passed", limit=limit, subjects=len(amounts), over_usd=usd(sum(amounts)))

    def end(self) -> None:
        """All is told. Says so, with what was done meanwhile."""
        self._log("info", "store_outage_over", **self._met)
        self._met = {}
        self._broke.clear()
        self.is_on = False
        self.over.set()

    def _failed(self, error: StoreUnavailable, kind: str, asked_at: float, is_suspect: bool) -> None:
        self._meter.add(measurements.STORE_ERRORS, 1, kind)
        if is_suspect:
            return
        self.reason = error.message
        # Calls that were under way together fail together, and say no more than one of them.
        if asked_at >= self._counted_at:
            self._failures += 1
            self._counted_at = self._now()
            self._ask_at = self._counted_at + ASK_EVERY_S
        if not self.is_on:
            self.is_on = True
            self._log("error", "store_outage", reason=error.message)
