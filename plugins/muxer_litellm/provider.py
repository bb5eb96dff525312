"""Any provider of LiteLLM's: one call of ours is one call of `litellm.acompletion`, without its retries."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing, asynccontextmanager
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from muxer import Answer, Call, Chunk, MuxerError, UpstreamRefused, UpstreamTimeout, UpstreamUnreachable
from muxer_litellm import answers, failures
from muxer_litellm.library import Library
from muxer_litellm.request import WHO, arguments
from muxer_litellm.settings import LiteLLMSettings


class _Known(Struct, frozen=True):
    """What LiteLLM knows of a model: the fields its vendor takes (None: nobody knows) and whether it is called by
    OpenAI's own name."""

    supported: frozenset[str] | None
    is_openai: bool


def _own_arguments(settings: LiteLLMSettings) -> dict[str, object]:
    """What the file adds to every call."""
    given: dict[str, object] = {
        "api_key": settings.api_key and settings.api_key.reveal(),
        "api_base": settings.base_url,
        "api_version": settings.api_version,
        "extra_headers": {name: value.reveal() for name, value in settings.headers.items()} or None,
    }
    own = {
        **settings.params,
        **{name: value for name, value in given.items() if value is not None},
        "drop_params": True,  # what a vendor does not take is left out before, and named
        "timeout": settings.timeout_s,
    }
    # A handler would be told of these, and LiteLLM by itself repeats nothing where they are missing.
    return own if settings.handler else {**own, "num_retries": 0, "max_retries": 0}


class LiteLLM:
    """Asks LiteLLM; `vendor` is the name of a registered handler, or '' where model names say the vendor."""

    def __init__(self, settings: LiteLLMSettings, library: Library, vendor: str = "") -> None:
        self._settings = settings
        self._library = library
        self._vendor = vendor
        self._slots = asyncio.Semaphore(settings.max_connections)
        self._known: dict[str, _Known] = {}
        self._own = _own_arguments(settings)

    async def acompletion(self, call: Call) -> Answer:
        """The whole answer."""
        timeouts = self._settings.timeouts
        async with self._asking(call):
            asked, dropped = await self._arguments(call)
            async with asyncio.timeout(min(timeouts.first_byte_s, timeouts.total_s)):
                response = await self._library.litellm.acompletion(**asked)
            answer = answers.read_answer(response, call, WHO)
            return replace(answer, dropped=dropped) if dropped else answer

    async def astreaming(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """The answer as it comes; what was dropped is named in its first chunk."""
        async with self._asking(call):
            asked, dropped = await self._arguments(call)
            # An upstream is asked for its usage whatever the caller wants; what nobody asked for is stripped later.
            asked |= {"stream": True, "stream_options": {"include_usage": True}}
            async with aclosing(self._chunks(asked, call)) as chunks:
                async for chunk in chunks:
                    yield replace(chunk, dropped=dropped) if dropped else chunk
                    dropped = ()

    async def _chunks(self, asked: dict[str, object], call: Call) -> AsyncGenerator[Chunk, None]:
        loop, timeouts = asyncio.get_running_loop(), self._settings.timeouts
        last = loop.time() + timeouts.total_s
        until = min(last, loop.time() + timeouts.first_byte_s)
        async with asyncio.timeout_at(until):
            stream = await self._library.litellm.acompletion(**asked)
        async with aclosing(answers.read_stream(stream, call, WHO, must_finish=not self._vendor)) as chunks:
            while True:
                async with asyncio.timeout_at(until):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                yield chunk
                until = min(last, loop.time() + timeouts.idle_s)

    @asynccontextmanager
    async def _asking(self, call: Call) -> AsyncIterator[None]:
        """A free connection, and what LiteLLM raises while it is used as our failures."""
        await self._take_slot()
        try:
            yield
        except MuxerError:
            raise
        except TimeoutError as error:
            raise UpstreamTimeout(f"{WHO}: {call.model} did not answer before its deadline") from error
        except Exception as error:
            raise await failures.failure(error, self._library, WHO) from error
        finally:
            self._slots.release()

    async def _take_slot(self) -> None:
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                await self._slots.acquire()
        except TimeoutError as error:
            raise UpstreamUnreachable(f"{WHO}: all max_connections are in use") from error

    async def _arguments(self, call: Call) -> tuple[dict[str, Any], tuple[str, ...]]:
        known = self._known.get(call.model)
        if known is None:
            known = self._known[call.model] = await asyncio.to_thread(self._look_up, call.model)
        asked, dropped = arguments(call, known.supported)
        own = self._own
        if known.is_openai and self._settings.base_url is not None and self._settings.api_key is None:
            own = {**own, "api_key": "none"}  # else LiteLLM sends the OPENAI_API_KEY it finds to a server of others
        if "tools" in asked:
            own = {**own, "_skip_mcp_handler": True}  # else LiteLLM imports what its extra `mcp` installs, for any tool
        model = f"{self._vendor}/{call.model}" if self._vendor else call.model
        return {**own, **asked, "model": model}, dropped

    def _look_up(self, model: str) -> _Known:
        if self._vendor:
            return _Known(None, is_openai=False)
        litellm = self._library.litellm
        try:
            name, vendor, _, _ = litellm.get_llm_provider(
                model, api_base=self._settings.base_url, api_key=self._own["api_key"]
            )
        except litellm.exceptions.BadRequestError as error:
            raise UpstreamRefused(f"{WHO} knows no vendor for {model!r}; write VENDOR/NAME") from error
        supported: Collection[str] | None = litellm.get_supported_openai_params(name, vendor)
        return _Known(None if supported is None else frozenset(supported), is_openai=vendor == "openai")
