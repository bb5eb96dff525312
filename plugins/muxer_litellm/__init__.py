"""LiteLLM's world: its providers, and a `CustomLLM` or `CustomLogger` of one's own; imported only when configured."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from muxer import Context, Kind, Provider, Sink, hookimpl
from muxer_litellm.files import load_instance
from muxer_litellm.handlers import registered
from muxer_litellm.library import open_library
from muxer_litellm.logger import open_sink
from muxer_litellm.provider import LiteLLM
from muxer_litellm.settings import LiteLLMSettings, LoggerSettings

__all__ = ["LiteLLM", "LiteLLMSettings", "LoggerSettings", "open_litellm", "open_logger"]


@asynccontextmanager
async def open_litellm(settings: LiteLLMSettings, context: Context) -> AsyncIterator[Provider]:
    """A provider on LiteLLM's own clients. Raises ConfigInvalid where LiteLLM or the handler cannot be had."""
    async with open_library(context.log) as library:
        with ExitStack() as stack:
            vendor = ""
            if settings.handler is not None:
                instance = load_instance(settings.handler, context.folder)
                vendor = stack.enter_context(registered(instance, settings.handler, library))
            yield LiteLLM(settings, library, vendor)


@asynccontextmanager
async def open_logger(settings: LoggerSettings, context: Context) -> AsyncIterator[Sink]:
    """A sink that tells a logger. Raises ConfigInvalid where LiteLLM or the logger cannot be had."""
    async with open_library(context.log) as library:
        yield open_sink(load_instance(settings.logger, context.folder), settings, library, context.log)


@hookimpl
def register_providers() -> list[Kind[Provider]]:
    """Offers the kind `litellm`."""
    return [Kind("litellm", LiteLLMSettings, open_litellm)]


@hookimpl
def register_sinks() -> list[Kind[Sink]]:
    """Offers the kind `litellm`."""
    return [Kind("litellm", LoggerSettings, open_logger)]
