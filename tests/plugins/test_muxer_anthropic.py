"""The provider `anthropic` against a scripted upstream that speaks the Messages API."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import msgspec
import pytest
from msgspec.structs import replace
from muxer_anthropic import Anthropic, AnthropicSettings, open_anthropic, register_providers

from muxer import (
    Answer,
    Call,
    ChatRequest,
    Chunk,
    FunctionSpec,
    Provider,
    Secret,
    Tool,
    Unsupported,
    UpstreamError,
    Usage,
)
from muxer.testing import Behaviour, ProviderContract, Raw, Say, ScriptedUpstream, a_call, a_request, open_context

BILLED = Usage(input_tokens=100, output_tokens=20, cached_input_tokens=64, cache_write_tokens=16)
TOOL = Tool(type="function", function=FunctionSpec(name="now"))


def own_call(call: Call) -> Call:
    """The call as a caller of Anthropic's own API would have made it."""
    body = {"model": "auto", "max_tokens": call.output_cap or 1000, "messages": [{"role": "user", "content": "Hi"}]}
    return replace(call, api="anthropic.messages", raw=msgspec.json.encode(body))


class TestAnthropic(ProviderContract):
    @asynccontextmanager
    async def open_provider(self, upstream: ScriptedUpstream) -> AsyncIterator[Provider]:
        settings = AnthropicSettings(
            api_key=Secret(self.api_key), base_url=upstream.url, first_byte_timeout_s=self.first_byte_timeout_s
        )
        async with open_context() as context, open_anthropic(settings, context) as provider:
            yield provider


class TestAnthropicPassingBytesThrough(TestAnthropic):
    def call(self, *, stream: bool, output_cap: int | None = None) -> Call:
        return own_call(super().call(stream=stream, output_cap=output_cap))


@asynccontextmanager
async def opened(*behaviours: Behaviour, **settings: object) -> AsyncIterator[tuple[ScriptedUpstream, Anthropic]]:
    async with ScriptedUpstream() as upstream, open_context() as context:
        upstream.script(None, *behaviours)
        base = AnthropicSettings(api_key=Secret("sk-1"), base_url=upstream.url)
        yield upstream, Anthropic(replace(base, **settings), context.http)


async def streamed(provider: Anthropic, call: Call) -> list[Chunk]:
    async with aclosing(provider.astreaming(call)) as chunks:
        return [chunk async for chunk in chunks]


async def answered(request: ChatRequest, *, model: str = "claude-x", **settings: object) -> tuple[Answer, object]:
    """The answer to a request, and the body that was sent for it."""
    async with opened(Say(text="Hello"), **settings) as (upstream, provider):
        answer = await provider.acompletion(a_call(request, model=model))
        return answer, upstream.calls[0].body


def test_offers_the_kind_anthropic() -> None:
    assert [kind.name for kind in register_providers()] == ["anthropic"]


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
async def test_finds_the_messages_whether_the_address_ends_in_v1_or_not(path: str) -> None:
    async with ScriptedUpstream() as upstream, open_context() as context:
        provider = Anthropic(AnthropicSettings(base_url=upstream.url + path), context.http)
        await provider.acompletion(a_call())
        assert upstream.calls[0].path == "/v1/messages"


async def test_sends_the_version_the_key_and_the_headers_of_its_settings() -> None:
    headers = {"Anthropic-Beta": Secret("x-1"), "User-Agent": Secret("mine")}
    async with opened(anthropic_version="2023-06-01", headers=headers) as (upstream, provider):
        await provider.acompletion(a_call())
    sent = upstream.calls[0].headers
    names = ("x-api-key", "anthropic-version", "anthropic-beta", "user-agent", "content-type")
    assert [sent[name] for name in names] == ["sk-1", "2023-06-01", "x-1", "mine", "application/json"]


async def test_sends_no_key_where_there_is_none() -> None:
    async with opened(api_key=None) as (upstream, provider):
        await provider.acompletion(a_call())
    assert "x-api-key" not in upstream.calls[0].headers


async def test_sends_the_default_cap_where_nobody_set_one() -> None:
    _, body = await answered(a_request("Hi"), max_tokens_default=77)
    assert body == {
        "model": "claude-x",
        "max_tokens": 77,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    }


