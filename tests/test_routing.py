"""From a measured request to a plan, without a server: rules, gates, orders, costs."""

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from muxer.budgets import Calendar, FileLimits, lines
from muxer.catalog import Catalog, Group, Model
from muxer.config.settings import FREE_SIGNALS, DefaultsSettings, LimitSettings, RouteSettings
from muxer.errors import (
    ContextTooLong,
    CostUnbounded,
    InvalidRequest,
    ModelNotFound,
    ModelPriceUnknown,
    MuxerError,
    NoCandidate,
)
from muxer.expressions import compile_expression
from muxer.judging import sent_cap
from muxer.money import FREE, Price, Rates
from muxer.plans import Candidate, Plan, Question, Rules
from muxer.routing import plan
from muxer.signals import Measured
from muxer.testing import a_request
from muxer.types import Caller, Needs
from tests.values import a_limit, measured

PRICE = Price(Rates(input=1_000, output=2_000, cached_input=100, cache_write=1_250))
HARD = (a_limit(per="user", daily_usd=1),)
SOFT = (a_limit(per="user", daily_usd=1, hold="expected"),)


def a_model(name: str, **changes: object) -> Model:
    return replace(Model(name=name, provider="p", upstream=f"{name}-1", price=PRICE), **changes)


MODELS = {name: a_model(name) for name in "abcd"}


def a_route(name: str = "r", use: tuple[str, ...] = ("a", "b"), **changes: object) -> RouteSettings:
    return replace(RouteSettings(name=name, use=use), **changes)


def some_rules(
    *routes: RouteSettings,
    models: Mapping[str, Model] = MODELS,
    groups: Mapping[str, Group] | None = None,
    limits: tuple[LimitSettings, ...] = (),
    defaults: DefaultsSettings | None = None,
) -> Rules:
    conditions = [route.when and compile_expression(route.when, FREE_SIGNALS) for route in routes]
    return Rules(
        catalog=Catalog(models=models, groups=groups or {}, prices="test"),
        routes=routes,
        conditions=tuple(condition or None for condition in conditions),
        limits=FileLimits(lines(limits), Calendar("UTC")),
        defaults=defaults or DefaultsSettings(),
        config="test",
    )


def a_question(text: str = "Hi", requested: str = "auto", caller: Caller | None = None, **changes: object) -> Question:
    question = Question(
        id="request-1",
        now=1_790_035_200.0,
        caller=caller or Caller(key="k", user="alice"),
        requested=requested,
        measured=measured(a_request(text)),
        is_cooling=lambda model: "",
    )
    return replace(question, **changes)


def needing(**needs: object) -> Measured:
    return replace(measured(a_request("Hi")), needs=replace(Needs(), **needs))


def names(decided: Plan) -> list[str]:
    return [candidate.model.name for candidate in decided.candidates]


def test_the_first_rule_that_matches_decides() -> None:
    rules = some_rules(a_route("long", when="chars > 100"), a_route("short", when="chars < 100"), a_route("any"))
    assert plan(rules, a_question("Hi")).route == "short"
    assert plan(rules, a_question("Hi " * 40)).route == "long"
    assert plan(rules, a_question("H" * 100)).route == "any"


def test_the_reason_says_which_rule_and_why() -> None:
    rules = some_rules(a_route("short", when="chars < 100", order="cheapest"), a_route("any"))
    assert plan(rules, a_question()).reason == "rule short: chars < 100; cheapest first"
    assert plan(rules, a_question("H" * 100)).reason == "rule any: matches everything"


def test_a_rule_may_ask_who_asks() -> None:
    rules = some_rules(a_route("ours", ("a",), when="team == 'red' and 'night' in tags"), a_route("any", ("b",)))
    red = Caller(key="k", user="alice", team="red", tags=("night", "day"))
    assert names(plan(rules, a_question(caller=red))) == ["a"]
    assert names(plan(rules, a_question())) == ["b"]


def test_the_default_model_answers_when_no_rule_matches() -> None:
    decided = plan(some_rules(a_route(when="chars > 100"), defaults=DefaultsSettings(model="c")), a_question())
    assert (decided.route, decided.reason, names(decided)) == ("default", "no rule matches; defaults.model", ["c"])


def test_no_rule_and_no_default_is_the_caller_s_to_mend() -> None:
    with pytest.raises(InvalidRequest, match="name a model"):
        plan(some_rules(a_route(when="chars > 100")), a_question())


