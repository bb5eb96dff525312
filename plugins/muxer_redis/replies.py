"""How holds are asked for and answered: choices as MessagePack for the scripts, and their lists as replies."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from muxer import (
    Attempt,
    BudgetClaim,
    Granted,
    HoldChoice,
    Quota,
    QuotaStanding,
    Record,
    Refusal,
    Refused,
    Standing,
    StoreUnavailable,
    tokens_used,
)

pack = msgspec.msgpack.Encoder().encode
LARGEST = 2**53 - 1  # Lua counts in doubles (S1)


class _Money(Struct, frozen=True, array_like=True):
    window: int
    spent: int
    held: int
    presumed: int


class _Rate(Struct, frozen=True, array_like=True):
    remaining: int
    retry_after_us: int
    resets_us: int


class _Stands(Struct, frozen=True, array_like=True):
    budgets: tuple[_Money, ...]
    quotas: tuple[_Rate, ...]


class _Granted(Struct, frozen=True, array_like=True, tag_field="is_granted", tag=1):
    choice: int
    granted: int
    budgets: tuple[_Money, ...]
    quotas: tuple[_Rate, ...]


class _Closed(Struct, frozen=True, array_like=True, tag_field="is_granted", tag=-1):
    """Nothing is admitted: data was lost, and not everybody has told again what they know."""


class _Refusal(Struct, frozen=True, array_like=True):
    """Of a claim: asked, window, spent, held, presumed. Of a quota: 0, remaining, retry, resets, 0."""

    is_quota: int
    index: int
    asked: int
    first: int
    second: int
    third: int
    fourth: int


class _Refused(Struct, frozen=True, array_like=True, tag_field="is_granted", tag=0):
    refusals: tuple[_Refusal, ...]


def packed(choices: Sequence[HoldChoice], leg: int = 0) -> list[object]:
    """Choices for an attempt as the scripts take them. Raises StoreUnavailable for amounts that Lua cannot count."""
    return [
        [
            _counted(choice.bound_nanos),
            choice.floor_nanos,
            choice.expected_nanos,
            [packed_claim(claim) for claim in choice.claims],
            [packed_quota(quota, leg) for quota in choice.quotas],
        ]
        for choice in choices
    ]


def packed_claim(claim: BudgetClaim) -> list[object]:
    """A claim as the scripts take it."""
    windows = [[window.name, window.start_s, window.end_s] for window in claim.windows]
    return [claim.account, -1 if claim.limit_nanos is None else _counted(claim.limit_nanos), claim.soft, windows]


def packed_quota(quota: Quota, leg: int = 0) -> list[object]:
    """A quota for an attempt as the scripts take it. Slots are one count whatever the limit says; a rate with other
    numbers starts anew."""
    is_slots = quota.unit == "slots"
    account = f"{quota.account}:{quota.unit}" + ("" if is_slots else f":{quota.per_minute}/{quota.capacity}")
    of = leg if quota.by_model else -1  # the whole request
    return [account, is_slots, quota.capacity, quota.per_minute, quota.amount, quota.unit == "tokens", of]


def ended(record: Record) -> list[tuple[int, int, int]]:
    """What became of each attempt as the scripts take it."""
    return [(one.cost_nanos, one.presumed_nanos, tokens(one, record)) for one in record.attempts]


def tokens(attempt: Attempt, record: Record | None = None) -> int:
    """What an attempt took of a rate of tokens; -1 where nobody knows."""
    used = tokens_used(attempt, record)
    return -1 if used is None else used


def _counted(nanos: int) -> int:
    if nanos > LARGEST:
        raise StoreUnavailable("Redis counts to $9,007,199 only; set a lower limit, or use the sqlite store")
    return nanos


def held(reply: object, choices: Sequence[HoldChoice]) -> Granted | Refused | None:
    """The answer to a hold or an extension; None when the server has lost data and takes none."""
    found = msgspec.convert(reply, _Granted | _Refused | _Closed)
    if isinstance(found, _Closed):
        return None
    if isinstance(found, _Refused):
        pairs = zip(found.refusals, choices, strict=False)
        return Refused(refusals=tuple(_refusal(refusal, choice) for refusal, choice in pairs))
    choice = choices[min(found.choice, len(choices) - 1)]
    budgets = [_standing(claim, money) for claim, money in zip(choice.claims, found.budgets, strict=False)]
    quotas = [_quota(quota, rate) for quota, rate in zip(choice.quotas, found.quotas, strict=False)]
    return Granted(choice=found.choice, granted_nanos=found.granted, budgets=tuple(budgets), quotas=tuple(quotas))


class _Scored(Struct, frozen=True, array_like=True, tag_field="is_granted", tag=1):
    is_found: int


def scored(reply: object, quotas: Sequence[Quota]) -> bool | Refused | None:
    """The answer to a score; None when the server has lost data."""
    found = msgspec.convert(reply, _Scored | _Refused | _Closed)
    if isinstance(found, _Closed):
        return None
    if isinstance(found, _Refused):
        asked = HoldChoice(model="", bound_nanos=0, floor_nanos=0, expected_nanos=0, quotas=tuple(quotas))
        return Refused(refusals=tuple(_refusal(refusal, asked) for refusal in found.refusals))
    return bool(found.is_found)


def stands(
    reply: object, claims: Sequence[BudgetClaim], quotas: Sequence[Quota]
) -> tuple[list[Standing], list[QuotaStanding]]:
    """The answer to how claims and quotas stand."""
    found = msgspec.convert(reply, _Stands)
    budgets = [_standing(claim, money) for claim, money in zip(claims, found.budgets, strict=True)]
    return budgets, [_quota(quota, rate) for quota, rate in zip(quotas, found.quotas, strict=True)]


def _refusal(refusal: _Refusal, choice: HoldChoice) -> Refusal:
    standing: Standing | QuotaStanding
    if refusal.is_quota:
        standing = _quota(choice.quotas[refusal.index], _Rate(refusal.first, refusal.second, refusal.third))
    else:
        money = _Money(refusal.first, refusal.second, refusal.third, refusal.fourth)
        standing = _standing(choice.claims[refusal.index], money)
    return Refusal(model=choice.model, standing=standing, asked_nanos=refusal.asked)


def _standing(claim: BudgetClaim, money: _Money) -> Standing:
    return claim.standing(claim.windows[money.window], money.spent, money.held, money.presumed)


def _quota(quota: Quota, rate: _Rate) -> QuotaStanding:
    return quota.standing(rate.remaining, rate.retry_after_us / 1e6, rate.resets_us / 1e6)
