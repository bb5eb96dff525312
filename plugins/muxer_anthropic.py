"""Anthropic: OpenAI-shaped calls are translated to its Messages API, calls in its own format pass through as bytes."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from fnmatch import fnmatchcase
from typing import Annotated

from msgspec import Meta
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
    raise_for_status,
    refuse_dropped,
)
from muxer.wire import anthropic_messages

ANTHROPIC_URL = "https://api.anthropic.com"
WHO = "anthropic"
BETA = "anthropic-beta"


class AnthropicSettings(ProviderSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`base_url` with or without `/v1`; none is Anthropic itself. The lists hold globs of upstream model names."""

    anthropic_version: str = "2023-06-01"
    max_tokens_default: Annotated[int, Meta(ge=1)] = 4096
    cache_prompts: bool = False
    # https://platform.claude.com/docs/en/build-with-claude/effort: models it does not list refuse the parameter.
    without_effort: tuple[str, ...] = (
        "claude-3*",
        "claude-opus-4-0*",
        "claude-opus-4-1*",
        "claude-opus-4-2*",
        "claude-sonnet-4-0*",
        "claude-sonnet-4-2*",
        "claude-sonnet-4-5*",
        "claude-haiku-4-5*",
    )
    # https://platform.claude.com/docs/en/models/sonnet-5-5/whats-new-sonnet-5-5: "Forced tool use returns an error."
    without_forced_tools: tuple[str, ...] = (
        "claude-opus-5-5*",
        "claude-sonnet-5-5*",
        "claude-fable-5-1*",
        "claude-mythos-5-1*",
    )


class Anthropic:
    """Posts to `{base_url}/v1/messages`."""

    def __init__(self, settings: AnthropicSettings, http: HTTPClient) -> None:
        self._settings = settings
        self._http = http
        self._url = (settings.base_url or ANTHROPIC_URL).rstrip("/").removesuffix("/v1") + "/v1/messages"
        self._headers = {
            "content-type": "application/json",
            "accept": "application/json",
            "user-agent": "modelmuxer",
            "anthropic-version": settings.anthropic_version,
            **({"x-api-key": settings.api_key.reveal()} if settings.api_key else {}),
            **{name.lower(): value.reveal() for name, value in settings.headers.items()},
        }

    async def acompletion(self, call: Call) -> Answer:
        """The whole answer."""
        body, dropped = self._body(call, stream=False)
        async with self._http.post(
            self._url, headers=self._headers_for(call), body=body, timeouts=self._settings.timeouts
        ) as reply:
            await raise_for_status(reply, WHO)
            answer = anthropic_messages.read_answer(
                await reply.read(), WHO, model=call.model, keep_raw=_is_own_format(call)
            )
            return replace(answer, dropped=dropped)

    async def astreaming(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """The answer as it comes; what was dropped is named in its first chunk."""
        body, dropped = self._body(call, stream=True)
        async with self._http.post(
            self._url, headers=self._headers_for(call), body=body, timeouts=self._settings.timeouts
        ) as reply:
            await raise_for_status(reply, WHO)
            stream = anthropic_messages.read_stream(reply, WHO, model=call.model, keep_raw=_is_own_format(call))
            async with aclosing(stream) as chunks:
                async for chunk in chunks:
                    yield replace(chunk, dropped=dropped) if dropped else chunk
                    dropped = ()

    def _headers_for(self, call: Call) -> dict[str, str]:
        """Ours, and the betas that the fields of a caller's own body are in."""
        asked = call.headers.get(BETA, "") if _is_own_format(call) else ""
        if not asked:
            return self._headers
        return {**self._headers, BETA: ",".join(filter(None, (self._headers.get(BETA), asked)))}

    def _body(self, call: Call, *, stream: bool) -> tuple[bytes, tuple[str, ...]]:
        body, dropped = anthropic_messages.encode_request(
            call,
            stream=stream,
            max_tokens_default=self._settings.max_tokens_default,
            takes_effort=not _matches(call.model, self._settings.without_effort),
            takes_forced_tools=not _matches(call.model, self._settings.without_forced_tools),
            caches=self._settings.cache_prompts,
        )
        refuse_dropped(call, WHO, dropped)
        return body, dropped


def _is_own_format(call: Call) -> bool:
    return call.api == anthropic_messages.API


def _matches(model: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(model, glob) for glob in globs)


@asynccontextmanager
async def open_anthropic(settings: AnthropicSettings, context: Context) -> AsyncIterator[Provider]:
    """A provider on the core's HTTP client; there is nothing to close of its own."""
    yield Anthropic(settings, context.http)


@hookimpl
def register_providers() -> list[Kind[Provider]]:
    """Offers the kind `anthropic`."""
    return [Kind("anthropic", AnthropicSettings, open_anthropic)]
