"""Conversations that stay where they are, for as long as that is not dearer than to move."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from muxer.conversations import CACHED_S, Conversations
from muxer.estimates import Estimates
from muxer.money import Price, Rates
from muxer.plans import Rules
from muxer.records import reopened
from muxer.routing import plan
from muxer.testing import Fail, Say, a_record, a_request
from muxer.types import Affinity, Caller, ChatRequest, Record, Usage
from tests.proxy import OpenProxy
from tests.test_routing import MODELS, a_model, a_question, a_route, names, some_rules
from tests.values import measured

STICKY = some_rules(a_route(use=("a", "b", "c"), sticky="conversation"))


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def turn(model: str = "a", conversation: str = "c", input_tokens: int = 0) -> Record:
    return a_record(model=model, key="k", conversation=conversation, usage=Usage(input_tokens))


def on(model: str, cached_tokens: int = 0) -> Affinity:
    return Affinity(model, cached_tokens)


@pytest.mark.parametrize(
    ("usages", "cached"),
    [
        ([{"input_tokens": 5_000}], 5_000),  # nobody knows better yet
        ([{"input_tokens": 1_000}], 0),
        ([{"input_tokens": 5_000}, {"input_tokens": 6_000}], 0),  # the second found nothing
        ([{"input_tokens": 5_000}, {"input_tokens": 6_000, "cached_input_tokens": 4_992}], 6_000),
        ([{"input_tokens": 5_000, "cache_write_tokens": 3_000}], 3_000),
        ([{"input_tokens": 5_000, "cached_input_tokens": 3_000, "cache_write_tokens": 500}], 3_500),
    ],
)
def test_what_a_provider_keeps_is_learned_from_its_usage(usages: list[dict[str, int]], cached: int) -> None:
    conversations = Conversations(Clock())
    for usage in usages:
        conversations.remember(replace(turn(), usage=Usage(**usage)))
    assert conversations.affinity("k", "alice", "c") == on("a", cached)


def test_what_was_read_is_forgotten_after_a_while_and_the_model_is_not() -> None:
    clock = Clock()
    conversations = Conversations(clock)
    conversations.remember(turn(input_tokens=5_000))
    clock.now_s += CACHED_S
    assert conversations.affinity("k", "alice", "c") == on("a", 5_000)
    clock.now_s += 1
    assert conversations.affinity("k", "alice", "c") == on("a")
    conversations.remember(turn(input_tokens=6_000))  # it could not find anything after so long
    assert conversations.affinity("k", "alice", "c") == on("a", 6_000)


def test_another_model_has_read_nothing_before() -> None:
    conversations = Conversations(Clock())
    conversations.remember(turn("a", input_tokens=5_000))
    conversations.remember(turn("b", input_tokens=6_000))
    assert conversations.affinity("k", "alice", "c") == on("b", 6_000)


def test_callers_do_not_share_conversations() -> None:
    conversations = Conversations(Clock())
    conversations.remember(turn(input_tokens=5_000))
    assert conversations.affinity("other", "alice", "c") == Affinity()
    assert conversations.affinity("k", "bob", "c") == Affinity(), "tokens of one issuer share its key"


@given(st.lists(st.integers(0, 9)))
def test_the_latest_are_remembered_and_no_more(turns: list[int]) -> None:
    conversations = Conversations(Clock(), most=3)
    for number in turns:
        conversations.remember(turn(conversation=str(number)))
    latest = list(dict.fromkeys(reversed(turns)))
    assert len(conversations) == min(3, len(latest))
    found = [conversations.affinity("k", "alice", str(number)).model for number in latest]
    assert found == ["a"] * len(conversations) + [""] * (len(latest) - len(conversations))


def decided(rules: Rules, affinity: Affinity, tokens: int = 10_000) -> tuple[list[str], str]:
    size = replace(measured(_request()), estimate_tokens=tokens, bound_tokens=4 * tokens)
    made = plan(rules, a_question(affinity=affinity, measured=size))
    return names(made), made.reason


def _request() -> ChatRequest:
    return a_request("Hi")


def priced(**micros: int) -> Rules:
    """Models by their price a token, cached at a tenth of it; output costs as much as input."""
    models = {
        name: a_model(name, price=Price(Rates(input=price, output=price, cached_input=price // 10, cache_write=price)))
        for name, price in micros.items()
    }
    return some_rules(a_route(use=tuple(models), sticky="conversation"), models=models)


def test_a_conversation_stays_on_its_model_before_those_listed_first() -> None:
    assert decided(STICKY, on("b")) == (["b", "a", "c"], "rule r: matches everything; the conversation stays on b")


def test_a_conversation_on_no_model_or_on_one_of_another_route_goes_by_the_order() -> None:
    for affinity in (Affinity(), on("d", 5_000), on("a", 5_000)):
        assert decided(STICKY, affinity) == (["a", "b", "c"], "rule r: matches everything")


def test_without_sticky_the_order_stands() -> None:
    assert decided(some_rules(a_route(use=("a", "b"))), on("b", 9_000))[0] == ["a", "b"]


@pytest.mark.parametrize(
    ("cached", "first"),
    [(9_000, "dear"), (0, "cheap")],  # (1,000 + 900 + 400) x 3 against 10,400 x 1, and 10,400 x 3
)
def test_it_leaves_where_reading_everything_anew_is_cheaper(cached: int, first: str) -> None:
    order, reason = decided(priced(cheap=1_000, dear=3_000), on("dear", cached))
    assert order[0] == first
    said = "stays on dear" if first == "dear" else "leaves dear, which costs more even with what it has read"
    assert reason.endswith(f"the conversation {said}")


def test_a_model_of_unknown_price_is_neither_left_nor_preferred_for_it() -> None:
    models = MODELS | {"a": a_model("a", price=None)}
    rules = some_rules(a_route(use=("a", "b"), sticky="conversation"), models=models)
    assert decided(rules, on("b"))[0] == ["b", "a"]


@given(st.sampled_from("abc"), st.integers(0, 50_000), st.integers(1, 9_000), st.integers(1, 9_000))
def test_moving_never_costs_more_than_staying_is_expected_to(model: str, cached: int, x: int, y: int) -> None:
    rules = priced(a=1_000, b=x, c=y)
    question = a_question(affinity=on(model, cached), measured=replace(measured(_request()), estimate_tokens=20_000))
    made = plan(rules, question)
    own = next(one for one in made.candidates if one.model.name == model)
    assert made.candidates[0] is own or made.candidates[0].expected_nanos < own.expected_nanos
    assert sorted(names(made)) == ["a", "b", "c"]


ROUTES = "[{name: chat, use: [small, large], sticky: conversation}]"
TALK = [{"role": "user", "content": "word " * 2_000}]


async def test_a_conversation_stays_where_a_fallback_brought_it(proxy: OpenProxy) -> None:
    said = Usage(input_tokens=2_600, output_tokens=5, cached_input_tokens=2_560)
    models = "\n  ".join(["", *(f"{name}: {{provider: main, price: free}}" for name in ("small", "large"))])
    running = await proxy(Fail(), Say(), Say(usage=said), routes=ROUTES, models=models)
    first = await running.record(await running.post({"messages": TALK}))
    assert (first.model, first.affinity) == ("large", Affinity())
    more = {"messages": [*TALK, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Why?"}]}
    told = await (await running.ask("/v1/route", more)).json()
    second = await running.record(await running.post(more))
    assert second.conversation == first.conversation and second.model == "large"
    assert second.affinity == Affinity("large", first.usage.input_tokens)
    assert (told["model"], told["affinity"]["model"]) == ("large", "large") and "stays on large" in second.reason
    assert told["candidates"][0]["expected"]["cached_tokens"] == first.usage.input_tokens
    again = plan(
        running.assembly.parts.rules,
        reopened(second, Caller(key=second.key, user=second.user), Estimates(), second.affinity),
    )
    assert (names(again)[0], again.reason) == ("large", second.reason)
    elsewhere = await running.record(await running.post({"messages": [{"role": "user", "content": "Another"}]}))
    assert elsewhere.affinity == Affinity()


async def test_a_route_that_is_not_sticky_remembers_nothing(proxy: OpenProxy) -> None:
    running = await proxy(Say())
    await running.record(await running.post({"messages": TALK}))
    assert len(running.assembly.parts.conversations) == 0
