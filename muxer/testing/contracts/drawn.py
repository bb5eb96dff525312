"""What histories are made of: limits, quotas, and what is drawn for each step."""

from collections.abc import Mapping
from itertools import combinations

from hypothesis import strategies as st
from msgspec import Struct

from muxer import HoldChoice, Quota, Window
from muxer.testing.contracts.money import DAY_S, a_choice, a_claim


class Limit(Struct, frozen=True):
    """What is claimed of an account, in units of money."""

    window: str
    limits: tuple[int | None, ...]
    soft: bool = False


LIMITS = {
    "all:": Limit("total", (300,)),
    "user:alice": Limit("day", (100, 130)),
    "team:red": Limit("day", (120,), soft=True),
    "model:m-1": Limit("day", (None,)),
}


def _quota(per: str, subject: str, **fields: object) -> Quota:
    by_model = per == "model"
    return Quota(limit="limits[9]", per=per, subject=subject, account=f"{per}:{subject}", by_model=by_model, **fields)  # type: ignore[arg-type]  # as the tests write them


QUOTAS = {
    f"{unit} per {per}": _quota(per, subject, unit=unit, **fields)
    for per, subject in (("user", "alice"), ("model", "m-1"))
    for unit, fields in {
        "requests": {"capacity": 6, "per_minute": 20},
        "tokens": {"capacity": 300, "per_minute": 60, "amount": 40},
        "slots": {"capacity": 4},
    }.items()
}


class Ask(Struct, frozen=True):
    """What is asked for one model: at least `floor`, at most `more` above it, in units of money. `stale_days` is how
    far the clock of the process is behind the store's."""

    floor: int
    more: int
    stale_days: int
    quotas: tuple[str, ...]


class Outcome(Struct, frozen=True):
    """How an attempt ends: `units` of money are billed, or what was granted if that is less; and are we told?"""

    units: int
    is_known: bool


def some_of(named: Mapping[str, object]) -> st.SearchStrategy[tuple[str, ...]]:
    """Names, none of them twice."""
    return st.sampled_from([names for count in range(len(named) + 1) for names in combinations(named, count)])


UNITS = st.integers(0, 60)
ACCOUNTS = some_of(LIMITS)
ASKS = st.builds(
    Ask,
    floor=UNITS,
    more=UNITS,
    stale_days=st.sampled_from([0, 0, 0, 1, 2]),
    quotas=some_of(QUOTAS),
)
CHOICES = st.lists(ASKS, min_size=1, max_size=3)
OUTCOMES = st.builds(Outcome, st.just(0) | UNITS, st.booleans())
PROCESS = st.integers(0, 1)
TWICE = st.sampled_from([1, 1, 2])  # a reply that was lost: the same call is made again
PAUSES_S = st.sampled_from([1, 3, 40, DAY_S // 2, DAY_S])


def choice(ask: Ask, accounts: tuple[str, ...], now_s: int, unit: int) -> HoldChoice:
    """What is asked, as a store is asked it at this time; a unit of money is so many nano-dollars."""
    midnight_s = now_s // DAY_S * DAY_S - ask.stale_days * DAY_S
    days = tuple(Window("day", start_s, start_s + DAY_S) for start_s in (midnight_s, midnight_s + DAY_S))
    claims = tuple(
        a_claim(
            account,
            None if most is None else most * unit,
            soft=LIMITS[account].soft,
            windows=days if LIMITS[account].window == "day" else (Window("total", 0, 0),),
        )
        for account in accounts
        for most in LIMITS[account].limits
    )
    return a_choice(
        (ask.floor + ask.more) * unit,
        floor_nanos=ask.floor * unit,
        expected_nanos=(ask.floor + ask.more // 2) * unit,
        claims=claims,
        quotas=tuple(QUOTAS[name] for name in ask.quotas),
    )
