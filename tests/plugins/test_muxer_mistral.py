"""The provider `mistral` against a scripted upstream that answers as Mistral does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from muxer_mistral import MistralSettings, open_mistral, register_providers

from muxer import Answer, ChatRequest, Completes, Provider
from muxer.testing import (
    Act,
    Asked,
    Fail,
    Format,
    ProviderContract,
    Say,
    ScriptedUpstream,
    Spoken,
    a_call,
    open_context,
)
from muxer.testing.vendors import OpenAIChat

HI = {"role": "user", "content": "Hi"}


class MistralChat:
    """Refuses fields it does not know, and reports the usage of every stream without being asked."""

    openai: Format = OpenAIChat()

    def answer(self, asked: Asked, spoken: Spoken) -> Act:
        if "stream_options" in asked.body:
            return Fail(422).play(asked)
        wanting = {**asked.body, "stream_options": {"include_usage": True}}
        return self.openai.answer(replace(asked, body=wanting), spoken)

    def error(self, status: int, message: str) -> bytes:
        return msgspec.json.encode({"object": "error", "message": message, "type": "x", "param": None, "code": "1"})


FORMATS = {"/v1/chat/completions": MistralChat()}


class TestMistral(ProviderContract):
    formats = FORMATS

    @asynccontextmanager
    async def open_provider(self, upstream: ScriptedUpstream) -> AsyncIterator[Provider]:
        settings = MistralSettings(
            api_key=self.api_key, base_url=f"{upstream.url}/v1", first_byte_timeout_s=self.first_byte_timeout_s
        )
        async with open_context() as context, open_mistral(settings, context) as provider:
            yield provider


async def asked(fields: dict[str, Any], *, spaced: bool = False) -> tuple[dict[str, Any], Answer]:
    """The body that Mistral gets for a request, and the answer; the request may be written with spaces."""
    raw = msgspec.json.format(msgspec.json.encode({"messages": [HI], **fields}), indent=1 if spaced else -1)
    request = msgspec.json.decode(raw, type=ChatRequest)
    async with (
        ScriptedUpstream(Say(text="Hello"), FORMATS) as upstream,
        open_context() as context,
        open_mistral(MistralSettings(base_url=f"{upstream.url}/v1"), context) as provider,
    ):
        assert isinstance(provider, Completes)
        answer = await provider.acompletion(a_call(request, raw=raw))
    return dict(upstream.calls[0].body), answer


def test_offers_the_kind_mistral() -> None:
    assert [kind.name for kind in register_providers()] == ["mistral"]


async def test_a_seed_has_another_name() -> None:
    body, answer = await asked({"seed": 7})
    assert (body.get("random_seed"), "seed" in body, answer.dropped) == (7, False, ())


@pytest.mark.parametrize("spaced", [False, True], ids=["compact", "spaced"])
async def test_the_role_developer_has_an_older_name(spaced: bool) -> None:
    said = {"role": "user", "content": '"role": "developer","role":"developer"'}
    body, _ = await asked({"messages": [{"role": "developer", "content": "Be brief."}, said]}, spaced=spaced)
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, said]


async def test_fields_that_mistral_refuses_are_dropped_and_named() -> None:
    known = {"temperature": 0.5, "tools": [], "parallel_tool_calls": False, "safe_prompt": True, "n": 2}
    body, answer = await asked({**known, "user": "u", "logprobs": True, "service_tier": "auto", "vendor": 1})
    assert body == {"messages": [HI], "model": "m-1", **known}
    assert set(answer.dropped) == {"user", "logprobs", "service_tier", "vendor"}


async def test_a_cap_by_either_name_is_max_tokens() -> None:
    body, answer = await asked({"max_completion_tokens": 5})
    assert (body.get("max_tokens"), "max_completion_tokens" in body, answer.dropped) == (5, False, ())


async def test_what_another_vendor_wants_back_with_a_call_is_not_sent() -> None:
    call = {"id": "abc123def", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    signed = {**call, "extra_content": {"google": {"thought_signature": "c2ln"}}}
    history = [HI, {"role": "assistant", "content": None, "tool_calls": [signed]}]
    body, answer = await asked({"messages": history}, spaced=True)
    assert body["messages"] == [HI, {"role": "assistant", "content": None, "tool_calls": [call]}]
    assert answer.dropped == ()
