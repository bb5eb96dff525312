"""Money on the path of a request: one hold before, extensions between attempts, one settlement at the end."""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from muxer import measurements
from muxer.errors import (
    BudgetExceeded,
    BudgetExceededAsRate,
    ConcurrencyExceeded,
    MuxerError,
    RateLimited,
    StoreUnavailable,
)
from muxer.interfaces import Log, Meter
from muxer.money import NANOS_PER_USD, usd
from muxer.stores import Granted, HoldChoice, QuotaStanding, Refusal, Refused, Standing, Store
from muxer.types import Attempt, Record

T = TypeVar("T")
HOLD_DEADLINE_S = 5.0
_RETRY_SETTLE_S = (0.05, 0.2, 1.0, 5.0, 5.0, 15.0, 15.0, 30.0)


class Ledger:
    """The store with deadlines, measurements, and settlements that are tried until they are written; `close` it."""

    def __init__(self, store: Store, meter: Meter, log: Log, budget_status: int = 402) -> None:
        self._store = store
        self._meter = meter
        self._log = log
        self._refusal = BudgetExceededAsRate if budget_status == 429 else BudgetExceeded
        self._fullest = _Fullest(meter)
        self._late: set[asyncio.Task[None]] = set()

    async def close(self, grace_s: float) -> None:
        """Waits for late settlements, at most `grace_s`; what is left then is presumed by the store, never lost."""
        if self._late:
            await asyncio.wait(self._late, timeout=grace_s)
        for task in self._late:
            task.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)

    async def hold(self, opening: Record, choices: Sequence[HoldChoice]) -> Granted:
        """Takes the first choice that fits. Raises BudgetExceeded with the numbers, or StoreUnavailable."""
        reply = await self._timed("hold", self._store.hold(opening, choices))
        if isinstance(reply, Refused):
            raise self._refused(reply)
        for standing in reply.budgets:
            if standing.limit_nanos:
                self._fullest.saw(standing, 1 - remaining_nanos(standing) / standing.limit_nanos)
        return reply

    async def extend(self, id: str, leg: int, choice: HoldChoice, ended: Attempt) -> Granted | None:
        """Holds for another attempt; None when that does not fit or cannot be checked, so it must not be sent (S7)."""
        try:
            reply = await self._timed("extend", self._store.extend(id, leg, choice, ended))
        except StoreUnavailable:
            return None
        return reply if isinstance(reply, Granted) else None

    async def settle(self, record: Record) -> None:
        """Settles; when the store cannot, goes on trying in the background so that the answer is not lost with it."""
        try:
            await self._timed("settle", self._store.settle(record))
        except StoreUnavailable:
            self._later(record)
        except asyncio.CancelledError:
            # Nobody waits any more; whether it was written is unknown, and to settle again changes nothing (I6).
            self._later(record)
            raise

    def _later(self, record: Record) -> None:
        task = asyncio.create_task(self._settle_later(record))
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _settle_later(self, record: Record) -> None:
        for pause_s in _RETRY_SETTLE_S:
            await asyncio.sleep(pause_s)
            try:
                await self._timed("settle", self._store.settle(record))
            except StoreUnavailable:
                continue
            return
        self._log("error", "settlement_lost", request=record.id, cost_usd=usd(record.cost_nanos))

    async def _timed(self, call: str, work: Awaitable[T]) -> T:
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(HOLD_DEADLINE_S):
                return await work
        except TimeoutError as error:
            self._meter.add(measurements.STORE_ERRORS, 1, "timeout")
            raise StoreUnavailable("the store did not answer in time; try again in a moment") from error
        except StoreUnavailable:
            self._meter.add(measurements.STORE_ERRORS, 1, "unavailable")
            raise
        finally:
            self._meter.observe(measurements.STORE_SECONDS, time.perf_counter() - begun, call)

    def _refused(self, reply: Refused) -> MuxerError:
        """The error of a refusal: the first choice's, since that is the model the request would have had."""
        refusal = reply.refusals[0]
        at = refusal.standing
        self._meter.add(measurements.BUDGET_REFUSALS, 1, at.limit)
        if isinstance(at, QuotaStanding):
            return _quota_error(at)
        fields = budget_fields(at) | {"asked_usd": usd(refusal.asked_nanos)}
        return self._refusal(_words(refusal, at), fields)


