"""Google Gemini: OpenAI-shaped calls are translated to its generateContent, and its answers back."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from fnmatch import fnmatchcase
from urllib.parse import quote

from msgspec.structs import replace

from muxer import (
    Answer,
    Call,
    Chunk,
    Context,
    HTTPClient,
    Kind,
    Provider,
    ProviderSettings,
    hookimpl,
    refuse_dropped,
)
from muxer.wire import gemini
from muxer.wire.gemini import embeddings

GEMINI_URL = "https://generativelanguage.googleapis.com/v1beta"
WHO = "gemini"

_OLDEST = ("gemini-1*", "gemini-2.0*", "gemini-exp*", "gemini-gemma*", "gemma*", "learnlm*")


class GeminiSettings(ProviderSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`base_url` with its version path; none is Google's own `v1beta`. The lists hold globs of upstream model names:
    Google has no address that tells what a model refuses."""

    include_thoughts: bool = False
    before_gemini_3: tuple[str, ...] = (*_OLDEST, "gemini-2*", "gemini-robotics-er-1*")
    without_thinking: tuple[str, ...] = _OLDEST
    always_thinking: tuple[str, ...] = ("gemini-2.5-pro*",)
    with_minimal_thinking: tuple[str, ...] = (
        "gemini-3-flash*",
        "gemini-3.1-flash*",
        "gemini-3.5-flash*",
        "gemini-3.6-flash*",
    )
    with_xhigh_thinking: tuple[str, ...] = ("gemini-4-hydrogen*",)
    without_image_urls: tuple[str, ...] = _OLDEST


class Gemini:
    """Posts to `{base_url}/models/{model}:generateContent`. The key goes into a header only, never into the address,
    which logs and error texts repeat (B51)."""

    def __init__(self, settings: GeminiSettings, http: HTTPClient) -> None:
        self._settings = settings
        self._http = http
        self._url = (settings.base_url or GEMINI_URL).rstrip("/")
        self._headers = {
            "content-type": "application/json",
            "accept": "application/json",
            "user-agent": "modelmuxer",
            **({"x-goog-api-key": settings.api_key.reveal()} if settings.api_key else {}),
            **{name.lower(): value.reveal() for name, value in settings.headers.items()},
        }

    async def acompletion(self, call: Call) -> Answer:
        """The whole answer."""
        body, dropped = self._body(call)
        async with self._http.post(
            self._address(call, "generateContent"), headers=self._headers, body=body, timeouts=self._settings.timeouts
        ) as reply:
            await gemini.raise_for_status(reply, WHO)
            answer = gemini.read_answer(await reply.read(), WHO, call.id)
            return replace(answer, dropped=dropped)

    async def astreaming(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """The answer as it comes; what was dropped is named in its first chunk."""
        body, dropped = self._body(call)
        async with self._http.post(
            self._address(call, "streamGenerateContent?alt=sse"),
            headers=self._headers,
            body=body,
            timeouts=self._settings.timeouts,
        ) as reply:
            await gemini.raise_for_status(reply, WHO)
            stream = gemini.read_stream(reply, WHO, call.id, candidates=call.request.n or 1)
            async with aclosing(stream) as chunks:
                async for chunk in chunks:
                    yield replace(chunk, dropped=dropped) if dropped else chunk
                    dropped = ()

    async def aembedding(self, call: Call) -> Answer:
        """The vectors."""
        body, dropped = embeddings.encode_request(call)
        refuse_dropped(call, WHO, dropped)
        url, timeouts = self._address(call, "batchEmbedContents"), self._settings.timeouts
        async with self._http.post(url, headers=self._headers, body=body, timeouts=timeouts) as reply:
            await gemini.raise_for_status(reply, WHO)
            answer = embeddings.read_answer(await reply.read(), WHO, call)
            return replace(answer, dropped=dropped)

    def _address(self, call: Call, method: str) -> str:
        """Tuned models have a collection of their own: `tunedModels/NAME`."""
        name = call.model if "/" in call.model else f"models/{call.model}"
        return f"{self._url}/{quote(name)}:{method}"

    def _body(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        body, dropped = gemini.encode_request(
            call, abilities(call.model, self._settings), include_thoughts=self._settings.include_thoughts
        )
        refuse_dropped(call, WHO, dropped)
        return body, dropped


def abilities(model: str, settings: GeminiSettings) -> gemini.Abilities:
    """What the settings say that an upstream model takes."""

    def is_in(globs: tuple[str, ...]) -> bool:
        return any(fnmatchcase(model, glob) for glob in globs)

    is_old = is_in(settings.before_gemini_3)
    return gemini.Abilities(
        signs_calls=not is_old,
        thinking="none" if is_in(settings.without_thinking) else "tokens" if is_old else "level",
        stops_thinking=not is_in(settings.always_thinking),
        minimal_thinking=is_in(settings.with_minimal_thinking),
        xhigh_thinking=is_in(settings.with_xhigh_thinking),
        penalties=is_old,
        fetches_images=not is_in(settings.without_image_urls),
    )


@asynccontextmanager
async def open_gemini(settings: GeminiSettings, context: Context) -> AsyncIterator[Provider]:
    """A provider on the core's HTTP client; there is nothing to close of its own."""
    yield Gemini(settings, context.http)


@hookimpl
def register_providers() -> list[Kind[Provider]]:
    """Offers the kind `gemini`."""
    return [Kind("gemini", GeminiSettings, open_gemini)]