def test_a_caller_may_name_a_route() -> None:
    rules = some_rules(a_route("long", ("a",), when="chars > 100"), a_route("any", ("b",)))
    decided = plan(rules, a_question(requested="auto:long"))
    assert (decided.route, decided.reason, names(decided)) == ("long", "route long named by the caller", ["a"])


def test_a_caller_may_name_a_model_and_gets_its_fallbacks() -> None:
    rules = some_rules(a_route(use=("a",)), models={**MODELS, "b": a_model("b", fallbacks=("d", "c"))})
    decided = plan(rules, a_question(requested="b"))
    assert (decided.route, decided.reason, names(decided)) == ("pinned", "model named by the caller", ["b", "d", "c"])


def test_a_caller_may_name_a_group() -> None:
    rules = some_rules(a_route(), groups={"g": Group(use=("c", "d"), order="listed", weights=())})
    assert names(plan(rules, a_question(requested="g"))) == ["c", "d"]


@pytest.mark.parametrize("requested", ["x", "auto:x", "auto:", "AUTO", "a "])
def test_what_nobody_offers_is_not_found(requested: str) -> None:
    with pytest.raises(ModelNotFound):
        plan(some_rules(a_route()), a_question(requested=requested))


@pytest.mark.parametrize(
    ("changes", "needs", "gate"),
    [
        ({"unavailable": "no key"}, {}, "unavailable"),
        ({"can": frozenset()}, {"tools": True}, "tools"),
        ({"can": frozenset({"tools"})}, {"images": True}, "images"),
        ({"can": frozenset({"tools"})}, {"json": True}, "json"),
        ({"can": frozenset({"json"})}, {"logprobs": True}, "logprobs"),
        ({"context_tokens": 1}, {}, "context"),
        ({"max_output_tokens": 100}, {"cap_tokens": 101}, "output_cap"),
    ],
)
def test_a_model_that_cannot_take_the_request_is_passed_over(
    changes: dict[str, object], needs: dict[str, object], gate: str
) -> None:
    rules = some_rules(a_route(), models={"a": a_model("a", **changes), "b": a_model("b")})
    decided = plan(rules, a_question(measured=needing(**needs)))
    assert (names(decided), [(one.model, one.gate) for one in decided.excluded]) == (["b"], [("a", gate)])


def test_what_nobody_knows_of_a_model_is_no_gate() -> None:
    question = a_question(measured=needing(tools=True, images=True, json=True, logprobs=True, cap_tokens=10**6))
    assert names(plan(some_rules(a_route()), question)) == ["a", "b"]


def test_a_model_that_is_set_aside_is_passed_over_with_the_reason() -> None:
    decided = plan(some_rules(a_route()), a_question(is_cooling=lambda model: "busy" if model.name == "a" else ""))
    assert (names(decided), decided.excluded[0].gate, decided.excluded[0].detail) == (["b"], "cooling", "busy")


def test_a_model_the_key_may_not_use_is_passed_over() -> None:
    caller = Caller(key="k", user="alice", models=("b*",))
    assert names(plan(some_rules(a_route()), a_question(caller=caller))) == ["b"]


@pytest.mark.parametrize(
    ("changes", "question", "error"),
    [
        ({"context_tokens": 1}, a_question(), ContextTooLong),
        ({"can": frozenset()}, a_question(measured=needing(tools=True)), InvalidRequest),
        ({"max_output_tokens": 1}, a_question(measured=needing(cap_tokens=2)), InvalidRequest),
        ({"price": None}, a_question(), ModelPriceUnknown),
        ({}, a_question(measured=replace(needing(), bound_tokens=None)), CostUnbounded),
        ({"unavailable": "no key"}, a_question(), NoCandidate),
        ({}, a_question(is_cooling=lambda model: "busy"), NoCandidate),
        ({}, a_question(caller=Caller(key="k", user="u", models=("z",))), ModelNotFound),
    ],
)
def test_the_error_says_why_nobody_is_left(
    changes: dict[str, object], question: Question, error: type[MuxerError]
) -> None:
    with pytest.raises(MuxerError) as raised:
        plan(some_rules(a_route(use=("a",)), models={"a": a_model("a", **changes)}, limits=HARD), question)
    assert type(raised.value) is error


