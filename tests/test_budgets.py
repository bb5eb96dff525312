"""Which limits a request touches and when their windows begin, in every time zone (I9, T8)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from muxer.budgets import MOST_MET, Calendar, FileLimits, Target, claims, key_lines, lines, quotas
from muxer.limits import Amounts
from muxer.stores import Window
from muxer.types import Caller
from tests.values import a_limit

ZONES = sorted(available_timezones())
FIRST, LAST = 946_684_800, 2_145_916_800  # 2000 to 2038
HOUR = 3_600
ALICE = Caller(key="k-1", user="alice", team="red", tags=("night", "batch"))
TARGET = Target("m-1", "r-1")
NOON = 1_790_078_400.0  # 2026-09-22 12:00 in UTC


def at(zone: str, *local: int) -> float:
    return datetime(*local, tzinfo=ZoneInfo(zone)).timestamp()  # type: ignore[misc,arg-type]  # year, month, day...


def local(zone: str, seconds: float) -> str:
    return datetime.fromtimestamp(seconds, ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")


def edges(zone: str, name: str, now: float) -> list[str]:
    """Where this window and the next begin and end, in local time."""
    first, second = Calendar(zone).windows(name, now)
    return [local(zone, edge) for edge in (first.start_s, first.end_s, second.end_s)]


def test_a_day_begins_at_the_zone_s_midnight() -> None:
    now = at("Europe/Zurich", 2026, 9, 22, 0, 30)
    assert edges("Europe/Zurich", "day", now) == ["2026-09-22 00:00", "2026-09-23 00:00", "2026-09-24 00:00"]
    assert edges("UTC", "day", now) == ["2026-09-21 00:00", "2026-09-22 00:00", "2026-09-23 00:00"]


@pytest.mark.parametrize(
    ("month", "ends"),
    [(1, ["2026-01-01", "2026-02-01", "2026-03-01"]), (12, ["2026-12-01", "2027-01-01", "2027-02-01"])],
)
def test_months_end_where_the_calendar_says(month: int, ends: list[str]) -> None:
    now = at("America/New_York", 2026, month, 31, 23, 59)
    assert edges("America/New_York", "month", now) == [f"{day} 00:00" for day in ends]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Zurich", (2026, 3, 29), 23),
        ("Europe/Zurich", (2026, 10, 25), 25),
        ("Australia/Lord_Howe", (2026, 4, 5), 24.5),  # half an hour
        ("Africa/Cairo", (2026, 4, 24), 23),  # at midnight, so the day begins at one
        ("America/Havana", (2026, 11, 1), 25),  # midnight comes twice
        ("America/Santiago", (2026, 9, 6), 23),
        ("Asia/Kathmandu", (2026, 9, 6), 24),
    ],
)
def test_days_are_as_long_as_their_clocks_say(zone: str, day: tuple[int, int, int], hours: float) -> None:
    first, _ = Calendar(zone).windows("day", at(zone, *day, 12))
    assert (first.end_s - first.start_s) / HOUR == hours


def test_a_midnight_that_does_not_exist_is_the_first_moment_after_it() -> None:
    assert edges("Africa/Cairo", "day", at("Africa/Cairo", 2026, 4, 24, 12))[0] == "2026-04-24 01:00"


def test_a_day_that_was_skipped_has_no_window() -> None:
    now = at("Pacific/Apia", 2011, 12, 29, 12)
    assert edges("Pacific/Apia", "day", now) == ["2011-12-29 00:00", "2011-12-31 00:00", "2012-01-01 00:00"]


@pytest.mark.parametrize(("zone", "day"), [("America/Goose_Bay", (2010, 11, 7)), ("America/Havana", (2026, 11, 1))])
def test_a_midnight_that_comes_twice_begins_its_day_once(zone: str, day: tuple[int, int, int]) -> None:
    first = at(zone, *day, 0, 0)
    for later in range(0, 3 * HOUR, 600):
        window, _ = Calendar(zone).windows("day", first + later)
        assert (window.start_s, window.end_s) == (first, first + 25 * HOUR)


@given(st.sampled_from(ZONES), st.sampled_from(["day", "month"]), st.integers(FIRST, LAST))
@example("Pacific/Apia", "day", 1_325_239_200)
@example("America/Goose_Bay", "day", 1_289_100_600)
@example("Africa/Cairo", "day", 1_777_000_000)
def test_every_moment_is_in_its_window_and_windows_touch(zone: str, name: str, now: int) -> None:
    calendar = Calendar(zone)
    first, second = calendar.windows(name, now)
    assert first.start_s <= now < first.end_s == second.start_s < second.end_s
    following = Calendar(zone).windows(name, first.end_s)
    assert (following[0], calendar.windows(name, first.end_s)) == (second, following)
    before = Calendar(zone).windows(name, first.start_s - 1)
    assert before[1] == first


@pytest.mark.parametrize("zone", ["Pacific/Apia", "Africa/Cairo", "America/Havana", "Asia/Gaza", "Antarctica/Troll"])
def test_a_walk_through_forty_years_leaves_no_gap(zone: str) -> None:
    windows: list[Window] = []
    now = float(FIRST)
    while now < LAST:
        windows.append(Calendar(zone).windows("month", now)[0])
        now = windows[-1].end_s
    assert all(one.end_s == other.start_s for one, other in pairwise(windows))
    months = [local(zone, window.start_s)[:7] for window in windows]
    assert months == sorted(set(months)) and len(months) in (456, 457, 458)


def test_a_total_never_ends() -> None:
    assert Calendar("UTC").windows("total", NOON) == (Window("total", 0, 0),)


def test_a_calendar_remembers_its_window_and_notices_the_next() -> None:
    calendar = Calendar("UTC")
    assert calendar.windows("day", NOON) is calendar.windows("day", NOON + HOUR)
    assert calendar.windows("day", NOON + 13 * HOUR)[0] == calendar.windows("day", NOON + 14 * HOUR)[0]
    assert calendar.windows("day", NOON)[0].end_s == datetime(2026, 9, 23, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("per", "accounts"),
    [
        ("all", ["all:all"]),
        ("user", ["user:alice"]),
        ("team", ["team:red"]),
        ("key", ["key:k-1"]),
        ("model", ["model:m-1"]),
        ("route", ["route:r-1"]),
        ("tag", ["tag:night", "tag:batch"]),
    ],
)
def test_each_scope_counts_its_own_subject(per: str, accounts: list[str]) -> None:
    limits = lines([a_limit(per=per, daily_usd=1)])
    assert [claim.account for claim in claims(limits, Calendar("UTC"), ALICE, TARGET, NOON)] == accounts


def test_a_request_without_a_team_or_tags_touches_no_limit_of_theirs() -> None:
    limits = lines([a_limit(per="team", daily_usd=1), a_limit(per="tag", daily_usd=1)])
    assert claims(limits, Calendar("UTC"), Caller(key="k", user="u"), TARGET, NOON) == ()


@pytest.mark.parametrize(
    ("where", "touched"),
    [
        ({"team": "red"}, True),
        ({"team": "blue"}, False),
        ({"tag": "batch", "user": "alice"}, True),
        ({"tag": "batch", "user": "bob"}, False),
        ({"model": "m-1"}, True),
    ],
)
def test_a_limit_may_be_for_some_requests_only(where: dict[str, str], touched: bool) -> None:
    limits = lines([a_limit(per="user", daily_usd=1, where=where)])
    assert bool(claims(limits, Calendar("UTC"), ALICE, TARGET, NOON)) is touched


def test_every_amount_of_a_limit_is_a_line_known_by_its_place() -> None:
    limits = lines([a_limit(per="all", total_usd=5), a_limit(per="user", daily_usd=1, monthly_usd=2, hold="expected")])
    touched = claims(limits, Calendar("UTC"), ALICE, TARGET, NOON)
    assert [(claim.limit, claim.windows[0].name, claim.limit_nanos, claim.soft) for claim in touched] == [
        ("limits[0].total_usd", "total", 5 * 10**9, False),
        ("limits[1].daily_usd", "day", 10**9, True),
        ("limits[1].monthly_usd", "month", 2 * 10**9, True),
    ]


def test_lines_that_count_different_requests_have_different_counters() -> None:
    limits = lines([a_limit(per="user", daily_usd=1), a_limit(per="user", daily_usd=1, where={"team": "red"})])
    first, second = claims(limits, Calendar("UTC"), ALICE, TARGET, NOON)
    assert (first.account, second.account) == ("user:alice", "user:alice|team=red")


def test_no_user_has_a_name_that_counts_for_another() -> None:
    """S2: a token's `sub` may be anything that can be printed."""
    limits = lines([a_limit(per="user", daily_usd=1), a_limit(per="user", daily_usd=1, where={"team": "red"})])
    odd = replace(ALICE, user="alice|team=red", team="")
    (own,) = claims(limits, Calendar("UTC"), odd, TARGET, NOON)
    assert own.account not in {claim.account for claim in claims(limits, Calendar("UTC"), ALICE, TARGET, NOON)}


