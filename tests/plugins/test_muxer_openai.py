"""The provider `openai` against a scripted upstream that speaks chat completions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace
from muxer_openai import OpenAISettings, dialect, open_openai, register_providers

from muxer import Completes, Provider, Secret
from muxer.testing import ProviderContract, Say, ScriptedUpstream, a_call, a_request, collected, open_context
from muxer.wire.openai_chat import without_extra_content


class TestOpenAI(ProviderContract):
    @asynccontextmanager
    async def open_provider(self, upstream: ScriptedUpstream) -> AsyncIterator[Provider]:
        settings = OpenAISettings(
            api_key=Secret(self.api_key), base_url=f"{upstream.url}/v1", first_byte_timeout_s=self.first_byte_timeout_s
        )
        async with open_context() as context, open_openai(settings, context) as provider:
            yield provider


@asynccontextmanager
async def opened(**settings: object) -> AsyncIterator[tuple[ScriptedUpstream, Provider]]:
    base = OpenAISettings(api_key=Secret("sk-1"))
    async with ScriptedUpstream(Say(text="Hello")) as upstream, open_context() as context:
        there = replace(base, **{"base_url": f"{upstream.url}/v1", **settings})
        async with open_openai(there, context) as provider:
            yield upstream, provider


def test_offers_the_kind_openai() -> None:
    assert [kind.name for kind in register_providers()] == ["openai"]


async def test_a_server_without_keys_is_sent_none() -> None:
    async with opened(api_key=None) as (upstream, provider):
        assert isinstance(provider, Completes)
        await provider.acompletion(a_call())
    assert "Authorization" not in upstream.calls[0].headers


async def test_headers_of_the_file_are_sent_and_win() -> None:
    async with opened(headers={"OpenAI-Organization": Secret("org-1"), "User-Agent": Secret("mine")}) as (
        upstream,
        provider,
    ):
        assert isinstance(provider, Completes)
        await provider.acompletion(a_call())
    heard = upstream.calls[0].headers
    assert (heard["OpenAI-Organization"], heard["User-Agent"]) == ("org-1", "mine")


async def test_a_base_url_may_end_in_a_slash() -> None:
    async with opened() as (upstream, _), open_context() as context:
        settings = OpenAISettings(base_url=f"{upstream.url}/v1/")
        async with open_openai(settings, context) as provider:
            assert isinstance(provider, Completes)
            await provider.acompletion(a_call())
    assert upstream.calls[0].path == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("field", "sent"), [(None, "max_tokens"), ("max_tokens", "max_tokens"), ("max_completion_tokens",) * 2]
)
async def test_the_output_cap_goes_by_the_server_s_name(field: str | None, sent: str) -> None:
    async with opened(output_cap_field=field) as (upstream, provider):
        assert isinstance(provider, Completes)
        await provider.acompletion(a_call(output_cap=5))
    body = upstream.calls[0].body
    assert {name: body.get(name) for name in ("max_tokens", "max_completion_tokens")} == {
        "max_tokens": None,
        "max_completion_tokens": None,
    } | {sent: 5}


async def test_what_was_dropped_is_named_once() -> None:
    call = a_call(a_request(temperature=1.0, stream=True), takes_sampling=False)
    async with opened() as (upstream, provider):
        chunks = [chunk async for chunk in provider.astreaming(call)]
    assert [chunk.dropped for chunk in chunks] == [("temperature",)] + [()] * (len(chunks) - 1)
    assert "temperature" not in upstream.calls[0].body and collected(chunks).text == "Hello"


@pytest.mark.parametrize(
    ("base_url", "takes_out"),
    [(None, True), ("https://api.openai.com/v1", True), ("https://openrouter.ai/api/v1", False)],
)
def test_what_another_vendor_wants_back_is_not_sent_to_openai_itself(base_url: str | None, takes_out: bool) -> None:
    adapt = dialect(OpenAISettings(base_url=base_url)).adapt
    assert (adapt is without_extra_content) == takes_out