def _quota_error(at: QuotaStanding) -> RateLimited:
    if at.unit == "slots":
        message = f"{at.per} {at.subject!r} has {at.capacity} requests running, as many as {at.limit} allows"
        return ConcurrencyExceeded(f"{message}; wait for one to end", at.retry_after_s)
    return RateLimited(
        f"{at.per} {at.subject!r} has used up its {at.unit} for now: {at.remaining} of {at.capacity} are left under "
        f"{at.limit}; try again in {at.retry_after_s:.1f} s",
        at.retry_after_s,
        _rate_headers([at]),
    )


def _words(refusal: Refusal, at: Standing) -> str:
    resets = f"it resets at {_instant(at.resets_at_s)}" if at.resets_at_s else "it never resets"
    return (
        f"the {_ADJECTIVES[at.window]} budget of {at.per} {at.subject!r} is used up for this request: limit "
        f"${usd(at.limit_nanos or 0)}, spent ${usd(at.spent_nanos)}, held ${usd(at.held_nanos)}, presumed "
        f"${usd(at.presumed_nanos)}, asked ${usd(refusal.asked_nanos)} for {refusal.model}; {resets}. "
        f"{_remedy(at.limit)}, set a lower max_tokens, or wait"
    )


def _remedy(limit: str) -> str:
    is_stored = limit.startswith("keys.*.")
    return "Ask for a key with higher limits" if is_stored else f"Raise {limit} in routing.yaml"


_ADJECTIVES = {"day": "daily", "month": "monthly", "total": "total"}


def _instant(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def budget_fields(standing: Standing) -> dict[str, object]:
    """A standing as it is shown to callers: dollars as exact decimal strings, times in UTC."""
    fields: dict[str, object] = {
        "per": standing.per,
        "subject": standing.subject,
        "window": standing.window,
        "limit_usd": None if standing.limit_nanos is None else usd(standing.limit_nanos),
        "spent_usd": usd(standing.spent_nanos),
        "held_usd": usd(standing.held_nanos),
        "presumed_usd": usd(standing.presumed_nanos),
        "resets_at": _instant(standing.resets_at_s) if standing.resets_at_s else None,
    }
    return fields


class _Fullest:
    """Keeps the gauge of each limit at the fullest subject seen in its window."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._seen: dict[str, tuple[int, str, float]] = {}

    def saw(self, at: Standing, share: float) -> None:
        """Takes note of how one subject stands."""
        resets_at_s, subject, fullest = self._seen.get(at.limit, (at.resets_at_s, at.subject, 0.0))
        if share >= fullest or subject == at.subject or resets_at_s != at.resets_at_s:
            self._seen[at.limit] = (at.resets_at_s, at.subject, share)
            self._meter.set(measurements.LIMIT_USED_RATIO, share, at.limit)


def limit_headers(granted: Granted) -> dict[str, str]:
    """What is left, in the headers clients know: OpenAI's for rates, the tightest of each unit; ours for money."""
    headers = _rate_headers(granted.quotas)
    if granted.budgets:
        headers["x-muxer-budget-remaining-usd"] = usd(min(remaining_nanos(standing) for standing in granted.budgets))
    return headers


def _rate_headers(quotas: Sequence[QuotaStanding]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for unit in ("requests", "tokens"):
        of_unit = [quota for quota in quotas if quota.unit == unit]
        if of_unit:
            tightest = min(of_unit, key=lambda quota: quota.remaining)
            headers[f"x-ratelimit-limit-{unit}"] = str(tightest.capacity)
            headers[f"x-ratelimit-remaining-{unit}"] = str(tightest.remaining)
            headers[f"x-ratelimit-reset-{unit}"] = f"{tightest.resets_s:.3f}s"
    return headers


def remaining_nanos(standing: Standing) -> int:
    """What is left under a limit, never below zero."""
    used = standing.spent_nanos + standing.held_nanos + standing.presumed_nanos
    return max(0, (standing.limit_nanos or 0) - used)


async def report(store: Store, meter: Meter) -> None:
    """Sets the gauges of what is held and presumed."""
    held, presumed = await store.held()
    meter.set(measurements.HELD_USD, held / NANOS_PER_USD)
    meter.set(measurements.PRESUMED_USD, presumed / NANOS_PER_USD)
