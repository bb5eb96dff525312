"""Rates and slots as numbers, for stores that keep one per account: GCRA in whole microseconds, and a count of slots.

GCRA's number is the theoretical arrival time (TAT): the instant at which everything taken so far has flowed back.
Taking N pushes it by N intervals, and is allowed while it stays within `capacity` intervals of now. Answers longer than
expected push it further, up to ten minutes; what is further ahead is left from before a clock was set back.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from muxer.stores import Quota, QuotaStanding
from muxer.types import Attempt, Record

_OF_REQUEST = -1
_MINUTE_US = 60_000_000
_MOST_DEBT_US = 10 * _MINUTE_US


class Levels(Protocol):
    """Where a store keeps the numbers."""

    def level(self, account: str) -> int:
        """The slots taken of an account, or its theoretical arrival time; 0 for one that is not known."""

    def set_level(self, account: str, value: int) -> None:
        """Replaces it."""


class Drawn(Struct, frozen=True, array_like=True):
    """What a request took from one quota, so that its end can give back slots and correct tokens; or what one attempt
    took, whose number is `leg`."""

    account: str
    unit: str
    amount: int
    capacity: int
    per_minute: int
    leg: int = _OF_REQUEST


def drawn(quotas: Sequence[Quota], leg: int = 0) -> tuple[Drawn, ...]:
    """What there is to take for an attempt, from each account once."""
    once = {_account(quota): quota for quota in quotas}
    return tuple(
        Drawn(account, q.unit, q.amount, q.capacity, q.per_minute, leg if q.by_model else _OF_REQUEST)
        for account, q in once.items()
    )


def tokens_used(attempt: Attempt, record: Record | None = None) -> int | None:
    """What an attempt of a record took of a rate of tokens: nothing where it was not billed, the record's usage where
    its answer was given. Of others nobody knows, and the estimate stays; so it does without a record."""
    if attempt.outcome == "none":
        return 0
    if record is None or attempt.outcome == "presumed" or attempt is not record.answered:
        return None
    return record.usage.input_tokens + record.usage.output_tokens


class Quotas:
    """What has been taken from each quota, in a store's numbers. Times are Unix seconds."""

    def __init__(self, levels: Levels) -> None:
        self._levels = levels

    def lacking(self, quotas: Sequence[Quota], now: float) -> QuotaStanding | None:
        """How the first quota stands that has not what is asked of it."""
        for quota in quotas:
            standing = self.stand(quota, now)
            if quota.amount > standing.remaining:
                return standing
        return None

    def take(self, drawn: Sequence[Drawn], now: float) -> None:
        """Takes what is not `lacking`."""
        for one in drawn:
            self._change(one, one.amount, now)

    def settle(self, drawn: Sequence[Drawn], record: Record, now: float) -> None:
        """The request is over: slots come back, tokens are corrected to what was used, where that is known."""
        used = None if record.presumed_nanos else record.usage.input_tokens + record.usage.output_tokens
        for one in drawn:
            if one.leg == _OF_REQUEST:
                self.end([one], used, now)
            else:  # an attempt that was held and never made used nothing
                made = record.attempts[one.leg : one.leg + 1]
                self.end([one], tokens_used(made[0], record) if made else 0, now)

    def end_leg(self, drawn: Sequence[Drawn], leg: int, ended: Attempt, now: float) -> tuple[Drawn, ...]:
        """One attempt is over: the same for what it took; returns what is left."""
        self.end([one for one in drawn if one.leg == leg], tokens_used(ended), now)
        return tuple(one for one in drawn if one.leg != leg)

    def end(self, drawn: Sequence[Drawn], tokens: int | None, now: float) -> None:
        """Gives back slots, and corrects tokens to what was used (None: unknown, it stays)."""
        for one in drawn:
            if one.unit == "slots":
                self._change(one, -one.amount, now)
            elif one.unit == "tokens" and tokens is not None:
                self._change(one, tokens - one.amount, now)

    def stand(self, quota: Quota, now: float) -> QuotaStanding:
        """How a quota stands."""
        value = self._levels.level(_account(quota))
        if quota.unit == "slots":
            return quota.standing(quota.capacity - value, 1.0, 0.0)
        interval = _MINUTE_US / quota.per_minute
        owed_us = _owed_us(value, int(quota.capacity * interval), now)
        remaining = int((quota.capacity * interval - owed_us) / interval + 1e-9)
        lacking_us = owed_us + (quota.amount - quota.capacity) * interval
        return quota.standing(remaining, max(0.0, lacking_us) / 1e6, owed_us / 1e6)

    def _change(self, one: Drawn, amount: int, now: float) -> None:
        value = self._levels.level(one.account)
        if one.unit != "slots":
            interval = _MINUTE_US / one.per_minute
            full_us = int(one.capacity * interval)
            owed_us = _owed_us(value, full_us, now) + round(amount * interval)
            value, amount = _us(now), min(owed_us, full_us + _MOST_DEBT_US)
        self._levels.set_level(one.account, max(0, value + amount))


def _owed_us(value: int, full_us: int, now: float) -> int:
    """What has still to flow back: at most a full burst, and nothing by a TAT that no debt can have set (B75, F19)."""
    ahead_us = value - _us(now)
    return 0 if ahead_us > full_us + _MOST_DEBT_US else min(max(0, ahead_us), full_us)


def _account(quota: Quota) -> str:
    """Slots are one count whatever the limit says; a rate with other numbers starts anew."""
    if quota.unit == "slots":
        return f"{quota.account}:slots"
    return f"{quota.account}:{quota.unit}:{quota.per_minute}/{quota.capacity}"


def _us(now: float) -> int:
    return int(now * 1e6)
