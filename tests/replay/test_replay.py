"""Two sides over many records: what moves, what it costs, what limits say in time, and that the same is the same."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from muxer.config.settings import LimitSettings
from muxer.errors import MuxerError
from muxer.inbound import Inbound
from muxer.plans import Question, Rules
from muxer.records import opening, reopened
from muxer.replay.bounds import Bounds
from muxer.replay.run import NO_TOKENS, as_json, replay, sampled
from muxer.replay.sides import Decided, Past, Recorded
from muxer.replay.tally import Sum
from muxer.routing import plan
from muxer.signals import measure
from muxer.testing import a_request
from muxer.testing.builders import START_S
from muxer.types import Affinity, Caller, Needs, Record, Usage
from tests.replay.values import PRICES, a_request_of, a_route, batches, replayed, some_rules
from tests.values import a_limit

CHEAP, DEAR = some_rules(a_route("r", "cheap")), some_rules(a_route("r", "dear"))


def limited(**limit: object) -> Rules:
    return some_rules(a_route("r", "cheap", "dear"), limits=[a_limit(**limit)])


async def test_requests_move_and_costs_are_those_of_the_recorded_tokens() -> None:
    tally = await replayed([a_request_of(number) for number in range(3)], CHEAP, DEAR)
    assert tally.total == Sum(3, 3, 3 * 1_200, 3 * 12_000)
    assert tally.moves == {("cheap", "dear"): tally.total}
    assert (tally.cheaper, tally.dearer, tally.total.change) == (0, 3, 9.0)


async def test_what_the_records_say_is_the_old_side_too() -> None:
    tally = await replayed([a_request_of(0, "dear"), a_request_of(1)], Recorded(CHEAP), CHEAP)
    assert tally.total == Sum(2, 1, 13_200, 2_400)
    assert tally.moves == {("dear", "cheap"): Sum(1, 1, 12_000, 1_200)}


async def test_what_did_not_end_well_is_left_out() -> None:
    tally = await replayed([a_request_of(usage=Usage()), a_request_of(1)], CHEAP, DEAR)
    assert (tally.total.requests, dict(tally.unknown)) == (1, {NO_TOKENS: 1})


async def test_a_budget_refuses_what_comes_after_it_is_spent_until_the_day_is_over() -> None:
    # 12,000 nano-dollars each; a bound of 100 input tokens and 50 of output, so only what was spent refuses.
    hourly = [
        a_request_of(60 * hour, needs=Needs(cap_tokens=50), signals={"chars": 5}) for hour in range(30)
    ]  # the first at midnight
    tally = await replayed(
        hourly, DEAR, some_rules(a_route("r", "dear"), limits=[a_limit(per="user", daily_usd="0.00006")])
    )
    assert tally.newly_refused == 24 - 5 + 6 - 5
    assert tally.refusals == {"limits[0].daily_usd": [0, 20]}
    assert tally.moves[("dear", "refused: limits[0].daily_usd")].requests == 20


async def test_a_day_begins_where_the_file_says() -> None:
    limit = a_limit(per="user", daily_usd="0.000012")
    late = [a_request_of(60 * hour, needs=Needs(cap_tokens=1)) for hour in (20, 21, 23)]
    zurich = some_rules(
        a_route("r", "dear"), limits=[limit], zone="Europe/Zurich"
    )  # midnight at 22:00 UTC in September
    assert (await replayed(late, DEAR, some_rules(a_route("r", "dear"), limits=[limit]))).newly_refused == 2
    assert (await replayed(late, DEAR, zurich)).newly_refused == 1


async def test_requests_at_the_same_time_share_slots() -> None:
    limit = limited(per="user", concurrent=2)
    at_once = [a_request_of(n, at=START_S + n / 10, ms=1_000.0) for n in range(4)]
    after_each_other = [a_request_of(n, at=START_S + 2 * n, ms=1_000.0) for n in range(4)]
    assert (await replayed(at_once, CHEAP, limit)).refusals == {"limits[0].concurrent (slots)": [0, 2]}
    assert (await replayed(after_each_other, CHEAP, limit)).newly_refused == 0


async def test_a_rate_lets_as_many_through_as_its_minute_has() -> None:
    burst = [a_request_of(n, at=START_S + n) for n in range(10)]
    tally = await replayed(burst, CHEAP, limited(per="user", requests_per_minute=4))
    assert 10 - tally.newly_refused == 4


async def test_where_the_budget_may_decide_the_next_model_serves() -> None:
    of_dear = a_limit(per="all", where={"model": "dear"}, daily_usd="0.00002")
    downgrading = some_rules(a_route("r", "dear", "cheap", on_budget="downgrade"), limits=[of_dear])
    records = [a_request_of(n, needs=Needs(cap_tokens=50)) for n in range(4)]
    tally = await replayed(records, DEAR, downgrading)
    assert {pair: one.requests for pair, one in tally.flows.items()} == {("dear", "dear"): 2, ("dear", "cheap"): 2}


async def test_the_largest_changes_are_kept_the_largest_first() -> None:
    records = [a_request_of(number, usage=Usage(number, 0)) for number in range(1, 40)]
    tally = await replayed(records, CHEAP, DEAR)
    assert [one.id for one in tally.largest] == [f"req_{number:05}" for number in range(39, 29, -1)]


async def test_the_json_adds_up() -> None:
    records = [a_request_of(n, signals={"code": n / 10}, route="old") for n in range(10)]
    after = some_rules(a_route("code", "dearest", when="code > 0.65"), a_route("hard", "dear", when="difficulty > 1"))
    found = as_json(await replayed(records, CHEAP, after))
    assert (found["requests"], found["moved"], found["unknown"]) == (3, 3, 7)
    assert found["unknown_reasons"] == [{"reason": "the signal difficulty", "requests": 7}]
    assert (found["before_usd"], found["after_usd"]) == ("0.0000036", "0.00036")
    expected = {"requests": 3, "moved": 3, "before_usd": "0.0000036", "after_usd": "0.00036"}
    assert found["moves"] == [{"from": "cheap", "to": "dearest", **expected}]
    assert found["routes"] == [{"route": "r", **expected}]


def test_a_sample_is_the_same_each_time_and_about_as_large_as_asked() -> None:
    ids = [f"req_{number}" for number in range(10_000)]
    first, larger = set(filter(sampled(0.1), ids)), set(filter(sampled(0.2), ids))
    assert first == set(filter(sampled(0.1), ids))
    assert first < larger
    assert 900 < len(first) < 1_100


def test_bounds_say_what_is_past_them() -> None:
    total = Sum(100, 20, 1_000, 1_051)
    assert Bounds(0.051, 0.2).passed(total) == []
    assert Bounds(0.05, 0.19).passed(total) == [
        "it costs 5.1 % more; --max-cost-increase allows 5 %",
        "20 % of the requests move; --max-moved allows 19 %",
    ]
    assert Bounds(0.05).passed(Sum(1, 0, 0, 1)) == [
        "it costs something that cost nothing; --max-cost-increase allows 5 %"
    ]
    assert Bounds(0.0, 0.0).passed(Sum()) == []


conditions = st.one_of(
    st.none(),
    st.builds("{} >= {}".format, st.sampled_from(["code", "chars"]), st.integers(0, 3)),
    st.builds('user == "{}"'.format, st.sampled_from(["alice", "bob"])),
    st.just("difficulty > 0.5"),
)
routes = st.lists(
    st.tuples(
        conditions,
        st.lists(st.sampled_from([*PRICES, "unpriced"]), min_size=1, max_size=3, unique=True),
        st.sampled_from(["listed", "cheapest"]),
        st.sampled_from(["refuse", "downgrade"]),
        st.sampled_from([None, 0.5]),
        st.sampled_from([None, "conversation"]),
    ),
    min_size=1,
    max_size=4,
)
limits = st.lists(
    st.sampled_from(
        [
            a_limit(per="user", daily_usd="0.00003"),
            a_limit(per="all", monthly_usd="0.0002", hold="expected"),
            a_limit(per="model", requests_per_minute=2),
            a_limit(per="route", tokens_per_minute=5_000),
            a_limit(per="user", concurrent=1),
        ]
    ),
    max_size=3,
)


@st.composite
def histories(draw: st.DrawFn) -> list[Record]:
    at, found = float(START_S), list[Record]()
    for number in range(draw(st.integers(1, 12))):
        at += draw(st.sampled_from([0.1, 5.0, 3_600.0, 40_000.0]))
        signals = {"code": draw(st.integers(0, 3)), "chars": draw(st.integers(0, 3))}
        signals |= {"difficulty": draw(st.integers(0, 1))} if draw(st.booleans()) else {}
        conversation = draw(st.sampled_from(["", "c1", "c2"]))
        before = next((one for one in reversed(found) if one.conversation == conversation != ""), None)
        found.append(
            a_request_of(
                number,
                draw(st.sampled_from([*PRICES, "gone"])),
                at=at,
                user=draw(st.sampled_from(["alice", "bob"])),
                signals=signals,
                conversation=conversation,
                affinity=Affinity(before.model, draw(st.sampled_from([0, 500]))) if before else Affinity(),
                requested_model=draw(st.sampled_from(["auto", "auto:r0", "dear", "gone"])),
                needs=Needs(cap_tokens=draw(st.sampled_from([None, 10]))),
                usage=Usage(draw(st.integers(0, 900)), draw(st.integers(0, 90))),
                ms=draw(st.sampled_from([1.0, 10_000.0])),
            )
        )
    return found


DrawnRoutes = list[tuple[str | None, list[str], str, str, float | None, str | None]]


def drawn_rules(drawn: DrawnRoutes, of: list[LimitSettings]) -> Rules:
    made = [
        a_route(f"r{at}", *use, when=when, order=order, on_budget=on_budget, share=share, sticky=sticky)
        for at, (when, use, order, on_budget, share, sticky) in enumerate(drawn)
    ]
    return some_rules(*made, limits=of)


@settings(max_examples=60)
@given(drawn=routes, of=limits, records=histories())
async def test_a_file_against_itself_changes_nothing(
    drawn: DrawnRoutes, of: list[LimitSettings], records: list[Record]
) -> None:
    rules = drawn_rules(drawn, of)
    tally = await replayed(records, rules, rules)
    assert tally.total.requests + tally.unknown.total() == len(records)
    assert (tally.total.moved, tally.newly_refused, tally.moves, tally.largest) == (0, 0, {}, [])
    assert tally.total.before_nanos == tally.total.after_nanos
    assert all(one.change_nanos == 0 for sums in (tally.routes, tally.hours) for one in sums.values())


@settings(max_examples=60)
@given(drawn=routes, of=limits, text=st.text(max_size=40), cap=st.sampled_from([None, 7]), tools=st.booleans())
def test_a_recorded_request_is_decided_as_it_was(
    drawn: DrawnRoutes,
    of: list[LimitSettings],
    text: str,
    cap: int | None,
    tools: bool,
) -> None:
    rules = drawn_rules(drawn, of)
    request = a_request(text, max_tokens=cap, tools=() if tools else None)
    inbound = Inbound(api="openai.chat", request=request, raw=msgspec.json.encode(request))
    caller = Caller(key="k", user="alice", tags=("t",))
    measured = measure(request, inbound.raw, {})
    measured.values.update(code=1, difficulty=0.7)
    question = Question(
        id="request-1", now=START_S, caller=caller, requested="auto", measured=measured, is_cooling=lambda model: ""
    )
    try:
        live = plan(rules, question)
    except MuxerError:
        return  # it has no record
    record = opening(inbound, question, live, rules, {})
    assert plan(rules, reopened(record, caller, question.estimates, question.affinity)) == live


@settings(max_examples=60)
@given(drawn=routes, records=histories())
async def test_what_the_rules_themselves_recorded_does_not_move(drawn: DrawnRoutes, records: list[Record]) -> None:
    """Also against the records, not only against itself: sticky, shares, and what was learned until then."""
    rules = drawn_rules(drawn, [])
    past, wrote, on = Past(), list[Record](), dict[str, Affinity]()
    for record in records:
        asked = replace(record, affinity=on.get(record.conversation, Affinity()))
        outcome = await Decided(rules, (), None, past).outcome(asked)
        if not (outcome.refused or outcome.unknown):
            attempt = replace(record.attempts[0], model=outcome.model, upstream=outcome.upstream)
            wrote.append(replace(asked, route=outcome.route, model=outcome.model, attempts=(attempt,)))
            past.add(wrote[-1])
            on[record.conversation] = Affinity(outcome.model, 500) if record.conversation else Affinity()
    past = Past()
    tally = await replay(batches(wrote), Recorded(rules), Decided(rules, (), None, past), lambda more: None, past)
    assert (tally.total.moved, tally.total.before_nanos) == (0, tally.total.after_nanos)


async def test_without_limits_nothing_is_refused() -> None:
    rules = limited(per="user", daily_usd="0.000001")
    side, told = Decided(rules, (), None), list[int]()
    tally = await replay(batches([a_request_of(n) for n in range(3)]), side, side, told.append)
    assert told == [3]
    assert (tally.total.requests, tally.newly_refused) == (3, 0)
