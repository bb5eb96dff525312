"""The texts of a request that its messages do not show as text, so that nothing in them can be replaced."""

from collections.abc import Iterator
from typing import Any

import msgspec

# Named in docs/plugins/redact.md as not looked at, or bytes that are no text, or names that systems gave.
_LEFT_OUT = frozenset(
    {"role", "name", "id", "tool_call_id", "tool_use_id", "cache_control", "file_data", "signature", "type"}
    | {"reasoning", "reasoning_content", "reasoning_details", "encrypted_content", "encrypted_index"}
)
_UNREAD = frozenset({"image", "image_url", "input_audio", "thinking", "redacted_thinking"})
_SHOWN = {"text": "text", "refusal": "refusal", "tool_use": "input"}
"""Of parts that the messages show: the field in which they do."""


def elsewhere(raw: bytes) -> Iterator[str]:
    """Texts of documents and search results, also where a tool returned them, of quotations, of calls in the old form,
    and the suffix of a completion."""
    fields: dict[str, Any] = msgspec.json.decode(raw)
    yield from _texts(fields.get("suffix"))
    for message in fields.get("messages") or ():
        yield from _parts(message.get("content"))
        yield from _texts({name: value for name, value in message.items() if name not in ("content", "tool_calls")})


def _parts(content: object) -> Iterator[str]:
    for part in content if isinstance(content, list) else ():
        kind = part.get("type")
        if kind == "tool_result":
            yield from _parts(part.get("content"))
        elif kind not in _UNREAD:
            yield from _texts({name: value for name, value in part.items() if name != _SHOWN.get(kind)})


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, dict):
        is_base64 = value.get("type") == "base64"
        for name, one in value.items():
            if name not in _LEFT_OUT and not (is_base64 and name == "data"):
                yield from _texts(one)
