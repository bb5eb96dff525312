"""A provider for any upstream that speaks OpenAI's formats; vendors differ by what they adapt."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager

from msgspec import Raw, Struct
from msgspec.structs import replace

from muxer.inputs import EmbeddingRequest
from muxer.interfaces import HTTPClient, ProviderSettings, Reply
from muxer.types import Answer, Call, Chunk
from muxer.upstream import raise_for_status, refuse_dropped
from muxer.wire import openai_chat, openai_embeddings, openai_text

Adapt = Callable[[dict[str, Raw]], list[str]]


def _never(model: str) -> bool:
    return False


class Dialect(Struct, frozen=True):
    """How a vendor differs: the name of its output cap, and functions that change the fields of a request in place
    and return the names of those they dropped. `completes_text` tells which of its models take `/completions`."""

    cap_field: str
    adapt: Adapt | None = None
    adapt_embedding: Adapt | None = None
    completes_text: Callable[[str], bool] = _never


class OpenAIProvider:
    """Posts to `{base_url}/chat/completions`, `/completions` and `/embeddings`; bytes of the same format are passed
    through both ways."""

    def __init__(self, who: str, base_url: str, settings: ProviderSettings, http: HTTPClient, dialect: Dialect) -> None:
        self._who = who
        self._url = base_url.rstrip("/")
        self._http = http
        self._timeouts = settings.timeouts
        self._dialect = dialect
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": "modelmuxer",
            **({"Authorization": f"Bearer {settings.api_key.reveal()}"} if settings.api_key else {}),
            **{name: value.reveal() for name, value in settings.headers.items()},
        }

    async def acompletion(self, call: Call) -> Answer:
        """The whole answer, its bytes passed through to a call of the same format."""
        body, dropped = self._chat_body(call)
        async with self._posted("/chat/completions", body) as reply:
            await raise_for_status(reply, self._who)
            answer = openai_chat.read_answer(await reply.read(), self._who)
            if call.api != openai_chat.API:
                answer = replace(answer, raw=b"")
            return _naming(answer, dropped)

    def astreaming(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """The answer as it comes, each event's bytes passed through to a call of the same format."""
        read = openai_chat.read_chunks if call.api == openai_chat.API else _read_foreign
        body, dropped = self._chat_body(call)
        return openai_chat.read_stream(self._posted("/chat/completions", body), self._who, read, dropped)

    def completes_text(self, model: str) -> bool:
        """See CompletesText."""
        return self._dialect.completes_text(model)

    async def atext_completion(self, call: Call) -> Answer:
        """The texts gone on with, their bytes passed through."""
        body, dropped = self._body(call, *openai_text.request_fields(call))
        async with self._posted("/completions", body) as reply:
            await raise_for_status(reply, self._who)
            return _naming(openai_text.read_answer(await reply.read(), self._who), dropped)

    def atext_streaming(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """The same as it comes."""
        body, dropped = self._body(call, *openai_text.request_fields(call))
        return openai_chat.read_stream(self._posted("/completions", body), self._who, openai_text.read_chunks, dropped)

    async def aembedding(self, call: Call) -> Answer:
        """The vectors, their bytes passed through."""
        request = call.request
        assert isinstance(request, EmbeddingRequest), "a call for vectors has inputs"
        fields, dropped = openai_embeddings.request_fields(call)
        if self._dialect.adapt_embedding is not None:
            dropped += self._dialect.adapt_embedding(fields)
        body, names = self._body(call, fields, dropped)
        async with self._posted("/embeddings", body) as reply:
            await raise_for_status(reply, self._who)
            answer = openai_embeddings.read_answer(await reply.read(), len(request.inputs), self._who)
            return _naming(answer, names)

    def _posted(self, path: str, body: bytes) -> AbstractAsyncContextManager[Reply]:
        return self._http.post(self._url + path, headers=self._headers, body=body, timeouts=self._timeouts)

    def _chat_body(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        fields, dropped = openai_chat.request_fields(call, cap_field=self._dialect.cap_field)
        if self._dialect.adapt is not None:
            dropped += self._dialect.adapt(fields)
        return self._body(call, fields, dropped)

    def _body(self, call: Call, fields: dict[str, Raw], dropped: list[str]) -> tuple[bytes, tuple[str, ...]]:
        refuse_dropped(call, self._who, dropped)
        return openai_chat.encode(fields), tuple(dropped)


def _naming(answer: Answer, dropped: tuple[str, ...]) -> Answer:
    return replace(answer, dropped=dropped) if dropped else answer


def _read_foreign(data: bytes, who: str) -> list[Chunk]:
    """The chunks of an event, without bytes that the caller's format has no place for."""
    return [replace(chunk, raw=b"") for chunk in openai_chat.read_chunks(data, who)]
