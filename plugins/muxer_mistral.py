"""Mistral's own API: OpenAI's format but for a few names; unknown fields are dropped, since it refuses them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from msgspec import Raw

from muxer import Context, Dialect, Kind, OpenAIProvider, Provider, ProviderSettings, hookimpl
from muxer.wire.openai_chat import without_extra_content

MISTRAL_URL = "https://api.mistral.ai/v1"

# https://docs.mistral.ai/api/#tag/chat: anything else is answered with 422 "Extra inputs are not permitted".
_KNOWN = frozenset({
    "model", "messages", "temperature", "top_p", "max_tokens", "stream", "stop", "random_seed", "response_format",
    "tools", "tool_choice", "presence_penalty", "frequency_penalty", "n", "prediction", "parallel_tool_calls",
    "prompt_mode", "reasoning_effort", "safe_prompt", "metadata", "guardrails", "prompt_cache_key",
})  # fmt: skip
# A stream's last chunk always has the usage, so the option that asks for it goes without a word.
_SILENT = frozenset({"stream_options"})

_split_messages = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_decode_role = msgspec.json.Decoder(str).decode


class MistralSettings(ProviderSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Nothing of its own: see ProviderSettings."""


def _adapt(fields: dict[str, Raw]) -> list[str]:
    """Renames what has another name at Mistral and drops what it does not know."""
    seed = fields.pop("seed", None)
    if seed is not None:
        fields["random_seed"] = seed
    without_extra_content(fields)
    if b"developer" in bytes(fields["messages"]):
        fields["messages"] = _without_developer(fields["messages"])
    unknown = [name for name in fields if name not in _KNOWN]
    for name in unknown:
        del fields[name]
    return [name for name in unknown if name not in _SILENT]


def _without_developer(messages: Raw) -> Raw:
    """The messages with the role `developer` by its older name."""
    split = _split_messages(messages)
    for message in split:
        if _decode_role(message["role"]) == "developer":
            message["role"] = Raw(b'"system"')
    return Raw(msgspec.json.encode(split))


@asynccontextmanager
async def open_mistral(settings: MistralSettings, context: Context) -> AsyncIterator[Provider]:
    """A provider on the core's HTTP client; there is nothing to close of its own."""
    base_url = settings.base_url or MISTRAL_URL
    yield OpenAIProvider("mistral", base_url, settings, context.http, Dialect("max_tokens", _adapt))


@hookimpl
def register_providers() -> list[Kind[Provider]]:
    """Offers the kind `mistral`."""
    return [Kind("mistral", MistralSettings, open_mistral)]