def test_rates_and_slots_are_quotas_and_not_budgets() -> None:
    limits = lines([a_limit(per="key", requests_per_minute=60, tokens_per_minute=1_000, burst=5, concurrent=2)])
    assert claims(limits, Calendar("UTC"), ALICE, TARGET, NOON) == ()
    taken = quotas(limits, ALICE, TARGET, tokens=70)
    assert [(one.unit, one.capacity, one.per_minute, one.amount) for one in taken] == [
        ("requests", 5, 60, 1),
        ("tokens", 5, 1_000, 70),
        ("slots", 2, 0, 1),
    ]


def test_limits_of_a_key_are_lines_of_its_caller_with_a_counter_of_their_own() -> None:
    amounts = [Amounts(daily_usd=Decimal(1), hold="expected"), Amounts(requests_per_minute=60, burst=5)]
    limits = lines([a_limit(per="key", daily_usd=2)])
    for account, counter in (("", "key:k-1"), ("key_id:7", "key_id:7")):
        caller = replace(ALICE, limits=key_lines(amounts, "k-1", account))
        shared, own = claims(limits, Calendar("UTC"), caller, TARGET, NOON)
        assert (shared.account, shared.limit) == ("key:k-1", "limits[0].daily_usd")
        assert (own.account, own.limit, own.limit_nanos, own.soft) == (
            counter, "keys.k-1.limits[0].daily_usd", 10**9, True,
        )  # fmt: skip
        (quota,) = quotas(limits, caller, TARGET, tokens=7)
        assert (quota.per, quota.subject, quota.account) == ("key", "k-1", counter)
        assert (quota.limit, quota.capacity) == ("keys.k-1.limits[1].requests_per_minute", 5)


