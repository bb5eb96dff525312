"""What a model likely does, learned from what it did."""

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from muxer import explanation
from muxer.calibration import Calibration, Fit, as_json
from muxer.errors import StoreUnavailable
from muxer.estimates import PRIOR, Estimate, Estimates
from muxer.learner import Learner
from muxer.money import Price, Rates
from muxer.plans import Candidate, Question, Rules
from muxer.routing import plan
from muxer.standings import untouched
from muxer.stores import HoldChoice
from muxer.testing import Fail, Say, a_record, a_request, an_attempt
from muxer.types import Affinity, Attempt, Needs, Record, Usage
from tests.proxy import OpenProxy
from tests.test_routing import a_model, a_question, a_route, names, some_rules
from tests.values import learned, measured

LENGTHS = st.lists(st.integers(0, 5_000), min_size=1, max_size=100)


def answered(output: int = 100, model: str = "m", route: str = "r", **changes: object) -> Record:
    """A finished request whose 1,000 estimated tokens were billed as 1,250."""
    values: dict[str, object] = {
        "state": "done",
        "model": model,
        "route": route,
        "estimate_tokens": 1_000,
        "usage": Usage(1_250, output),
        "attempts": (tried(model, cost_nanos=1_000),),
    }
    return a_record(**(values | changes))


def tried(model: str = "m", **changes: object) -> Attempt:
    return replace(an_attempt(), model=model, **{"outcome": "exact", "cost_nanos": 0, "presumed_nanos": 0, **changes})


def of_many(records: Sequence[Record], model: str = "m", route: str = "r") -> Estimate:
    """The estimate where so many requests tell that nothing is leaned on."""
    return learned([*records] * (200_000 // len(records))).of(model, route)


def test_without_records_an_answer_has_400_tokens_or_the_cap() -> None:
    estimate = learned([]).of("m", "r")
    assert estimate == PRIOR
    assert (estimate.output_tokens(10_000), estimate.output_tokens(100)) == (400, 100)


@given(LENGTHS)
def test_the_mean_of_the_lengths_is_kept_and_leans_by_their_number(lengths: list[int]) -> None:
    estimate = learned(map(answered, lengths)).of("m", "")
    mean, count = sum(lengths) / len(lengths), len(lengths)
    assert estimate.requests == count
    assert estimate.output_tokens(1_000_000) == pytest.approx((mean * count + 400 * 20) / (count + 20))
    assert list(estimate.lengths) == pytest.approx(sorted(estimate.lengths))


@given(LENGTHS, st.integers(0, 6_000), st.integers(0, 6_000))
def test_a_higher_cap_never_makes_answers_shorter(lengths: list[int], one: int, other: int) -> None:
    estimate = learned(map(answered, lengths)).of("m", "r")
    low, high = sorted((one, other))
    assert estimate.output_tokens(low) <= estimate.output_tokens(high) + 1e-9
    assert estimate.output_tokens(low) <= low + 1e-9 and estimate.long_output_tokens(low) <= low


def test_nine_in_ten_answers_are_not_longer_than_it_says() -> None:
    estimate = of_many([answered(length) for length in range(1_000)])
    assert estimate.long_output_tokens(10_000) == pytest.approx(900, abs=5)
    assert estimate.output_tokens(500) == pytest.approx(375, abs=5)  # half of them are cut at 500


def test_each_route_has_its_own_lengths_and_a_new_one_those_of_the_model() -> None:
    records = [answered(10, route="short")] * 1_000 + [answered(1_000, route="long")] * 1_000
    found = learned(records)
    assert found.of("m", "short").output_tokens(9_999) < 30 and found.of("m", "long").output_tokens(9_999) > 970
    assert found.of("m", "new") == found.of("m", "")
    assert found.of("m", "new").output_tokens(9_999) == pytest.approx(505, abs=5)
    assert found.of("other", "short") == PRIOR


def test_input_and_caches_are_learned_as_shares() -> None:
    usage = Usage(input_tokens=1_250, output_tokens=1, cached_input_tokens=500, cache_write_tokens=125)
    estimate = of_many([answered(usage=usage), answered(usage=replace(usage, cached_input_tokens=250))])
    assert estimate.input_ratio == pytest.approx(1.25, rel=1e-3)
    assert (estimate.cached_share, estimate.written_share) == pytest.approx((0.3, 0.1), rel=1e-3)


def test_several_choices_are_several_answers() -> None:
    assert of_many([answered(300, needs=Needs(n=3))]).output_tokens(9_999) == pytest.approx(100, rel=1e-2)


def test_what_failed_tries_cost_is_a_share_of_what_answers_did() -> None:
    failed = tried("m", outcome="presumed", presumed_nanos=500)
    records = [answered(), answered(), answered(model="n", attempts=(failed, tried("n", cost_nanos=1_000)))]
    assert of_many(records).retry_share == pytest.approx(500 / 3_000, rel=1e-3)
    assert of_many(records, "n").retry_share == 0


@pytest.mark.parametrize("leg", [tried("m", cost_nanos=50, is_check=True), tried("k", cost_nanos=50, confidence=0.2)])
def test_what_a_cascade_judged_was_no_failed_try_also_where_the_first_answer_said_nothing(leg: Attempt) -> None:
    judged = answered(model="n", attempts=(tried("m", cost_nanos=500), leg, tried("n", cost_nanos=1_000)))
    assert judged.confidence is None
    assert of_many([answered(), judged]).retry_share == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "failed"},
        {"state": "open"},
        {"attempts": ()},
        {"attempts": (tried(outcome="counted"),)},
        {"needs": Needs(embeddings=True)},
    ],
)
def test_what_no_provider_counted_teaches_nothing(changes: dict[str, object]) -> None:
    assert learned([answered(**changes)]) == Estimates()  # type: ignore[arg-type]  # fields of a record by name