async def test_has_prompts_cached_where_the_settings_say_so() -> None:
    _, body = await answered(a_request("Hi"), cache_prompts=True)
    assert isinstance(body, dict) and body["cache_control"] == {"type": "ephemeral"}


async def test_names_what_it_dropped_in_the_answer() -> None:
    answer, _ = await answered(a_request(seed=1))
    assert answer.dropped == ("seed",)


async def test_names_what_it_dropped_in_the_first_chunk_only() -> None:
    async with opened(Say(text="one two three")) as (_, provider):
        chunks = await streamed(provider, a_call(a_request(seed=1, stream=True)))
    assert [chunk.dropped for chunk in chunks] == [("seed",), *[()] * (len(chunks) - 1)]


async def test_counts_cached_and_written_tokens_as_input() -> None:
    async with opened(Say(usage=BILLED), Say(usage=BILLED)) as (_, provider):
        assert (await provider.acompletion(a_call())).usage == BILLED
        assert (await streamed(provider, a_call(a_request(stream=True))))[-1].usage == BILLED


async def test_refuses_several_answers_before_anything_is_sent() -> None:
    async with opened() as (upstream, provider):
        with pytest.raises(Unsupported):
            await streamed(provider, a_call(a_request(n=2, stream=True)))
        assert upstream.calls == []


@pytest.mark.parametrize(("model", "effort"), [("claude-sonnet-5-5", "low"), ("claude-haiku-4-5-20251001", None)])
async def test_sends_effort_to_models_that_take_it(model: str, effort: str | None) -> None:
    answer, body = await answered(a_request(reasoning_effort="low"), model=model)
    assert isinstance(body, dict)
    assert body.get("output_config") == (effort and {"effort": effort})
    assert answer.dropped == (() if effort else ("reasoning_effort",))


@pytest.mark.parametrize(("model", "choice"), [("claude-haiku-5-5", "any"), ("claude-sonnet-5-5", "auto")])
async def test_forces_tools_on_models_that_take_it(model: str, choice: str) -> None:
    _, body = await answered(a_request(tools=(TOOL,), tool_choice="required"), model=model)
    assert isinstance(body, dict)
    assert body["tool_choice"] == {"type": choice}


async def test_the_lists_of_models_are_settings() -> None:
    request = a_request(reasoning_effort="low", tools=(TOOL,), tool_choice="required")
    answer, _ = await answered(request, without_effort=("claude-x",), without_forced_tools=("claude-*",))
    assert answer.dropped == ("tool_choice", "reasoning_effort")


async def test_a_call_in_its_own_format_gets_back_the_bytes_it_would_have_got() -> None:
    async with opened(Say(text="Hello there", usage=BILLED)) as (_, provider):
        chunks = await streamed(provider, own_call(a_call()))
    kinds = [msgspec.json.decode(chunk.raw)["type"] for chunk in chunks]
    texts = ["content_block_start", *["content_block_delta"] * 2, "content_block_stop"]
    assert kinds == ["message_start", "ping", *texts, "message_delta", "message_stop"]
    assert [chunk.usage for chunk in chunks if chunk.usage] == [BILLED]


async def test_a_whole_answer_in_its_own_format_keeps_its_bytes() -> None:
    body = b'{"type": "message", "content": [ ], "stop_reason": "end_turn", "new": 1}'
    async with opened(Raw(pieces=(body,))) as (_, provider):
        assert (await provider.acompletion(own_call(a_call()))).raw == body


async def test_no_bytes_are_kept_of_a_translated_answer() -> None:
    async with opened(Say(text="Hello"), Say(text="Hello")) as (_, provider):
        assert (await provider.acompletion(a_call())).raw == b""
        assert not any(chunk.raw for chunk in await streamed(provider, a_call()))


async def test_an_overloaded_upstream_may_say_so_before_its_first_word() -> None:
    events = (
        b'event: message_start\ndata: {"type":"message_start","message":{}}\n\n',
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n',
    )
    async with opened(Raw(pieces=events)) as (_, provider):
        with pytest.raises(UpstreamError, match="overloaded_error: Overloaded"):
            await streamed(provider, a_call())
