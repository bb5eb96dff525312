"""Rates and slots as numbers: GCRA in whole microseconds, and a count of slots per account.

GCRA keeps one number per account, the theoretical arrival time (TAT): the instant at which everything taken so far has
flowed back. Taking N pushes it by N intervals, and is allowed while it stays within `capacity` intervals of now.
Answers longer than expected push it further, up to ten minutes; what is further ahead is left from before a clock was
set back.
"""

from collections.abc import Sequence

from muxer import Quota, QuotaStanding

_MINUTE_US = 60_000_000
_MOST_DEBT_US = 10 * _MINUTE_US


class Quotas:
    """What has been taken from each quota. Times are Unix seconds."""

    def __init__(self) -> None:
        self._values: dict[str, int] = {}

    def lacking(self, quotas: Sequence[Quota], now: float) -> QuotaStanding | None:
        """How the first quota stands that has not what is asked of it."""
        for quota in quotas:
            standing = self.stand(quota, now)
            if quota.amount > standing.remaining:
                return standing
        return None

    def take(self, quotas: Sequence[Quota], now: float) -> tuple[Quota, ...]:
        """Takes what is not `lacking`, from each account once, and says what that was."""
        drawn = {_key(quota): quota for quota in quotas}
        for quota in drawn.values():
            self._change(quota, quota.amount, now)
        return tuple(drawn.values())

    def end(self, drawn: Sequence[Quota], tokens: int | None, now: float) -> None:
        """The request is over: slots come back, tokens are corrected to what was used (None: unknown, it stays)."""
        for quota in drawn:
            if quota.unit == "slots":
                self._change(quota, -quota.amount, now)
            elif quota.unit == "tokens" and tokens is not None:
                self._change(quota, tokens - quota.amount, now)

    def stand(self, quota: Quota, now: float) -> QuotaStanding:
        """How a quota stands."""
        value = self._values.get(_key(quota), 0)
        if quota.unit == "slots":
            return quota.standing(quota.capacity - value, 1.0, 0.0)
        interval = _MINUTE_US / quota.per_minute
        owed_us = _owed_us(value, quota, now)
        remaining = int((quota.capacity * interval - owed_us) / interval + 1e-9)
        lacking_us = owed_us + (quota.amount - quota.capacity) * interval
        return quota.standing(remaining, max(0.0, lacking_us) / 1e6, owed_us / 1e6)

    def _change(self, quota: Quota, amount: int, now: float) -> None:
        key = _key(quota)
        value = self._values.get(key, 0)
        if quota.unit != "slots":
            owed_us = _owed_us(value, quota, now) + round(amount * _MINUTE_US / quota.per_minute)
            value, amount = _us(now), min(owed_us, _full_us(quota) + _MOST_DEBT_US)
        self._values[key] = max(0, value + amount)


def _owed_us(value: int, quota: Quota, now: float) -> int:
    """What has still to flow back: at most a full burst, and nothing by a TAT that no debt can have set (B75, F19)."""
    ahead_us, full_us = value - _us(now), _full_us(quota)
    return 0 if ahead_us > full_us + _MOST_DEBT_US else min(max(0, ahead_us), full_us)


def _full_us(quota: Quota) -> int:
    return int(quota.capacity * _MINUTE_US / quota.per_minute)


def _key(quota: Quota) -> str:
    """Slots are one count whatever the limit says; a rate with other numbers starts anew."""
    if quota.unit == "slots":
        return f"{quota.account}:slots"
    return f"{quota.account}:{quota.unit}:{quota.per_minute}/{quota.capacity}"


def _us(now: float) -> int:
    return int(now * 1e6)
