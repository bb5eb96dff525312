"""The kind `litellm` on the real library, against scripted upstreams of two vendors."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from muxer_litellm import LiteLLMSettings, open_litellm

from muxer import (
    Call,
    Completes,
    FilePart,
    Message,
    MuxerError,
    Provider,
    Secret,
    ToolCall,
    Unsupported,
    UpstreamRefused,
    UpstreamUnreachable,
    Usage,
)
from muxer.testing import (
    Fail,
    ProviderContract,
    Say,
    ScriptedUpstream,
    Stall,
    a_call,
    a_request,
    collected,
    open_context,
)
from muxer.testing.contracts.provider import FAILURES, TEXT, TOOL_CALL

WEATHER = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}


class _Contract(ProviderContract):
    vendor = ""
    path = ""

    @asynccontextmanager
    async def open_provider(self, upstream: ScriptedUpstream) -> AsyncIterator[Provider]:
        settings = LiteLLMSettings(
            api_key=Secret(self.api_key),
            base_url=upstream.url + self.path,
            first_byte_timeout_s=self.first_byte_timeout_s,
        )
        async with open_context() as context, open_litellm(settings, context) as provider:
            yield provider

    def call(self, *, stream: bool, output_cap: int | None = None) -> Call:
        request = a_request(stream=stream, model=self.model)
        return a_call(request, model=f"{self.vendor}/{self.model}", output_cap=output_cap)


class TestOpenAI(_Contract):
    vendor = "openai"
    path = "/v1"


class TestAnthropic(_Contract):
    vendor = "anthropic"

    async def test_a_whole_answer_is_what_the_stream_adds_up_to(self) -> None:
        """As the contract has it, but for the spaces in arguments, which LiteLLM writes anew in whole answers."""
        said = Say(text=TEXT, tool_calls=(TOOL_CALL,))
        async with self._opened(said, said) as (_, provider):
            streamed = collected(await self._chunks(provider))
            assert isinstance(provider, Completes)
            choice = (await provider.acompletion(self.call(stream=False))).choices[0]
        assert (choice.text, choice.finish_reason) == (streamed.text, streamed.finish_reason)
        assert [_parsed(call) for call in choice.tool_calls] == [_parsed(call) for call in streamed.tool_calls]

    # LiteLLM repeats a call of its own accord when it cannot connect, so what comes after a redirect is asked again.
    @pytest.mark.parametrize("case", sorted(FAILURES.keys() - {"redirect"}))
    async def test_raises_what_the_failure_means(self, case: str) -> None:
        await super().test_raises_what_the_failure_means(case)


def _parsed(call: ToolCall) -> tuple[str, str, Any]:
    return call.id, call.function.name, msgspec.json.decode(call.function.arguments)


@asynccontextmanager
async def opened(*behaviours: Any, **changes: Any) -> AsyncIterator[tuple[ScriptedUpstream, Any]]:
    async with ScriptedUpstream() as upstream, open_context() as context:
        upstream.script(None, *behaviours)
        settings = LiteLLMSettings(**{"api_key": "sk-1", "base_url": f"{upstream.url}/v1", **changes})
        async with open_litellm(settings, context) as provider:
            yield upstream, provider


def asked(**fields: Any) -> Call:
    """A call whose bytes have these fields beside a question."""
    body = {"model": "x", "messages": [{"role": "user", "content": "Where?"}], **fields}
    request = a_request("Where?", stream=bool(fields.get("stream")), n=fields.get("n"))
    return a_call(request, model="openai/m-1", raw=msgspec.json.encode(body))


async def test_a_request_cannot_take_the_call_over() -> None:
    evil = {
        "api_base": "http://127.0.0.1:9",
        "base_url": "http://127.0.0.1:9",
        "api_key": "sk-mine",
        "mock_response": "mocked",
        "fallbacks": ["openai/other"],
        "model_list": [],
        "num_retries": 5,
        "timeout": 0.001,
        "extra_headers": {"x-evil": "1"},
        "headers": {"x-evil": "1"},
        "extra_body": {"model": "other"},
        "custom_llm_provider": "anthropic",
        "metadata": {"model_group": "x"},
        "callbacks": ["x"],
        "litellm_call_id": "mine",
        "drop_params": False,
        "cache": {"no-cache": True},
    }
    async with opened(Say(text=TEXT)) as (upstream, provider):
        answer = await provider.acompletion(asked(**evil))
    (call,) = upstream.calls
    assert answer.choices[0].text == TEXT
    assert set(answer.dropped) == set(evil)
    assert call.headers["Authorization"] == "Bearer sk-1"
    assert "x-evil" not in call.headers
    assert set(call.body) == {"model", "messages"}


async def test_params_of_the_file_are_sent_and_a_request_overrules_them() -> None:
    changes = {"params": {"temperature": 0.5, "top_p": 0.9, "extra_body": {"guided": True}}, "headers": {"x-mine": "1"}}
    async with opened(Say(text=TEXT), **changes) as (upstream, provider):
        await provider.acompletion(asked(temperature=0))
    (call,) = upstream.calls
    assert (call.body["temperature"], call.body["top_p"], call.body["guided"]) == (0, 0.9, True)
    assert call.headers["x-mine"] == "1"


async def test_tools_json_mode_and_images_pass() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    fields = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}],
        "tools": [WEATHER],
        "tool_choice": "required",
        "response_format": {"type": "json_object"},
    }
    async with opened(Say(text=TEXT)) as (upstream, provider):
        await provider.acompletion(asked(**fields))
    assert {name: upstream.calls[0].body[name] for name in fields} == fields


async def test_the_answer_is_passed_on_in_full_to_who_speaks_its_format() -> None:
    async with opened(Say(text=TEXT), Say(text=TEXT)) as (_, provider):
        own = await provider.acompletion(asked())
        other = await provider.acompletion(a_call(model="openai/m-1", api="anthropic.messages"))
    assert msgspec.json.decode(own.raw)["choices"][0]["message"]["content"] == TEXT
    assert (other.raw, other.choices[0].text) == (b"", TEXT)


async def test_the_usage_chunk_of_a_stream_stands_alone() -> None:
    async with opened(Say(text=TEXT)) as (_, provider):
        chunks = [chunk async for chunk in provider.astreaming(asked(stream=True))]
    (told,) = [chunk for chunk in chunks if chunk.usage]
    assert msgspec.json.decode(told.raw)["choices"] == []


async def test_usage_that_nobody_said_is_not_made_up() -> None:
    said = Say(text=TEXT, reports_usage=False)
    async with opened(said, said) as (_, provider):
        answer = await provider.acompletion(asked())
        chunks = [chunk async for chunk in provider.astreaming(asked(stream=True))]
    assert answer.usage is None
    assert [chunk.usage for chunk in chunks if chunk.usage] == []


async def test_what_was_written_to_a_cache_is_counted_once() -> None:
    billed = Usage(input_tokens=100, output_tokens=9, cached_input_tokens=60, cache_write_tokens=30)
    async with ScriptedUpstream() as upstream, open_context() as context:
        upstream.script(None, Say(text=TEXT, usage=billed), Say(text=TEXT, usage=billed))
        async with open_litellm(LiteLLMSettings(api_key=Secret("sk-1"), base_url=upstream.url), context) as provider:
            assert isinstance(provider, Completes)
            call = a_call(model="anthropic/m-1")
            assert (await provider.acompletion(call)).usage == billed
            streamed = [
                chunk async for chunk in provider.astreaming(a_call(a_request(stream=True), model="anthropic/m-1"))
            ]
    assert [chunk.usage for chunk in streamed if chunk.usage] == [billed]


@pytest.mark.parametrize(
    ("model", "fields", "names"),
    [
        ("openai/m-1", {"made_up": 1}, ["made_up"]),
        ("anthropic/m-1", {"seed": 7, "logit_bias": {"5": 1}}, ["seed", "logit_bias"]),
    ],
)
async def test_what_a_vendor_does_not_take_is_named(model: str, fields: dict[str, Any], names: list[str]) -> None:
    async with ScriptedUpstream(Say(text=TEXT)) as upstream, open_context() as context:
        url = upstream.url + ("/v1" if model.startswith("openai") else "")
        async with open_litellm(LiteLLMSettings(api_key=Secret("sk-1"), base_url=url), context) as provider:
            assert isinstance(provider, Completes)
            raw = msgspec.json.encode({"model": "x", "messages": [{"role": "user", "content": "Hi"}], **fields})
            answer = await provider.acompletion(a_call("Hi", model=model, raw=raw))
            with pytest.raises(MuxerError) as raised:
                await provider.acompletion(a_call("Hi", model=model, raw=raw, strict=True))
    assert sorted(answer.dropped) == sorted(names)
    assert (raised.value.status, raised.value.param) == (400, names[0])


async def test_more_answers_than_a_vendor_gives_are_refused() -> None:
    async with opened() as (upstream, provider):
        raw = msgspec.json.encode({"messages": [{"role": "user", "content": "Hi"}], "n": 2, "model": "x"})
        with pytest.raises(Unsupported):
            await provider.acompletion(a_call(a_request("Hi", n=2), model="anthropic/m-1", raw=raw))
    assert upstream.calls == []


async def test_a_file_by_address_is_refused() -> None:
    part = FilePart(file=msgspec.Raw(b'{"file_id": "https://10.0.0.1/secret.pdf"}'))
    request = a_request(messages=(Message(role="user", content=(part,)),))
    async with opened() as (_, provider):
        with pytest.raises(Unsupported):
            await provider.acompletion(replace(a_call(model="openai/m-1"), request=request))


async def test_an_unknown_vendor_asks_nobody() -> None:
    async with opened(base_url=None) as (_, provider):
        with pytest.raises(UpstreamRefused, match="knows no vendor"):
            await provider.acompletion(a_call(model="nobody-knows-this"))


async def test_the_key_of_the_environment_goes_to_no_other_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    async with opened(Say(text=TEXT), api_key=None) as (upstream, provider):
        await provider.acompletion(asked())
    assert "sk-environment" not in str(dict(upstream.calls[0].headers))


async def test_no_more_calls_at_once_than_connections() -> None:
    async with opened(Stall(), max_connections=1, connect_timeout_s=0.05) as (upstream, provider):
        first = asyncio.create_task(provider.acompletion(asked()))
        await upstream.arrived(1)
        with pytest.raises(UpstreamUnreachable, match="max_connections"):
            await provider.acompletion(asked())
        upstream.gate.set()
        assert (await first).choices


async def test_an_error_is_asked_once_and_told_in_the_vendors_words() -> None:
    async with opened(Fail(400)) as (upstream, provider):
        with pytest.raises(UpstreamRefused, match="scripted to fail"):
            await provider.acompletion(asked())
    assert len(upstream.calls) == 1
