"""Rates and slots as rows: GCRA in whole microseconds, and a count of slots per account.

GCRA keeps one number per account, the theoretical arrival time (TAT): the instant at which everything taken so far has
flowed back. Taking N pushes it by N intervals, and is allowed while it stays within `capacity` intervals of now.
Answers longer than expected push it further, up to ten minutes; what is further ahead is left from before a clock was
set back.
"""

import sqlite3
from collections.abc import Sequence

from msgspec import Struct

from muxer import Quota, QuotaStanding, Refusal

_MINUTE_US = 60_000_000
_MOST_DEBT_US = 10 * _MINUTE_US


class Drawn(Struct, frozen=True, array_like=True):
    """What a request took from one quota, so that its end can give back slots and correct tokens."""

    account: str
    unit: str
    amount: int
    capacity: int
    per_minute: int


def take(db: sqlite3.Connection, now: float, model: str, quotas: Sequence[Quota]) -> tuple[Drawn, ...] | Refusal:
    """Checks all quotas; `put` then takes them. Changes nothing."""
    for quota in quotas:
        standing = stand(db, now, quota)
        if quota.amount > standing.remaining:
            return Refusal(model=model, standing=standing, asked_nanos=0)
    drawn = {_key(quota): quota for quota in quotas}
    return tuple(Drawn(key, q.unit, q.amount, q.capacity, q.per_minute) for key, q in drawn.items())


def put(db: sqlite3.Connection, now: float, drawn: Sequence[Drawn]) -> None:
    """Takes what `take` allowed."""
    for one in drawn:
        _change(db, now, one, one.amount)


def end(db: sqlite3.Connection, now: float, drawn: Sequence[Drawn], tokens: int | None) -> None:
    """The request is over: slots come back, tokens are corrected to what was used (None: unknown, it stays)."""
    for one in drawn:
        if one.unit == "slots":
            _change(db, now, one, -one.amount)
        elif one.unit == "tokens" and tokens is not None:
            _change(db, now, one, tokens - one.amount)


def stand(db: sqlite3.Connection, now: float, quota: Quota) -> QuotaStanding:
    """How a quota stands."""
    value = _value(db, _key(quota))
    if quota.unit == "slots":
        return _standing(quota, quota.capacity - value, 1.0, 0.0)
    interval = _MINUTE_US / quota.per_minute
    owed_us = _owed_us(value, now, int(quota.capacity * interval))
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


def _change(db: sqlite3.Connection, now: float, one: Drawn, amount: int) -> None:
    value = _value(db, one.account)
    if one.unit != "slots":
        interval = _MINUTE_US / one.per_minute
        full_us = int(one.capacity * interval)
        owed_us = _owed_us(value, now, full_us) + round(amount * interval)
        value, amount = _us(now), min(owed_us, full_us + _MOST_DEBT_US)
    db.execute(
        "INSERT INTO quotas (account, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        (one.account, max(0, value + amount)),
    )


def _owed_us(value: int, now: float, full_us: int) -> int:
    """What has still to flow back: at most a full burst, and nothing by a TAT that no debt can have set (B75, F19)."""
    ahead_us = value - _us(now)
    return 0 if ahead_us > full_us + _MOST_DEBT_US else min(max(0, ahead_us), full_us)


def _value(db: sqlite3.Connection, account: str) -> int:
    found = db.execute("SELECT value FROM quotas WHERE account = ?", (account,)).fetchone()
    return int(found[0]) if found else 0


def _key(quota: Quota) -> str:
    """Slots are one count whatever the limit says; a rate with other numbers starts anew."""
    if quota.unit == "slots":
        return f"{quota.account}:slots"
    return f"{quota.account}:{quota.unit}:{quota.per_minute}/{quota.capacity}"


def _us(now: float) -> int:
    return int(now * 1e6)
