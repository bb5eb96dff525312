"""Mistral's own API: OpenAI's format but for a few names and rules; it refuses every field it does not know."""

import hashlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

import msgspec
from msgspec import Raw

from muxer import (
    Context,
    Dialect,
    Kind,
    NamedFunction,
    OpenAIProvider,
    Provider,
    ProviderSettings,
    ToolChoice,
    Unsupported,
    hookimpl,
)

MISTRAL_URL = "https://api.mistral.ai/v1"
MAX_TEMPERATURE = 1.5

# https://docs.mistral.ai/api/#tag/chat: anything else is answered with 422 "Extra inputs are not permitted".
_KNOWN = frozenset({
    "model", "messages", "temperature", "top_p", "max_tokens", "stream", "stop", "random_seed", "response_format",
    "tools", "tool_choice", "presence_penalty", "frequency_penalty", "n", "prediction", "parallel_tool_calls",
    "prompt_mode", "reasoning_effort", "safe_prompt", "metadata", "guardrails", "prompt_cache_key", "min_tokens",
    "repetition_penalty", "top_k", "logprobs", "top_logprobs", "prompt_logprobs", "top_prompt_logprobs", "service_tier",
})  # fmt: skip
# https://docs.mistral.ai/api/#tag/embeddings
_KNOWN_FOR_EMBEDDINGS = frozenset({"model", "input", "metadata", "encoding_format", "output_dimension", "output_dtype"})
# A stream's last chunk always has the usage, so the option that asks for it goes without a word.
_SILENT = frozenset({"stream_options"})
# What a message of a role may have. OpenAI's clients send back what they got: `refusal`, `annotations`, `audio`.
_KEPT = {
    "system": frozenset({"role", "content"}),
    "user": frozenset({"role", "content"}),
    "assistant": frozenset({"role", "content", "tool_calls", "prefix"}),
    "tool": frozenset({"role", "content", "tool_call_id", "name"}),
}
_ROLES = {"developer": "system", "function": "user"}
_CALL = frozenset({"id", "type", "function"})
_TIERS = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
# "Unexpected role 'user' after role 'tool'": Mistral wants a turn of the assistant's between the two.
_BRIDGE = {"role": Raw(b'"assistant"'), "content": Raw(b'"Understood."')}
_ID = re.compile(r"[A-Za-z0-9]{9}")
_NULL = b"null"

_encode = msgspec.json.Encoder().encode
_split = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_choice = msgspec.json.Decoder(ToolChoice).decode
_decode_name = msgspec.json.Decoder(NamedFunction).decode
_decode_number = msgspec.json.Decoder(float | None).decode

Fields = dict[str, Raw]