def priced(**prices: tuple[int, int]) -> Rules:
    models = {
        name: a_model(name, price=Price(Rates(input=one, output=other, cached_input=one // 10, cache_write=one)))
        for name, (one, other) in prices.items()
    }
    return some_rules(a_route(use=tuple(models), order="cheapest"), models=models)


def test_cheapest_goes_by_what_a_model_writes_and_not_by_its_price_alone() -> None:
    rules = priced(brief=(1_000, 3_000), wordy=(1_000, 2_000))
    assert names(plan(rules, a_question())) == ["wordy", "brief"]
    records = [answered(100, "brief")] * 200 + [answered(900, "wordy")] * 200
    assert names(plan(rules, a_question(estimates=learned(records)))) == ["brief", "wordy"]


def test_a_known_conversation_says_more_of_the_cache_than_a_share() -> None:
    rules, size = priced(a=(1_000, 1_000)), replace(measured(a_request()), estimate_tokens=10_000, bound_tokens=None)
    tables = learned([answered(usage=Usage(1_000, 1, cached_input_tokens=900), model="a")] * 500)
    likely = plan(rules, a_question(measured=size, estimates=tables)).candidates[0].likely
    assert likely.cached_input_tokens > 0.8 * likely.input_tokens
    cold = a_question(measured=size, estimates=tables, affinity=Affinity("a", 0))
    assert plan(rules, cold).candidates[0].likely.cached_input_tokens == 0


@given(st.lists(st.builds(answered, st.integers(0, 9_000)), max_size=30), st.integers(1, 9_000), st.integers(1, 3))
def test_the_expected_cost_is_never_over_the_bound_and_its_parts_add_up(
    records: list[Record], tokens: int, n: int
) -> None:
    failed = tried(outcome="presumed", presumed_nanos=800)
    records = [replace(one, model="a", attempts=(failed, tried("a", cost_nanos=900))) for one in records]
    size = replace(measured(a_request()), estimate_tokens=tokens, bound_tokens=2 * tokens, needs=Needs(n=n))
    question = a_question(measured=size, estimates=learned(records))
    (candidate,) = plan(priced(a=(700, 1_300)), question).candidates
    assert 0 <= candidate.expected_nanos <= candidate.high_nanos <= candidate.bound_nanos
    parts = _told(priced(a=(700, 1_300)), question)["expected"]
    of = [_nanos(parts[f"{name}_usd"]) for name in ("input", "cached", "cache_write", "output", "retries")]
    assert min(of) >= 0 and sum(of) == candidate.expected_nanos


def _told(rules: Rules, question: Question) -> Any:
    coroutine = explanation.explain(rules, question, a_request(), {}, _nowhere)
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    return explanation.as_json(ended.value.value)["candidates"][0]


async def _nowhere(choice: HoldChoice) -> Any:
    return untouched(choice)


def _nanos(usd: str) -> int:
    return round(float(usd) * 1e9)


def test_what_was_learned_predicts_what_comes() -> None:
    """Of lengths as real ones are spread (lognormal), half taught and half foretold."""
    chance = random.Random(3)
    records = [answered(round(math.exp(chance.gauss(6.2, 0.8))), model="a") for _ in range(4_000)]
    rules, calibration = priced(a=(1_000, 4_000)), Calibration()
    untaught = Calibration()
    tables = learned(records[:2_000])
    size = replace(measured(a_request()), estimate_tokens=1_000, bound_tokens=4_000)
    for record in records[2_000:]:
        for by, found in ((tables, calibration), (Estimates(), untaught)):
            candidate = plan(rules, a_question(measured=size, estimates=by)).candidates[0]
            found.add(_settled(record, candidate))
    fit, before = calibration.found["a"], untaught.found["a"]
    assert 0.95 < fit.ratio < 1.05 < before.ratio
    assert fit.coverage is not None and 0.88 < fit.coverage < 0.92


def _settled(record: Record, candidate: Candidate) -> Record:
    price = candidate.model.price
    assert price is not None
    return replace(
        record,
        cost_nanos=price.cost_nanos(record.usage),
        expected_nanos=candidate.expected_nanos,
        expected_high_nanos=candidate.high_nanos,
    )


def test_a_calibration_sums_up_and_leaves_out_what_says_nothing() -> None:
    calibration = Calibration()
    for cost in (50, 100, 150, 300):
        calibration.add(answered(cost_nanos=cost, expected_nanos=100, expected_high_nanos=150))
    elsewhere = answered(attempts=(tried("other"), tried("m")))
    for odd in (answered(state="failed"), elsewhere, answered(), answered(expected_nanos=9, presumed_nanos=9)):
        calibration.add(odd)
    (found,) = as_json(calibration)["models"]
    assert (found["requests"], found["ratio"], found["coverage"]) == (4, 1.5, 0.75)
    assert found["quantiles"] == {"p10": 0.5, "p50": 1.5, "p90": 3.0}
    assert calibration.left_out == 4


def test_records_of_an_older_version_have_no_coverage() -> None:
    fit = Fit()
    fit.add(answered(cost_nanos=50, expected_nanos=100))
    assert fit.coverage is None


async def test_tables_stay_while_the_store_cannot_be_read() -> None:
    replies: list[list[Record] | StoreUnavailable] = [[answered()], StoreUnavailable("away")]

    async def latest(since_s: float, limit: int, take: Callable[[Record], None]) -> None:
        reply = replies.pop(0)
        if isinstance(reply, StoreUnavailable):
            raise reply
        for record in reply:
            take(record)

    learner = Learner(latest, lambda: 0.0)
    await learner.learn()
    taught = learner.estimates
    await learner.learn()
    assert learner.estimates is taught and taught.of("m", "r").requests == 1


async def test_a_proxy_learns_from_its_own_records(proxy: OpenProxy) -> None:
    running = await proxy(*[Say(usage=Usage(100, 2_000))] * 40, Fail(400), routes="[{name: chat, use: [small]}]")
    parts = running.assembly.parts
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    first = await running.record(await running.post(body))
    for _ in range(39):
        await running.post(body)
    await parts.learner.learn()
    assert parts.learner.estimates.of("small", "chat").requests == 40
    later = await running.record(await running.post(body))
    assert later.expected_nanos > 2 * first.expected_nanos
    told = await (await running.ask("/v1/route", body)).json()
    assert told["candidates"][0]["expected"]["output_tokens"] > 1_000


async def test_the_cost_expected_is_that_of_the_model_the_budget_left(proxy: OpenProxy) -> None:
    routes = "[{name: chat, use: [large, small], on_budget: downgrade}]"
    running = await proxy(Say(), routes=routes, limits="[{per: user, daily_usd: 0.004}]")
    record = await running.record(await running.post({"messages": [{"role": "user", "content": "Hi"}]}))
    told = await (await running.ask("/v1/route", {"messages": [{"role": "user", "content": "Hi"}]})).json()
    small = next(one for one in told["candidates"] if one["model"] == "small")
    assert record.model == "small" and _nanos(small["expected_usd"]) == pytest.approx(record.expected_nanos, rel=0.01)
