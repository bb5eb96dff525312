"""What every provider over HTTP must do, as tests to inherit."""
# ruff: noqa: D102  # a test's name is its sentence

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

import pytest
from msgspec import Struct
from msgspec.structs import replace

from muxer import (
    Call,
    Choice,
    Chunk,
    Completes,
    FunctionCall,
    Provider,
    ProviderFailed,
    ToolCall,
    UpstreamAuth,
    UpstreamBadResponse,
    UpstreamCut,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
    Usage,
)
from muxer.testing.behaviours import Behaviour, Cut, Fail, Raw, Say, Stall
from muxer.testing.builders import a_call, a_request
from muxer.testing.calls import Format
from muxer.testing.upstream import PATIENCE_S, ScriptedUpstream

TEXT = "Paris is the capital of France."
TOOL_CALL = ToolCall(id="call_1", function=FunctionCall(name="look_up", arguments='{"city":"Paris"}'))
HTML = {"Content-Type": "text/html"}
JSON = {"Content-Type": "application/json"}

FAILURES: dict[str, tuple[Behaviour, type[ProviderFailed]]] = {
    "400": (Fail(400), UpstreamRefused),
    "401": (Fail(401), UpstreamAuth),
    "403": (Fail(403), UpstreamAuth),
    "429": (Fail(429, {"Retry-After": "7"}), UpstreamRateLimited),
    "429, no sense": (Fail(429, {"Retry-After": "soon"}), UpstreamRateLimited),
    "500": (Fail(500), UpstreamError),
    "502 in HTML": (Fail(502, HTML, b"<html>502 Bad Gateway</html>"), UpstreamError),
    "529": (Fail(529), UpstreamError),
    "redirect": (Fail(302, {"Location": "http://127.0.0.1:9/"}), ProviderFailed),
    "200, empty": (Raw(), UpstreamBadResponse),
    "200 in HTML": (Raw(pieces=(b"<html>busy</html>",), headers=HTML), UpstreamBadResponse),
    "200 with an error": (Raw(pieces=(b'{"error": {"message": "busy"}}',), headers=JSON), UpstreamBadResponse),
    "200 of another shape": (Raw(pieces=(b'{"choices": 5, "content": 5}',), headers=JSON), UpstreamBadResponse),
    "200, no JSON": (Raw(pieces=(b"data: {not json}\n\n",)), UpstreamBadResponse),
    "cut before headers": (Cut(), UpstreamCut),
    "cut after headers": (Cut(after_bytes=0), UpstreamCut),
}


class Collected(Struct, frozen=True):
    """An answer put together, for comparing a stream with a whole."""

    text: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str | None
    usage: Usage | None