class MistralSettings(ProviderSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Nothing of its own: see ProviderSettings."""


def _adapt(fields: Fields) -> list[str]:
    """Says in Mistral's words what has others there, and drops what it does not know."""
    fields["messages"] = Raw(_encode(list(_messages(_split(fields["messages"])))))
    _choose(fields)
    dropped = [*_seed(fields), *_temperature(fields), *_tier(fields)]
    unknown = [name for name in fields if name not in _KNOWN]
    for name in unknown:
        del fields[name]
    return [*dropped, *(name for name in unknown if name not in _SILENT)]


def _adapt_embedding(fields: Fields) -> list[str]:
    """Mistral embeds texts only, and has another word for the length of a vector."""
    first = bytes(fields["input"]).lstrip(b"[ \t\r\n")[:1]
    if first != b'"':
        raise Unsupported("input: mistral embeds texts only, no tokens", param="input")
    dimensions = fields.pop("dimensions", None)
    if dimensions is not None and bytes(dimensions) != _NULL:
        fields["output_dimension"] = dimensions
    unknown = [name for name in fields if name not in _KNOWN_FOR_EMBEDDINGS]
    for name in unknown:
        del fields[name]
    return unknown


def _seed(fields: Fields) -> list[str]:
    seed = fields.pop("seed", None)
    if seed is None or bytes(seed) == _NULL:
        return []
    if bytes(seed).startswith(b"-"):
        return ["seed"]
    fields["random_seed"] = seed
    return []


def _choose(fields: Fields) -> None:
    """Mistral has no word for some of the tools: only those are offered then."""
    choice = fields.get("tool_choice", Raw(_NULL))
    allowed = _decode_choice(choice).allowed_tools if bytes(choice).startswith(b"{") else None
    if allowed is None:
        return
    names = {one.function.name for one in allowed.tools if one.function}
    offered = [tool for tool in _split(fields.get("tools", Raw(b"[]"))) if "function" in tool]
    tools = [tool for tool in offered if _decode_name(tool["function"]).name in names]
    if not tools:
        raise Unsupported("tool_choice.allowed_tools: none of them is among the tools", param="tool_choice")
    fields |= {"tools": Raw(_encode(tools)), "tool_choice": Raw(_encode(allowed.mode))}


def _temperature(fields: Fields) -> list[str]:
    asked = _decode_number(fields.get("temperature", _NULL))
    if asked is None or asked <= MAX_TEMPERATURE:
        return []
    fields["temperature"] = Raw(_encode(MAX_TEMPERATURE))
    return ["temperature"]


def _tier(fields: Fields) -> list[str]:
    """OpenAI's default is the standard capacity; Mistral's `auto` may take the dearer one."""
    asked = fields.pop("service_tier", None)
    if asked is None or bytes(asked) == _NULL:
        return []
    tier = _TIERS.get(_decode_text(asked))
    if tier is None:
        return ["service_tier"]
    fields["service_tier"] = Raw(_encode(tier))
    return []


def _messages(messages: list[Fields]) -> Iterator[Fields]:
    """The conversation as Mistral takes it."""
    before = ""
    for number, message in enumerate(messages):
        role = _decode_text(message["role"])
        role = _ROLES.get(role, role)
        if before == "tool" and role == "user":
            yield _BRIDGE
        before = role
        kept = {name: value for name, value in message.items() if name in _KEPT[role]}
        kept["role"] = Raw(_encode(role))
        yield _message(kept, role, is_last=number == len(messages) - 1)


def _message(message: Fields, role: str, *, is_last: bool) -> Fields:
    content = message.get("content")
    if content is not None and bytes(content).startswith(b"["):
        message["content"] = Raw(_encode([part for each in _split(content) for part in _part(each)]))
    if role == "tool" and "tool_call_id" in message:
        message["tool_call_id"] = _id(message["tool_call_id"])
    calls = message.get("tool_calls")
    if calls is not None and bytes(calls) not in (_NULL, b"[]"):
        message["tool_calls"] = Raw(_encode([_call(call) for call in _split(calls)]))
    elif role == "assistant":
        message.pop("tool_calls", None)
        if content is None or bytes(content) == _NULL:
            message["content"] = Raw(b'""')
        if is_last:
            # "Expected last role User or Tool (or Assistant with prefix True)"
            message.setdefault("prefix", Raw(b"true"))
    return message


def _part(part: Fields) -> Iterator[Fields]:
    kind = _decode_text(part["type"])
    if kind == "refusal":
        yield {"type": Raw(b'"text"'), "text": part["refusal"]}
    elif kind != "thinking" or bytes(part.get("thinking", b"")).startswith(b"["):
        # Thoughts in another shape than Mistral's are another vendor's.
        yield part


def _call(call: Mapping[str, Raw]) -> Fields:
    kept = {name: value for name, value in call.items() if name in _CALL}
    return {**kept, "id": _id(call["id"])}


def _id(id: Raw) -> Raw:
    """Mistral takes ids of 9 letters and digits ("Tool call id was ... but must be a-z, A-Z, 0-9, with a length of 9"):
    those of other models become a digest of theirs."""
    text = _decode_text(id)
    if _ID.fullmatch(text):
        return id
    return Raw(_encode(hashlib.sha256(text.encode()).hexdigest()[:9]))


@asynccontextmanager
async def open_mistral(settings: MistralSettings, context: Context) -> AsyncIterator[Provider]:
    """A provider on the core's HTTP client; there is nothing to close of its own."""
    base_url = settings.base_url or MISTRAL_URL
    yield OpenAIProvider("mistral", base_url, settings, context.http, Dialect("max_tokens", _adapt, _adapt_embedding))


@hookimpl
def register_providers() -> list[Kind[Provider]]:
    """Offers the kind `mistral`."""
    return [Kind("mistral", MistralSettings, open_mistral)]
