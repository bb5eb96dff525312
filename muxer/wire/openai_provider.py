"""A provider for any upstream that speaks OpenAI's chat completions; vendors differ by what they adapt."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from msgspec import Raw, Struct
from msgspec.structs import replace

from muxer.interfaces import HTTPClient, ProviderSettings
from muxer.types import Answer, Call, Chunk
from muxer.upstream import raise_for_status, refuse_dropped
from muxer.wire import openai_chat

Adapt = Callable[[dict[str, Raw]], list[str]]


class Dialect(Struct, frozen=True):
    """How a vendor differs: the name of its output cap, and a function that changes the fields of a request in place
    and returns the names of those it dropped."""

    cap_field: str
    adapt: Adapt | None = None


class OpenAIProvider:
    """Posts to `{base_url}/chat/completions`; bytes of the same format are passed through both ways."""

    def __init__(self, who: str, base_url: str, settings: ProviderSettings, http: HTTPClient, dialect: Dialect) -> None:
        self._who = who
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._http = http
        self._timeouts = settings.timeouts
        self._dialect = dialect
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": "modelmuxer",
            **({"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}),
            **settings.headers,
        }

    async def acompletion(self, call: Call) -> Answer:
        """The whole answer, its bytes passed through to a call of the same format."""
        body, dropped = self._body(call)
        async with self._http.post(self._url, headers=self._headers, body=body, timeouts=self._timeouts) as reply:
            await raise_for_status(reply, self._who)
            answer = openai_chat.read_answer(await reply.read(), self._who)
            if call.api != openai_chat.API:
                answer = replace(answer, raw=b"")
            return replace(answer, dropped=dropped) if dropped else answer

    async def astreaming(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """The answer as it comes, each event's bytes passed through to a call of the same format."""
        body, dropped = self._body(call)
        async with self._http.post(self._url, headers=self._headers, body=body, timeouts=self._timeouts) as reply:
            await raise_for_status(reply, self._who)
            async with aclosing(openai_chat.read_stream(reply, self._who)) as chunks:
                async for chunk in chunks:
                    if call.api != openai_chat.API:
                        chunk = replace(chunk, raw=b"")  # the same chunk, without its bytes
                    yield replace(chunk, dropped=dropped) if dropped else chunk
                    dropped = ()

    def _body(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        fields, dropped = openai_chat.request_fields(call, cap_field=self._dialect.cap_field)
        if self._dialect.adapt is not None:
            dropped += self._dialect.adapt(fields)
        refuse_dropped(call, self._who, dropped)
        return openai_chat.encode(fields), tuple(dropped)
