"""OpenAI, and every server that speaks its chat completions: vLLM, Ollama, Groq, Together and others by `base_url`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from muxer import Context, Dialect, Kind, OpenAIProvider, Provider, ProviderSettings, hookimpl
from muxer.wire.openai_chat import without_extra_content

OPENAI_URL = "https://api.openai.com/v1"


class OpenAISettings(ProviderSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`base_url` with its version path (`http://localhost:11434/v1`); none is OpenAI itself. `output_cap_field` is the
    name the server uses for the output cap."""

    output_cap_field: Literal["max_tokens", "max_completion_tokens"] | None = None


@asynccontextmanager
async def open_openai(settings: OpenAISettings, context: Context) -> AsyncIterator[Provider]:
    """A provider on the core's HTTP client; there is nothing to close of its own."""
    base_url = settings.base_url or OPENAI_URL
    yield OpenAIProvider("openai", base_url, settings, context.http, dialect(settings))


def dialect(settings: OpenAISettings) -> Dialect:
    """How the server differs. Some are gateways to vendors that want `extra_content` back; OpenAI refuses it."""
    if settings.base_url and not settings.base_url.startswith("https://api.openai.com/"):
        return Dialect(settings.output_cap_field or "max_tokens", completes_text=lambda model: True)
    # OpenAI's reasoning models refuse max_tokens; most compatible servers know only max_tokens.
    cap_field = settings.output_cap_field or "max_completion_tokens"
    return Dialect(cap_field, without_extra_content, completes_text=completes_text_at_openai)


def completes_text_at_openai(model: str) -> bool:
    """OpenAI answers 404 to all but its oldest models: "This is a chat model and not supported in the v1/completions
    endpoint"."""
    return model.removeprefix("ft:").startswith(("babbage-", "davinci-", "gpt-3.5-turbo-instruct"))


@hookimpl
def register_providers() -> list[Kind[Provider]]:
    """Offers the kind `openai`."""
    return [Kind("openai", OpenAISettings, open_openai)]
