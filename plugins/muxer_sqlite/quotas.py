"""Rates and slots as rows: GCRA in whole microseconds, and a count of slots per account.

GCRA keeps one number per account, the theoretical arrival time (TAT): the instant at which everything taken so far has
flowed back. Taking N pushes it by N intervals, and is allowed while it stays within `capacity` intervals of now.
Answers longer than expected push it further, up to ten minutes; what is further ahead is left from before a clock was
set back.
"""

from collections.abc import Sequence

from muxer import Quota, QuotaStanding, Refusal
from muxer_sqlite.book import Book
from muxer_sqlite.legs import Drawn

_MINUTE_US = 60_000_000
_MOST_DEBT_US = 10 * _MINUTE_US


def take(book: Book, now: float, model: str, quotas: Sequence[Quota]) -> tuple[Drawn, ...] | Refusal:
    """Checks all quotas; `put` then takes them. Changes nothing."""
    for quota in quotas:
        standing = stand(book, now, quota)
        if quota.amount > standing.remaining:
            return Refusal(model=model, standing=standing, asked_nanos=0)
    drawn = {_key(quota): quota for quota in quotas}
    return tuple(Drawn(key, q.unit, q.amount, q.capacity, q.per_minute) for key, q in drawn.items())


def put(book: Book, now: float, drawn: Sequence[Drawn]) -> None:
    """Takes what `take` allowed."""
    for one in drawn:
        _change(book, now, one, one.amount)


def end(book: Book, now: float, drawn: Sequence[Drawn], tokens: int | None) -> None:
    """The request is over: slots come back, tokens are corrected to what was used (None: unknown, it stays)."""
    for one in drawn:
        if one.unit == "slots":
            _change(book, now, one, -one.amount)
        elif one.unit == "tokens" and tokens is not None:
            _change(book, now, one, tokens - one.amount)


def stand(book: Book, now: float, quota: Quota) -> QuotaStanding:
    """How a quota stands."""
    value = book.level(_key(quota))
    if quota.unit == "slots":
        return quota.standing(quota.capacity - value, 1.0, 0.0)
    interval = _MINUTE_US / quota.per_minute
    owed_us = _owed_us(value, now, int(quota.capacity * interval))
    remaining = int((quota.capacity * interval - owed_us) / interval + 1e-9)
    lacking_us = owed_us + (quota.amount - quota.capacity) * interval
    return quota.standing(remaining, max(0.0, lacking_us) / 1e6, owed_us / 1e6)


def _change(book: Book, now: float, one: Drawn, amount: int) -> None:
    value = book.level(one.account)
    if one.unit != "slots":
        interval = _MINUTE_US / one.per_minute
        full_us = int(one.capacity * interval)
        owed_us = _owed_us(value, now, full_us) + round(amount * interval)
        value, amount = _us(now), min(owed_us, full_us + _MOST_DEBT_US)
    book.set_level(one.account, max(0, value + amount))


def _owed_us(value: int, now: float, full_us: int) -> int:
    """What has still to flow back: at most a full burst, and nothing by a TAT that no debt can have set (B75, F19)."""
    ahead_us = value - _us(now)
    return 0 if ahead_us > full_us + _MOST_DEBT_US else min(max(0, ahead_us), full_us)


def _key(quota: Quota) -> str:
    """Slots are one count whatever the limit says; a rate with other numbers starts anew."""
    if quota.unit == "slots":
        return f"{quota.account}:slots"
    return f"{quota.account}:{quota.unit}:{quota.per_minute}/{quota.capacity}"


def _us(now: float) -> int:
    return int(now * 1e6)