class ProviderContract:
    """Subclass it as `TestMyProvider` and say how to open yours; every test starts its own `ScriptedUpstream`.

    Chunks and answers carry their canonical fields also where they carry `raw`: signals, cascades and records read
    those. Override `call` where the provider passes bytes of another format through.
    """

    api_key = "sk-contract-0123456789"
    first_byte_timeout_s = 10.0
    model = "m-1"
    formats: Mapping[str, Format] = {}  # a vendor's own, by path, where the upstream's are not its

    def open_provider(self, upstream: ScriptedUpstream) -> AbstractAsyncContextManager[Provider]:
        """Opens the provider on `upstream.url`, with `self.api_key` and `self.first_byte_timeout_s`."""
        raise NotImplementedError

    def call(self, *, stream: bool, output_cap: int | None = None) -> Call:
        """A plain question, streamed or not."""
        request = a_request(stream=stream, model=self.model)
        return a_call(request, model=self.model, output_cap=output_cap)

    async def test_streams_text_in_pieces_then_a_usage(self) -> None:
        async with self._opened(Say(text=TEXT)) as (_, provider):
            chunks = await self._chunks(provider)
        assert len([chunk for chunk in chunks if chunk.text]) > 1
        assert "".join(chunk.text for chunk in chunks) == TEXT
        last_text = max(place for place, chunk in enumerate(chunks) if chunk.text)
        assert any(chunk.usage is not None for chunk in chunks[last_text:])

    async def test_a_whole_answer_is_what_the_stream_adds_up_to(self) -> None:
        for said in (Say(text=TEXT), Say(tool_calls=(TOOL_CALL,)), Say(text=TEXT, tool_calls=(TOOL_CALL,))):
            async with self._opened(said, said) as (_, provider):
                streamed = collected(await self._chunks(provider))
                assert streamed.tool_calls == said.tool_calls
                if isinstance(provider, Completes):
                    answer = await provider.acompletion(self.call(stream=False))
                    assert _of_choice(answer.choices[0], answer.usage) == streamed

    async def test_reports_the_usage_that_is_billed(self) -> None:
        billed = Usage(input_tokens=100, output_tokens=20, cached_input_tokens=64)
        said = Say(text=TEXT, usage=billed)
        async with self._opened(said, said) as (_, provider):
            assert collected(await self._chunks(provider)).usage == billed
            if isinstance(provider, Completes):
                assert (await provider.acompletion(self.call(stream=False))).usage == billed

    async def test_a_stream_without_usage_ends_well(self) -> None:
        async with self._opened(Say(text=TEXT, reports_usage=False)) as (_, provider):
            answer = collected(await self._chunks(provider))
        assert (answer.text, answer.finish_reason, answer.usage) == (TEXT, "stop", None)

    async def test_a_call_of_a_format_it_does_not_speak_is_asked_by_its_request_and_gets_no_bytes(self) -> None:
        async with self._opened(Say(text=TEXT)) as (_, provider):
            chunks = await self._chunks(provider, replace(self.call(stream=True), api="of.nobody", raw=b"{}"))
        assert collected(chunks).text == TEXT
        assert not any(chunk.raw for chunk in chunks)

    async def test_asks_for_the_model_and_the_cap_it_is_told(self) -> None:
        async with self._opened(Say(text=TEXT)) as (upstream, provider):
            answer = collected(await self._chunks(provider, self.call(stream=True, output_cap=2)))
        assert upstream.calls[0].model == self.model
        assert answer.finish_reason == "length"
        assert answer.usage == upstream.calls[0].billed
        assert answer.usage is not None and answer.usage.output_tokens == 2

    async def test_sends_its_key_and_no_other_header_of_ours(self) -> None:
        async with self._opened(Say(text=TEXT)) as (upstream, provider):
            await self._chunks(provider)
        headers = upstream.calls[0].headers
        assert any(self.api_key in value for value in headers.values())
        assert not [name for name in headers if name.lower().startswith("x-muxer")]

    @pytest.mark.parametrize("case", FAILURES)
    async def test_raises_what_the_failure_means(self, case: str) -> None:
        behaviour, failure = FAILURES[case]
        async with self._opened(behaviour, behaviour, Say(text=TEXT)) as (_, provider):
            with pytest.raises(failure):
                await self._chunks(provider)
            if isinstance(provider, Completes):
                with pytest.raises(failure):
                    await provider.acompletion(self.call(stream=False))

    async def test_passes_on_how_long_to_wait(self) -> None:
        async with self._opened(Fail(429, {"Retry-After": "7"})) as (_, provider):
            with pytest.raises(UpstreamRateLimited) as raised:
                await self._chunks(provider)
        assert raised.value.retry_after_s == 7
        assert raised.value.upstream_status == 429

    async def test_keeps_its_key_out_of_what_it_raises(self) -> None:
        quoted = f'{{"error": {{"message": "bad key {self.api_key}"}}}}'.encode()
        async with self._opened(Fail(401, body=quoted)) as (_, provider):
            with pytest.raises(UpstreamAuth) as raised:
                await self._chunks(provider)
        assert self.api_key not in f"{raised.value} {raised.value!r} {provider!r}"

    async def test_a_refused_connection_is_unreachable(self) -> None:
        async with self._opened() as (upstream, provider):
            await upstream.stop()
            with pytest.raises(UpstreamUnreachable):
                await self._chunks(provider)

    async def test_gives_up_when_no_first_byte_comes_in_time(self) -> None:
        self.first_byte_timeout_s = 0.2
        async with self._opened(Stall()) as (upstream, provider), asyncio.timeout(PATIENCE_S):
            with pytest.raises(UpstreamTimeout):
                await self._chunks(provider)
            await upstream.idle()
            # A machine that is busy may give up before its call has arrived.
            assert len(upstream.abandoned) == len(upstream.calls)

    async def test_a_stream_cut_anywhere_never_looks_complete(self) -> None:
        said = Say(text="word " * 100)  # far longer as a stream, in any format, than the last cut
        cuts = [Cut(after_bytes=count, then=said) for count in range(1, 1500, 97)]
        async with self._opened(*cuts) as (_, provider):
            for _ in cuts:
                with pytest.raises(ProviderFailed):
                    await self._chunks(provider)

    async def test_closing_the_stream_early_ends_the_upstream_call(self) -> None:
        async with self._opened(Stall(after_pieces=4)) as (upstream, provider):
            async with aclosing(_closable(provider.astreaming(self.call(stream=True)))) as chunks:
                await anext(chunks)
            await upstream.idle()
            assert len(upstream.abandoned) == 1

    async def test_answers_again_after_a_failure(self) -> None:
        async with self._opened(Cut(after_bytes=5), Fail(500), Say(text=TEXT)) as (_, provider):
            for _ in range(2):
                with pytest.raises(ProviderFailed):
                    await self._chunks(provider)
            assert collected(await self._chunks(provider)).text == TEXT

    @asynccontextmanager
    async def _opened(self, *behaviours: Behaviour) -> AsyncIterator[tuple[ScriptedUpstream, Provider]]:
        async with ScriptedUpstream(formats=self.formats) as upstream, self.open_provider(upstream) as provider:
            upstream.script(None, *behaviours)
            yield upstream, provider

    async def _chunks(self, provider: Provider, call: Call | None = None) -> list[Chunk]:
        stream = provider.astreaming(call or self.call(stream=True))
        async with aclosing(_closable(stream)) as chunks:
            return [chunk async for chunk in chunks]


def collected(chunks: list[Chunk]) -> Collected:
    """The first choice of a stream, put together; the last usage wins."""
    mine = [chunk for chunk in chunks if chunk.index == 0]
    pieces = [piece for chunk in mine for piece in chunk.tool_calls]
    calls = []
    for index in sorted({piece.index for piece in pieces}):
        parts = [piece for piece in pieces if piece.index == index]
        name = next(part.name for part in parts if part.name)
        arguments = "".join(part.arguments for part in parts)
        id = next(part.id for part in parts if part.id)
        calls.append(ToolCall(id=id, function=FunctionCall(name=name, arguments=arguments)))
    finish = next((chunk.finish_reason for chunk in reversed(mine) if chunk.finish_reason), None)
    usage = next((chunk.usage for chunk in reversed(chunks) if chunk.usage), None)
    return Collected("".join(chunk.text for chunk in mine), tuple(calls), finish, usage)


def _of_choice(choice: Choice, usage: Usage | None) -> Collected:
    calls = tuple(ToolCall(id=call.id, function=call.function) for call in choice.tool_calls)
    return Collected(choice.text or "", calls, choice.finish_reason, usage)


def _closable(chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk, None]:
    assert isinstance(chunks, AsyncGenerator), "astreaming must be an async generator: callers close it"
    return chunks
