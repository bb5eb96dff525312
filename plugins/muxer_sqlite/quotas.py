"""Rates and slots as rows: GCRA in whole microseconds, and a count of slots per account.

GCRA keeps one number per account, the theoretical arrival time (TAT): the instant at which everything taken so far has
flowed back. Taking N pushes it by N intervals, and is allowed while it stays within `capacity` intervals of now.
"""

from collections.abc import Sequence

from muxer import Quota, QuotaStanding, Refusal
from muxer_sqlite.book import Book
from muxer_sqlite.legs import Drawn

_MINUTE_US = 60_000_000


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
        return _standing(quota, quota.capacity - value, 1.0, 0.0)
    interval, now_us = _MINUTE_US / quota.per_minute, _us(now)
    # A clock that was set back leaves a TAT far ahead; at most a full burst is ever owed (B75).
    owed_us = min(max(0, value - now_us), int(quota.capacity * interval))
    remaining = int((quota.capacity * interval - owed_us) / interval + 1e-9)
    lacking_us = owed_us + (quota.amount - quota.capacity) * interval
    return _standing(quota, remaining, max(0.0, lacking_us) / 1e6, owed_us / 1e6)


def _standing(quota: Quota, remaining: int, retry_after_s: float, resets_s: float) -> QuotaStanding:
    return QuotaStanding(
        limit=quota.limit,
        per=quota.per,
        subject=quota.subject,
        unit=quota.unit,
        capacity=quota.capacity,
        remaining=max(0, remaining),
        retry_after_s=retry_after_s,
        resets_s=resets_s,
    )


def _change(book: Book, now: float, one: Drawn, amount: int) -> None:
    value = book.level(one.account)
    if one.unit != "slots":
        interval, now_us = _MINUTE_US / one.per_minute, _us(now)
        owed_us = min(max(0, value - now_us), int(one.capacity * interval))
        amount, value = round(amount * interval), now_us + owed_us
    book.set_level(one.account, max(0, value + amount))


def _key(quota: Quota) -> str:
    """Slots are one count whatever the limit says; a rate with other numbers starts anew."""
    if quota.unit == "slots":
        return f"{quota.account}:slots"
    return f"{quota.account}:{quota.unit}:{quota.per_minute}/{quota.capacity}"


def _us(now: float) -> int:
    return int(now * 1e6)