@pytest.mark.parametrize("limits", [(), SOFT], ids=["no budget", "soft budget"])
def test_unknown_prices_and_endless_costs_pass_without_a_hard_budget(limits: tuple[LimitSettings, ...]) -> None:
    rules = some_rules(a_route(use=("a",)), models={"a": a_model("a", price=None)}, limits=limits)
    assert names(plan(rules, a_question(measured=replace(needing(), bound_tokens=None)))) == ["a"]


def test_cheapest_sorts_by_what_this_request_will_likely_cost() -> None:
    models = {
        "dear input": a_model("dear input", price=Price(Rates(input=10_000, output=1_000))),
        "dear output": a_model("dear output", price=Price(Rates(input=1_000, output=10_000))),
        "free": a_model("free", price=FREE),
    }
    rules = some_rules(a_route(use=("dear input", "dear output", "free"), order="cheapest"), models=models)
    assert names(plan(rules, a_question("Hi"))) == ["free", "dear input", "dear output"]
    assert names(plan(rules, a_question("word " * 5_000))) == ["free", "dear output", "dear input"]


def test_a_price_nobody_knows_is_not_the_cheapest() -> None:
    rules = some_rules(a_route(order="cheapest"), models={"a": a_model("a", price=None), "b": a_model("b")})
    assert names(plan(rules, a_question())) == ["b", "a"]


def test_a_group_keeps_its_own_order_inside_a_route() -> None:
    models = {**MODELS, "c": a_model("c", price=FREE)}
    groups = {"cheap": Group(use=("b", "c"), order="cheapest", weights=())}
    rules = some_rules(a_route(use=("a", "cheap", "d")), models=models, groups=groups)
    assert names(plan(rules, a_question())) == ["a", "c", "b", "d"]
    assert names(plan(rules, a_question(requested="cheap"))) == ["c", "b"]


def test_groups_open_in_groups_and_each_model_comes_once() -> None:
    groups = {
        "inner": Group(use=("b", "a"), order="listed", weights=()),
        "outer": Group(use=("c", "inner"), order="listed", weights=()),
    }
    assert names(plan(some_rules(a_route(use=("a", "outer")), groups=groups), a_question())) == ["a", "c", "b"]


WEIGHTED = some_rules(a_route(use=("a", "b", "c"), order="weighted", weights=(6.0, 3.0, 1.0)))


@given(st.text(max_size=20))
def test_a_weighted_draw_is_the_same_each_time_for_one_request(id: str) -> None:
    drawn = [names(plan(WEIGHTED, a_question(id=id))) for _ in range(2)]
    assert drawn[0] == drawn[1] and sorted(drawn[0]) == ["a", "b", "c"]


def test_weighted_draws_follow_their_weights_in_every_place() -> None:
    drawn = [names(plan(WEIGHTED, a_question(id=f"req_{number}"))) for number in range(4_000)]
    first = Counter(order[0] for order in drawn)
    assert [round(first[name] / 4_000, 1) for name in "abc"] == [0.6, 0.3, 0.1]
    second = Counter(order[1] for order in drawn if order[0] == "a")
    assert 0.7 < second["b"] / second.total() < 0.8  # 3 of 4


def test_weights_far_apart_still_leave_everybody_in_the_plan() -> None:
    rules = some_rules(a_route(order="weighted", weights=(1.0, 1e-9)))
    assert {tuple(names(plan(rules, a_question(id=str(number))))) for number in range(100)} == {("a", "b")}


def test_a_weight_of_zero_is_never_drawn() -> None:
    rules = some_rules(a_route(order="weighted", weights=(0.0, 1.0)))
    assert {tuple(names(plan(rules, a_question(id=str(number))))) for number in range(100)} == {("b",)}


def test_two_routes_draw_independently() -> None:
    def firsts(name: str) -> list[str]:
        rules = some_rules(a_route(name, order="weighted", weights=(1.0, 1.0)))
        return [names(plan(rules, a_question(id=str(number))))[0] for number in range(200)]

    assert 60 < sum(one == other for one, other in zip(firsts("r"), firsts("s"), strict=True)) < 140


def only(rules: Rules, question: Question) -> Candidate:
    (candidate,) = plan(rules, question).candidates
    return candidate