@given(st.sampled_from(ZONES), st.dates(datetime(2000, 1, 1).date(), datetime(2037, 1, 1).date()))
def test_a_day_is_never_longer_than_two(zone: str, day: object) -> None:
    noon = datetime.fromisoformat(f"{day} 12:00").replace(tzinfo=UTC).timestamp()
    window, _ = Calendar(zone).windows("day", noon)
    assert 0 < window.end_s - window.start_s <= timedelta(days=2).total_seconds()


def test_what_a_caller_meets_is_found_once_for_a_window() -> None:
    limits = FileLimits(lines([a_limit(per="user", daily_usd=1), a_limit(per="user", monthly_usd=9)]), Calendar("UTC"))
    met = limits.met(ALICE, TARGET, NOON)
    assert met.claims == claims(limits.lines, limits.calendar, ALICE, TARGET, NOON)
    assert limits.met(ALICE, TARGET, NOON + HOUR) is met
    for later in (NOON + 12 * HOUR, NOON - 13 * HOUR, NOON):  # the next day, the one before, and back
        assert limits.met(ALICE, TARGET, later).claims == claims(limits.lines, Calendar("UTC"), ALICE, TARGET, later)


def test_what_a_caller_meets_is_its_own() -> None:
    each = [a_limit(per=per, requests_per_minute=60) for per in ("key", "user", "team", "tag", "model", "route")]
    limits = FileLimits(lines(each), Calendar("UTC"))
    own = key_lines([Amounts(concurrent=2)], "k-1")
    changes = ({"key": "k-2"}, {"user": "bob"}, {"team": "blue"}, {"tags": ("night",)}, {"limits": own}, {"limits": ()})
    targets = (Target("m-2", "r-1"), Target("m-1", "r-2"))
    for caller, target in [(replace(ALICE, **one), TARGET) for one in changes] + [(ALICE, one) for one in targets]:
        assert limits.met(caller, target, NOON).drawn(7) == quotas(limits.lines, caller, target, 7)


def test_who_differs_in_what_no_limit_looks_at_meets_the_same() -> None:
    limits = FileLimits(lines([a_limit(per="user", daily_usd=1, where={"model": "m-1"})]), Calendar("UTC"))
    met = limits.met(ALICE, TARGET, NOON)
    assert limits.met(replace(ALICE, key="k-2", team="blue", tags=()), Target("m-1", "r-2"), NOON) is met
    assert limits.met(ALICE, Target("m-2", "r-1"), NOON).claims == ()


def test_of_rates_of_tokens_the_estimate_is_drawn() -> None:
    limits = FileLimits(lines([a_limit(per="key", requests_per_minute=60, tokens_per_minute=99)]), Calendar("UTC"))
    met = limits.met(ALICE, TARGET, NOON)
    assert [[quota.amount for quota in met.drawn(tokens)] for tokens in (7, 8)] == [[1, 7], [1, 8]]


def test_the_memory_of_what_callers_meet_has_a_bound() -> None:
    limits = FileLimits(lines([a_limit(per="user", daily_usd=1)]), Calendar("UTC"))
    first = limits.met(ALICE, TARGET, NOON)
    for number in range(MOST_MET):
        limits.met(replace(ALICE, user=f"u{number}"), TARGET, NOON)
    again = limits.met(ALICE, TARGET, NOON)
    assert again == first and again is not first
