"""What of a chat request another vendor's format has no place for, by name."""

import re
from collections.abc import Container, Mapping

import msgspec
from msgspec import Raw

from muxer.types import Call, ChatRequest

_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def left_out(request: ChatRequest, taken: Container[str], idle: Mapping[str, object]) -> list[str]:
    """The names of OpenAI's fields that ask for something, and are not `taken`. A value of `idle` asks for nothing, so
    that leaving it out needs no word."""
    known = ChatRequest.__struct_fields__
    return [name for name in known if name not in taken and getattr(request, name) not in (None, idle.get(name))]


def other_fields(call: Call) -> dict[str, Raw]:
    """The caller's fields that are not OpenAI's. A name goes into a response header, so only what looks like a field
    counts."""
    if call.api != "openai.chat" or not call.raw:
        return {}
    known = ChatRequest.__struct_fields__
    return {
        name: value
        for name, value in _decode_fields(call.raw).items()
        if name not in known and bytes(value) != b"null" and _NAME.fullmatch(name)
    }