def test_the_bound_is_the_dearest_input_and_the_longest_output() -> None:
    candidate = only(some_rules(a_route(use=("a",)), limits=HARD), a_question())
    bound_tokens = measured(a_request("Hi")).bound_tokens
    assert bound_tokens is not None
    assert candidate.bound_nanos == -(-(bound_tokens * 1_250 + 4_096 * 2_000) // 1_000)
    assert candidate.floor_nanos == -(-(bound_tokens * 1_250 + 256 * 2_000) // 1_000)


@pytest.mark.parametrize(
    ("default", "max_output", "limits", "inserted"),
    [
        (None, None, (), None),
        (None, None, SOFT, None),
        (None, None, HARD, 4_096),
        (None, 1_000, HARD, 1_000),
        (50, None, (), 50),
        (5_000, None, HARD, 5_000),
        (5_000, 1_000, (), 1_000),
    ],
)
def test_the_inserted_cap_is_the_default_or_what_makes_the_cost_finite(
    default: int | None, max_output: int | None, limits: tuple[LimitSettings, ...], inserted: int | None
) -> None:
    models = {"a": a_model("a", max_output_tokens=max_output)}
    rules = some_rules(a_route(use=("a",)), models=models, limits=limits, defaults=DefaultsSettings(max_tokens=default))
    assert only(rules, a_question()).inserted_cap == inserted


def test_a_caller_s_cap_is_the_bound_and_never_shrinks() -> None:
    candidate = only(some_rules(a_route(use=("a",)), limits=HARD), a_question(measured=needing(cap_tokens=100, n=3)))
    bound_tokens = measured(a_request("Hi")).bound_tokens or 0
    assert candidate.bound_nanos == candidate.floor_nanos == -(-(bound_tokens * 1_250 + 300 * 2_000) // 1_000)
    assert (candidate.inserted_cap, sent_cap(candidate, candidate.bound_nanos, Needs(n=3))) == (None, None)


rates = st.integers(0, 100_000)
prices = st.builds(Price, st.builds(Rates, rates, rates, rates, rates))


@given(prices, st.text(max_size=300), st.integers(1, 8), st.one_of(st.none(), st.integers(0, 20_000)))
def test_no_request_is_expected_to_cost_more_than_its_bound(price: Price, text: str, n: int, cap: int | None) -> None:
    asked = replace(measured(a_request(text)), needs=Needs(n=n, cap_tokens=cap))
    candidate = only(some_rules(a_route(use=("a",)), models={"a": a_model("a", price=price)}, limits=HARD),
                     a_question(measured=asked))  # fmt: skip
    assert 0 <= candidate.floor_nanos <= candidate.bound_nanos
    assert 0 <= candidate.expected_nanos <= candidate.bound_nanos


@given(prices, st.integers(1, 8), st.data())
def test_the_output_cap_is_the_largest_that_the_grant_pays_for(price: Price, n: int, data: st.DataObject) -> None:
    rules = some_rules(a_route(use=("a",)), models={"a": a_model("a", price=price)}, limits=HARD)
    candidate = only(rules, a_question(measured=needing(n=n)))
    granted = data.draw(st.integers(candidate.floor_nanos, candidate.bound_nanos))
    cap = sent_cap(candidate, granted, Needs(n=n))
    assert cap is not None and 256 <= cap <= 4_096
    assert price.bound_nanos(candidate.bound_input_tokens, n * cap) <= granted
    assert cap == 4_096 or price.bound_nanos(candidate.bound_input_tokens, n * (cap + 1)) > granted


some = st.sets(st.sampled_from("abcd"))
uses = st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True)


@given(uses, st.sampled_from(["listed", "cheapest"]), some, some)
def test_a_plan_has_each_model_of_its_route_once_taken_or_passed_over(
    use: list[str], order: str, unavailable: set[str], cooling: set[str]
) -> None:
    models = {name: a_model(name, unavailable="x" if name in unavailable else "") for name in "abcd"}
    question = a_question(is_cooling=lambda model: "busy" if model.name in cooling else "")
    try:
        decided = plan(some_rules(a_route(use=tuple(use), order=order), models=models), question)
    except NoCandidate:
        assert set(use) <= unavailable | cooling
        return
    assert sorted([*names(decided), *(one.model for one in decided.excluded)]) == sorted(use)
    assert not set(names(decided)) & (unavailable | cooling)


def test_a_candidate_touches_the_limits_of_its_own_model_and_route() -> None:
    limits = (a_limit(per="model", daily_usd=1), a_limit(per="route", total_usd=2), a_limit(per="team", daily_usd=3))
    decided = plan(some_rules(a_route("r"), limits=limits), a_question())
    claims = [(claim.account, claim.limit_nanos) for claim in decided.candidates[1].claims]
    assert claims == [("model:b", 10**9), ("route:r", 2 * 10**9)]  # no team, so no team's limit
