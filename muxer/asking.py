"""How a provider is asked for what a call wants: the answer to a chat, the rest of a text, or vectors."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import AbstractContextManager, aclosing, nullcontext
from functools import lru_cache
from typing import Self, TypeGuard

from msgspec.structs import replace

from muxer.answers import collect
from muxer.errors import Unsupported
from muxer.failures import UpstreamBadResponse
from muxer.inputs import EmbeddingRequest, TextRequest
from muxer.interfaces import Completes, CompletesText, Embeds, Provider
from muxer.types import Answer, Call, Chunk
from muxer.wire import openai_text


async def whole(provider: Provider, call: Call, mode: str) -> Answer:
    """The whole answer; `mode` is what the price table says the model is for, or ''. Raises Unsupported, before
    anything is sent, for what this provider or model cannot do."""
    if isinstance(call.request, EmbeddingRequest):
        if not isinstance(provider, Embeds):
            raise Unsupported(f"the provider of {call.model!r} makes no embeddings", param="model")
        answer = await provider.aembedding(call)
        if not answer.raw:
            raise UpstreamBadResponse(f"the provider of {call.model!r} gave no embeddings")
        return answer
    if not isinstance(call.request, TextRequest):
        return await _chat(provider, call)
    if isinstance(provider, CompletesText) and _takes_text(provider, call, mode):
        return await provider.atext_completion(call)
    chat, dropped = openai_text.as_chat(call)
    answer = await _chat(provider, chat)
    return replace(answer, raw=b"", dropped=(*dropped, *answer.dropped))


async def _chat(provider: Provider, call: Call) -> Answer:
    if _completes(provider):
        return await provider.acompletion(call)
    async with aclosing(streamed(provider, call, "", nullcontext())) as chunks:
        return await collect(chunks)


def _completes(provider: Provider) -> TypeGuard[Completes]:
    return _is_completing(type(provider))


@lru_cache
def _is_completing(kind: type[Provider]) -> bool:
    """Remembered, since Python looks through all methods of a protocol each time: 10 us."""
    return issubclass(kind, Completes)


async def streamed(
    provider: Provider, call: Call, mode: str, around: AbstractContextManager[None]
) -> AsyncGenerator[Chunk, None]:
    """The answer as it comes, as a generator that can be closed, whatever kind of iterator the provider gives; all code
    of the provider runs inside `around`."""
    with around:
        stream, chat_dropped = _begun(provider, call, mode)
        try:
            async for chunk in stream:
                if chat_dropped is None:
                    yield chunk
                    continue
                yield replace(chunk, raw=b"", dropped=(*chat_dropped, *chunk.dropped))
                chat_dropped = ()
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()


def _begun(provider: Provider, call: Call, mode: str) -> tuple[AsyncIterator[Chunk], tuple[str, ...] | None]:
    """The provider's stream; and, where a text was put as a chat, the fields that have no place there."""
    if not isinstance(call.request, TextRequest):
        return provider.astreaming(call), None
    if isinstance(provider, CompletesText) and _takes_text(provider, call, mode):
        return provider.atext_streaming(call), None
    chat, dropped = openai_text.as_chat(call)
    return provider.astreaming(chat), dropped


def _takes_text(provider: CompletesText, call: Call, mode: str) -> bool:
    """Whether this model goes on with texts. One known for chats is asked in a chat, wherever it is served."""
    return mode in ("", "completion") and provider.completes_text(call.model)


class Resumed:
    """A stream of which the first chunk has been taken. A generator would be one more that each chunk passes."""

    def __init__(self, first: Chunk, rest: AsyncIterator[Chunk]) -> None:
        self._first: Chunk | None = first
        self._rest = rest

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[Chunk]:
        return self._rest.__anext__() if self._first is None else self._take_first()

    async def _take_first(self) -> Chunk:
        first, self._first = self._first, None
        assert first is not None, "it is taken once"
        return first
