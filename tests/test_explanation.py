"""The explanation of a request is its decision: the same code, and nothing held, sent or counted for it."""

from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from muxer.errors import MuxerError
from muxer.explanation import explain
from muxer.pipeline import decide, explained, question
from muxer.records import conversation_of
from muxer.standings import untouched
from muxer.testing import Fail, Say, a_record, an_attempt
from muxer.types import Caller, Record, Usage
from muxer.wire.openai_chat import encode
from muxer.wire.openai_inbound import CHAT
from tests.proxy import QUESTION, OpenProxy, Proxy, events
from tests.values import learned

T = TypeVar("T")
SECTIONS: dict[str, Any] = {
    "plugins": "[heuristics, openai, sqlite]",
    "models": """
  cheap: {provider: main, can: [tools], context_tokens: 2_000, price_usd_per_million: {input: 0.1, output: 0.4}}
  dear: {provider: main, can: [tools, images, json], price_usd_per_million: {input: 2, output: 8}}
  vague: {provider: main, can: [embeddings], price: free}
  both: {use: [dear, cheap], order: cheapest}
  either: {use: [dear, cheap], order: weighted, weights: [1, 3]}""",
    "routes": """
  - {name: code, when: "code >= 0.2", use: [dear, cheap]}
  - {name: trial, when: "chars < 20", use: [cheap, dear], sticky: conversation, share: 50%}
  - {name: long, when: "chars > 50 and not has_tools", use: [both, vague], on_budget: downgrade}
  - {name: rest, use: [either]}""",
    "limits": "[{per: user, daily_usd: 0.01}, {per: key, requests_per_minute: 60}]",
}
TEXTS = st.sampled_from(["Hi", "Write a python function that sorts a list", "word " * 30, "What is 2 + 2?", "x" * 9000])
REQUESTS = st.fixed_dictionaries(
    {"messages": st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": TEXTS}), min_size=1, max_size=3)},
    optional={
        "model": st.sampled_from(["auto", "auto:code", "auto:none", "cheap", "both", "either", "vague", "unknown"]),
        "max_tokens": st.sampled_from([0, 1, 100, 100_000]),
        "tools": st.just([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]),
        "response_format": st.just({"type": "json_object"}),
        "stream": st.booleans(),
    },
)
PAST = st.builds(
    lambda model, route, output: a_record(
        state="done",
        model=model,
        route=route,
        estimate_tokens=100,
        usage=Usage(130, output, cached_input_tokens=30),
        attempts=(an_attempt(cost_nanos=100, model=model),),
    ),
    st.sampled_from(["cheap", "dear"]),
    st.sampled_from(["code", "trial", "rest"]),
    st.integers(0, 5_000),
)
CALLERS = st.sampled_from(
    [Caller(key="alice", user="alice"), Caller(key="bob", user="bob", models=("cheap",)), Caller(key="", user="x")]
)


async def opened(proxy: OpenProxy, *behaviours: Any, **sections: Any) -> Proxy:
    return await proxy(*behaviours, **(SECTIONS | sections))


async def test_the_explanation_is_the_decision(proxy: OpenProxy) -> None:
    running = await opened(proxy)
    parts = running.assembly.parts

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(body=REQUESTS, caller=CALLERS, id=st.sampled_from(["req_1", "req_2", "req_3"]), past=st.lists(PAST))
    def is_the_same(body: dict[str, Any], caller: Caller, id: str, past: list[Record]) -> None:
        inbound = CHAT.read(encode(body))
        parts.learner.estimates = learned(past)
        for record in past[:1]:
            parts.conversations.remember(
                replace(record, key=caller.key, conversation=conversation_of(inbound, caller), usage=Usage(9_000, 1))
            )
        asked = question(parts, caller, inbound, id)
        told = at_once(explain(parts.rules, asked, inbound.request, parts.signals, _nowhere))
        try:
            decision = at_once(decide(parts, caller, inbound, id))
        except MuxerError as error:
            assert told.error is not None and (told.error.code, told.error.message) == (error.code, error.message)
            assert told.plan is None or not told.plan.candidates
            return
        assert told.plan is not None
        if told.error is not None:  # what a hold would be refused with, and it names the limit
            assert told.error.code == "budget_exceeded" and told.short == {one.model.name for one in told.plan.offered}
        assert [one.model for one in told.plan.candidates] == [one.model for one in decision.plan.candidates]
        assert (told.plan.route, told.plan.reason) == (decision.plan.route, decision.plan.reason)
        assert told.plan.excluded == decision.plan.excluded and told.plan.branch == decision.plan.branch
        assert told.question.affinity == decision.question.affinity
        costs = [(one.bound_nanos, one.floor_nanos, one.expected_nanos) for one in decision.plan.candidates]
        assert [(one.bound_nanos, one.floor_nanos, one.expected_nanos) for one in told.plan.candidates] == costs
        if told.rules:
            assert [rule.decides for rule in told.rules] == [False] * (len(told.rules) - 1) + [True]
            assert told.rules[-1].name == decision.plan.route

    is_the_same()


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """What comes of one that waits for nothing but its turn."""
    with pytest.raises(StopIteration) as ended:
        while coroutine.send(None) is None:
            pass
    result: T = ended.value.value
    return result


async def _nowhere(choice: Any) -> Any:
    return untouched(choice)


@pytest.mark.parametrize("content", ["Hi", "Write a python function that sorts a list", "word " * 30])
async def test_what_is_told_is_what_happens(proxy: OpenProxy, content: str) -> None:
    running = await opened(proxy, Say())
    body = {"messages": [{"role": "user", "content": content}]}
    told = await (await running.ask("/v1/route", body, "sk-alice")).json()
    assert not running.upstream.calls and (await running.accounts()).held == 0
    assert (await running.get("/user/stats"))["requests"] == 0
    record = await running.record(await running.post(body))
    if told["route"] != "rest":  # that one is drawn for each request
        assert (told["route"], told["model"], told["reason"]) == (record.route, record.model, record.reason)
    assert told["signals"]["chars"] == len(content) and told["rules"][-1]["holds"]
    assert told["rules"][-1]["line"] == running.assembly.configuration.places["routes[0]"].line + len(told["rules"]) - 1


async def test_the_limits_stand_as_they_do_and_say_what_does_not_fit(proxy: OpenProxy) -> None:
    running = await opened(proxy, Say(), limits="[{per: user, daily_usd: 0.0001}, {per: user, requests_per_minute: 9}]")
    body = {"messages": QUESTION, "model": "dear", "max_tokens": 1000}
    told = await (await running.ask("/v1/route", body)).json()
    money, rate = told["limits"]
    assert (money["limit_usd"], money["spent_usd"], money["fits"]) == ("0.0001", "0", False)
    assert (rate["unit"], rate["remaining"], rate["asks"], rate["fits"]) == ("requests", 9, 1, True)
    refused = await running.ask("/v1/chat/completions", body)
    error = (await refused.json())["error"]
    assert told["error"] == {"status": refused.status, "code": error["code"], "message": error["message"]}
    assert refused.status == 402 and told["model"] is None


async def test_a_rate_that_is_used_up_is_told_as_it_refuses(proxy: OpenProxy) -> None:
    running = await opened(proxy, Say(), limits="[{per: user, requests_per_minute: 1}]")
    body = {"messages": QUESTION, "model": "cheap"}
    assert (await running.post(body)).status == 200
    told = await (await running.ask("/v1/route", body)).json()
    assert (told["error"]["status"], told["error"]["code"]) == (429, "rate_limit_exceeded")
    assert (await running.post(body)).status == 429


async def test_what_the_budget_passes_over_is_told_as_it_is_recorded(proxy: OpenProxy) -> None:
    routes = "[{name: all, use: [dear, cheap], on_budget: downgrade}]"
    running = await opened(proxy, Say(), routes=routes, limits="[{per: user, daily_usd: 0.005}]")
    body = {"messages": QUESTION, "max_tokens": 1000}
    told = await (await running.ask("/v1/route", body)).json()
    record = await running.record(await running.post(body))
    gates = [(one["model"], one["gate"], one["chosen"]) for one in told["candidates"]]
    assert gates == [("dear", "budget", False), ("cheap", None, True)] and told["error"] is None
    assert [(one.model, one.gate) for one in record.excluded] == [("dear", "budget")]
    assert record.model == told["model"] == "cheap"


async def test_a_request_that_nobody_can_take_is_explained(proxy: OpenProxy) -> None:
    running = await opened(proxy)
    told = await (await running.ask("/v1/route", {"messages": QUESTION, "model": "vague"})).json()
    assert (told["error"]["status"], told["error"]["code"], told["model"]) == (400, "invalid_value", None)
    assert [(one["model"], one["gate"]) for one in told["candidates"]] == [("vague", "embeddings")]
    assert {one["model"] for one in told["elsewhere"]} == {"cheap", "dear", "vague"}


@pytest.mark.parametrize(("role", "sees"), [("user", {"cheap"}), ("admin", {"cheap", "dear", "vague"})])
async def test_models_that_the_key_may_not_use_are_not_told_of(proxy: OpenProxy, role: str, sees: set[str]) -> None:
    keys = f"[{{name: alice, secret: sk-alice, models: [cheap], role: {role}}}]"
    running = await opened(proxy, Say(), keys=keys, routes="[{name: all, use: [dear, cheap]}]")
    told = await (await running.ask("/v1/route", {"messages": QUESTION})).json()
    assert {one["model"] for one in told["elsewhere"]} == sees
    assert ("dear" in {one["model"] for one in told["candidates"]}) == (role == "admin") and told["model"] == "cheap"
    assert (await running.record(await running.post({"messages": QUESTION}))).model == "cheap"


async def test_a_refusal_names_no_model_that_the_key_may_not_use(proxy: OpenProxy) -> None:
    keys = "[{name: alice, secret: sk-alice, models: [cheap]}]"
    running = await opened(proxy, keys=keys, routes="[{name: all, use: [dear, cheap]}]")
    refused = await running.post({"messages": QUESTION, "response_format": {"type": "json_object"}})
    message = (await refused.json())["error"]["message"]
    assert (refused.status, message) == (400, "no model can take this request (cheap: cannot do json)")


async def test_auto_that_leads_to_no_model_of_the_key_is_told_so(proxy: OpenProxy) -> None:
    keys = "[{name: alice, secret: sk-alice, models: [cheap]}]"
    running = await opened(proxy, keys=keys, routes="[{name: all, use: [dear]}]")
    refused = await running.post({"messages": QUESTION})
    error = (await refused.json())["error"]
    assert (refused.status, error["code"]) == (404, "model_not_found")
    assert "models that this API key may not use" in error["message"] and "dear" not in error["message"]


async def test_evidence_quotes_the_text(proxy: OpenProxy) -> None:
    running = await opened(proxy)
    told = await (
        await running.ask("/v1/route", {"messages": [{"role": "user", "content": "A python function"}]})
    ).json()
    assert "python" in told["evidence"]["code"]


@pytest.mark.parametrize("stream", [False, True])
async def test_muxer_debug_tells_with_the_answer_and_reaches_no_provider(proxy: OpenProxy, stream: bool) -> None:
    running = await opened(proxy, Say())
    fields: dict[str, Any] = {"muxer_debug": True, "stream": stream, "model": "cheap"}
    if stream:
        fields["stream_options"] = {"include_usage": True}
    response = await running.chat(**fields)
    data = (await events(response)).data[-1] if stream else await response.json()
    assert data["router_metadata"]["debug"]["model"] == "cheap"
    assert "muxer_debug" not in running.upstream.calls[0].body


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize(
    ("path", "fields", "is_streamed"),
    [
        ("/v1/completions", {"model": "cheap", "prompt": "Hi"}, False),
        ("/v1/completions", {"model": "cheap", "prompt": "Hi", "stream_options": {"include_usage": True}}, True),
        ("/v1/embeddings", {"model": "vague", "input": "Hi"}, False),
        ("/v1/responses", {"model": "cheap", "input": "Hi"}, False),
        ("/v1/messages", {"model": "claude", "max_tokens": 9, "messages": QUESTION}, False),
    ],
)
async def test_muxer_debug_is_ours_in_every_format(
    proxy: OpenProxy, path: str, fields: dict[str, Any], is_streamed: bool, wanted: bool
) -> None:
    claude = "\n  claude: {provider: own, price_usd_per_million: {input: 1, output: 2}}"
    providers = (
        '{main: {kind: openai, api_key: k, base_url: "UPSTREAM/v1"}, own: {kind: anthropic, api_key: k, '
        'base_url: "UPSTREAM"}}'
    )
    plugins = "[heuristics, openai, anthropic, sqlite]"
    running = await opened(proxy, plugins=plugins, providers=providers, models=SECTIONS["models"] + claude)
    response = await running.ask(path, {**fields, "stream": is_streamed, "muxer_debug": wanted})
    assert response.status == 200, await response.text()
    metadata = ((await events(response)).data[-1] if is_streamed else await response.json())["router_metadata"]
    assert ("debug" in metadata) is wanted
    if wanted:
        assert metadata["debug"]["model"] == fields["model"]
    assert "muxer_debug" not in running.upstream.calls[0].body
    assert "x-muxer-dropped" not in response.headers


async def test_muxer_debug_is_true_or_false(proxy: OpenProxy) -> None:
    running = await opened(proxy, Fail())
    response = await running.chat(muxer_debug="yes")
    assert (response.status, (await response.json())["error"]["param"]) == (400, "muxer_debug")
    plain = await running.chat(muxer_debug=False, model="cheap")
    assert "debug" not in (await plain.json())["router_metadata"]


async def test_what_is_being_decided_is_explained_by_its_own_question(proxy: OpenProxy) -> None:
    running = await opened(proxy)
    inbound = CHAT.read(encode({"messages": QUESTION}))
    caller = Caller(key="alice", user="alice")
    asked = question(running.assembly.parts, caller, inbound, "req_9")
    told = await explained(running.assembly.parts, caller, inbound, asked)
    assert told.question is asked
