"""The provider `gemini` against a scripted upstream that speaks generateContent, alone and behind the proxy."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from muxer_gemini import Gemini, GeminiSettings, abilities, open_gemini, register_providers

from muxer import Call, Chunk, FunctionCall, Provider, Secret, ToolCall, UpstreamRateLimited, UpstreamRefused, Usage
from muxer.prices import PriceTable
from muxer.testing import (
    Behaviour,
    Fail,
    ProviderContract,
    Raw,
    Say,
    ScriptedUpstream,
    UpstreamCall,
    a_call,
    a_request,
    open_context,
)
from muxer.testing.vendors import FORMATS
from muxer.wire import gemini
from tests.proxy import OpenProxy, Proxy, events

MODEL = "gemini-3.8-flash"
BILLED = Usage(input_tokens=100, output_tokens=20, cached_input_tokens=64, reasoning_tokens=12)
TOOL_CALL = ToolCall(id="g-1", function=FunctionCall(name="look_up", arguments='{"city":"Paris"}'))
TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {"properties": {"city": {}}}}}]
JSON = {"Content-Type": "application/json"}
BLOCKED = b'{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":7,"totalTokenCount":7}}'


class TestGemini(ProviderContract):
    @asynccontextmanager
    async def open_provider(self, upstream: ScriptedUpstream) -> AsyncIterator[Provider]:
        settings = GeminiSettings(
            api_key=Secret(self.api_key),
            base_url=f"{upstream.url}/v1beta",
            first_byte_timeout_s=self.first_byte_timeout_s,
        )
        async with open_context() as context, open_gemini(settings, context) as provider:
            yield provider


@asynccontextmanager
async def opened(*behaviours: Behaviour, **settings: object) -> AsyncIterator[tuple[ScriptedUpstream, Gemini]]:
    async with ScriptedUpstream() as upstream, open_context() as context:
        upstream.script(None, *behaviours)
        base = GeminiSettings(api_key=Secret("g-key"), base_url=f"{upstream.url}/v1beta/")
        yield upstream, Gemini(replace(base, **settings), context.http)


async def streamed(provider: Gemini, call: Call) -> list[Chunk]:
    async with aclosing(provider.astreaming(call)) as chunks:
        return [chunk async for chunk in chunks]


def test_offers_the_kind_gemini() -> None:
    assert [kind.name for kind in register_providers()] == ["gemini"]


async def test_the_model_is_in_the_path_and_the_key_is_not_in_the_address() -> None:
    async with opened(headers={"X-Goog-User-Project": Secret("p")}) as (upstream, provider):
        await provider.acompletion(a_call(model=MODEL))
        await streamed(provider, a_call(a_request(stream=True), model=MODEL))
    paths = [call.path for call in upstream.calls]
    assert paths == [f"/v1beta/models/{MODEL}:{method}" for method in ("generateContent", "streamGenerateContent")]
    for call in upstream.calls:
        names = ("x-goog-api-key", "x-goog-user-project", "user-agent", "content-type")
        assert [call.headers[name] for name in names] == ["g-key", "p", "modelmuxer", "application/json"]
        assert "model" not in call.body and "stream" not in call.body


async def test_sends_no_key_where_there_is_none() -> None:
    async with opened(api_key=None) as (upstream, provider):
        await provider.acompletion(a_call())
    assert "x-goog-api-key" not in upstream.calls[0].headers


async def test_tuned_models_have_a_collection_of_their_own_and_names_are_quoted() -> None:
    formats = {"/v1beta/*": FORMATS["/v1beta/models/*"]}
    async with ScriptedUpstream(formats=formats) as upstream, open_context() as context:
        provider = Gemini(GeminiSettings(base_url=f"{upstream.url}/v1beta"), context.http)
        await provider.acompletion(a_call(model="tunedModels/mine"))
        await provider.acompletion(a_call(model="a?b#c"))
    assert [call.path for call in upstream.calls] == [
        "/v1beta/tunedModels/mine:generateContent",
        "/v1beta/models/a?b#c:generateContent",
    ]


async def test_names_what_it_dropped_in_the_answer_and_in_the_first_chunk_only() -> None:
    async with opened(Say(text="one two"), Say(text="one two")) as (_, provider):
        assert (await provider.acompletion(a_call(a_request(user="u")))).dropped == ("user",)
        chunks = await streamed(provider, a_call(a_request(user="u", stream=True)))
    assert [chunk.dropped for chunk in chunks] == [("user",), *[()] * (len(chunks) - 1)]


async def test_counts_thoughts_as_output_and_cached_tokens_as_input() -> None:
    async with opened(Say(usage=BILLED), Say(usage=BILLED)) as (_, provider):
        assert (await provider.acompletion(a_call())).usage == BILLED
        assert (await streamed(provider, a_call(a_request(stream=True))))[-1].usage == BILLED


async def test_several_answers_come_in_one_stream() -> None:
    async with opened(Say(text="one two")) as (upstream, provider):
        chunks = await streamed(provider, a_call(a_request(stream=True, n=2)))
    for index in (0, 1):
        assert "".join(chunk.text for chunk in chunks if chunk.index == index) == "one two"
    assert chunks[-1].usage == upstream.calls[0].billed


async def test_asks_for_thoughts_where_the_settings_say_so() -> None:
    async with opened(include_thoughts=True) as (upstream, provider):
        await provider.acompletion(a_call(model=MODEL))
    assert upstream.calls[0].body["generationConfig"] == {"thinkingConfig": {"includeThoughts": True}}


async def test_waits_as_long_as_googles_details_say() -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3.5s"}
    error = {"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED", "details": [info]}}
    async with opened(Fail(429, body=msgspec.json.encode(error))) as (_, provider):
        with pytest.raises(UpstreamRateLimited) as raised:
            await provider.acompletion(a_call())
    assert raised.value.retry_after_s == 3.5


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gemini-3.8-flash", gemini.Abilities()),
        ("gemini-3.5-flash", gemini.Abilities(minimal_thinking=True)),
        ("gemini-4-hydrogen", gemini.Abilities(xhigh_thinking=True)),
        ("gemini-2.5-flash", gemini.Abilities(signs_calls=False, thinking="tokens", penalties=True)),
        (
            "gemini-2.5-pro",
            gemini.Abilities(signs_calls=False, thinking="tokens", stops_thinking=False, penalties=True),
        ),
        (
            "gemini-2.0-flash",
            gemini.Abilities(signs_calls=False, thinking="none", penalties=True, fetches_images=False),
        ),
    ],
)
def test_knows_what_each_generation_takes(model: str, expected: gemini.Abilities) -> None:
    assert abilities(model, GeminiSettings()) == expected


@pytest.mark.parametrize("base_url", [None, "https://generativelanguage.googleapis.com/v1beta"])
def test_its_models_are_in_the_price_table(table: PriceTable, base_url: str | None) -> None:
    flash = table.facts("gemini", MODEL, base_url)
    assert flash is not None and flash.price is not None and flash.can is not None
    assert not flash.takes_sampling and {"tools", "images", "json"} <= flash.can
    pro = table.facts("gemini", "gemini-3.1-pro-preview", base_url)
    assert pro is not None and pro.price is not None
    assert pro.price.rates_for(200_001).input == 2 * pro.price.rates_for(200_000).input
    old = table.facts("gemini", "gemini-2.5-pro", base_url)
    assert old is not None and old.deprecated_on == "2026-12-01"


MODELS = """
  small: {provider: main, name: gemini-3.8-flash, price_usd_per_million: {input: 1, output: 2, cached_input: 0.1}}"""


async def behind(
    proxy: OpenProxy, *behaviours: Behaviour, models: str = MODELS, use: str = "[small]", strict: str = "false"
) -> Proxy:
    """The proxy with this provider alone."""
    return await proxy(
        *behaviours,
        plugins="[gemini, sqlite]",
        providers="""
  main: {kind: gemini, api_key: g-key, base_url: "UPSTREAM/v1beta"}""",
        models=models,
        routes=f"[{{name: default, use: {use}}}]",
        strict_params=strict,
    )


async def billed_exactly(running: Proxy) -> bool:
    accounts = await running.accounts()
    return accounts.bill == accounts.spent == accounts.recorded and accounts.held == accounts.presumed == 0


async def test_answers_through_the_proxy_whole_and_streamed(proxy: OpenProxy) -> None:
    running = await behind(proxy, Say(text="Paris.", usage=BILLED), Say(text="It is Paris.", usage=BILLED))
    whole = await (await running.chat()).json()
    assert whole["choices"][0]["message"]["content"] == "Paris."
    assert whole["usage"]["completion_tokens_details"] == {"reasoning_tokens": 12}
    found = await events(await running.chat(stream=True, stream_options={"include_usage": True}))
    assert (found.text, found.is_done) == ("It is Paris.", True)
    assert found.data[-1]["usage"] == whole["usage"]
    assert await billed_exactly(running)


async def test_a_cap_is_sent_under_a_budget_and_thoughts_are_within_it(proxy: OpenProxy) -> None:
    running = await behind(proxy, Say(text="Paris."))
    await running.chat()
    assert running.upstream.calls[0].body["generationConfig"] == {"maxOutputTokens": 4096}


def conversation(message: dict[str, Any]) -> list[dict[str, Any]]:
    """A client that sends back what it got."""
    call = message["tool_calls"][0]
    return [
        {"role": "user", "content": "Look it up."},
        message,
        {"role": "tool", "tool_call_id": call["id"], "content": "found"},
    ]


def contents(call: UpstreamCall) -> list[dict[str, Any]]:
    """The turns of a call."""
    return msgspec.convert(call.body["contents"], list[dict[str, Any]])


async def test_a_tool_call_goes_there_and_back_with_its_signature(proxy: OpenProxy) -> None:
    running = await behind(proxy, Say(tool_calls=(TOOL_CALL,)), Say(text="Done."))
    choice = (await (await running.chat(tools=TOOLS)).json())["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    await running.chat(messages=conversation(choice["message"]), tools=TOOLS)
    _, model, user = contents(running.upstream.calls[1])
    made = {"functionCall": {"id": "g-1", "name": "look_up", "args": {"city": "Paris"}}}
    assert model["parts"] == [{**made, "thoughtSignature": "c2lnbmVk"}]
    result = {"id": "g-1", "name": "look_up", "response": {"output": "found"}}
    assert user["parts"] == [{"functionResponse": result}]


async def test_a_streamed_tool_call_has_its_signature_where_google_puts_it(proxy: OpenProxy) -> None:
    running = await behind(proxy, Say(tool_calls=(TOOL_CALL,)))
    found = await events(await running.chat(stream=True, tools=TOOLS))
    pieces = [piece for one in found.data for c in one["choices"] for piece in c["delta"].get("tool_calls", ())]
    assert [(piece["id"], piece["extra_content"]) for piece in pieces] == [
        ("g-1", {"google": {"thought_signature": "c2lnbmVk"}})
    ]


async def test_a_blocked_prompt_is_a_clear_error_and_paid_for(proxy: OpenProxy) -> None:
    blocked = Raw(pieces=(BLOCKED,), headers=JSON, billed=Usage(input_tokens=7))
    event = Raw(pieces=(b"data: " + BLOCKED + b"\n\n",), billed=Usage(input_tokens=7))
    running = await behind(proxy, blocked, event)
    for stream in (False, True):
        response = await running.chat(stream=stream)
        error = (await response.json())["error"]
        assert (response.status, error["code"], error["type"]) == (400, "content_filter", "invalid_request_error")
        assert "blocked the prompt (SAFETY)" in error["message"]
    assert await billed_exactly(running)
    assert (await running.last_record()).usage == Usage(input_tokens=7)


async def test_a_broken_answer_is_paid_for_and_the_next_model_asked(proxy: OpenProxy) -> None:
    usage = Usage(input_tokens=7, output_tokens=3)
    counts = {"promptTokenCount": 7, "candidatesTokenCount": 3, "totalTokenCount": 10}
    answer = {"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}], "usageMetadata": counts}
    broken = Raw(pieces=(msgspec.json.encode(answer),), headers=JSON, billed=usage)
    models = MODELS + MODELS.replace("small", "other")
    running = await behind(proxy, broken, Say(text="Paris."), models=models, use="[small, other]")
    response = await running.chat()
    assert (await response.json())["model"] == "other"
    assert await billed_exactly(running)


async def test_logprobs_are_openais(proxy: OpenProxy) -> None:
    chosen = {"chosenCandidates": [{"token": "é", "logProbability": -0.5}]}
    candidate = {"content": {"parts": [{"text": "é"}]}, "finishReason": "STOP", "logprobsResult": chosen}
    said = msgspec.json.encode({"candidates": [candidate], "usageMetadata": {"promptTokenCount": 1}})
    models = MODELS.replace("}}", "}, can: [logprobs]}")
    whole, event = Raw(pieces=(said,), headers=JSON), Raw(pieces=(b"data: " + said + b"\n\n",))
    running = await behind(proxy, whole, event, models=models)
    expected = {"content": [{"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": []}], "refusal": None}
    assert (await (await running.chat(logprobs=True)).json())["choices"][0]["logprobs"] == expected
    found = await events(await running.chat(logprobs=True, stream=True))
    assert [one["choices"][0]["logprobs"] for one in found.data] == [expected]


async def test_refusals_reach_the_caller_in_googles_words(proxy: OpenProxy) -> None:
    running = await behind(proxy, Fail(400))
    response = await running.chat()
    error = (await response.json())["error"]
    assert (response.status, error["code"]) == (400, UpstreamRefused.code)
    assert "gemini answered 400: scripted to fail" in error["message"]


async def test_strict_params_refuses_what_gemini_would_lose(proxy: OpenProxy) -> None:
    running = await behind(proxy, strict="true")
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^x"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    response = await running.chat(response_format=wanted)
    error = (await response.json())["error"]
    assert (response.status, error["param"]) == (400, "response_format.pattern")
    assert running.upstream.calls == []
