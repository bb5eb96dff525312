"""What a vendor wants back with a tool call, carried through formats whose only place for it is an opaque text."""

import base64
import binascii
from collections.abc import Mapping

import msgspec

from muxer.types import ExtraContent

PREFIX = "muxer1."
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, dict[str, object]]).decode


def packed(call_id: str, extra: ExtraContent) -> str:
    """The text for one call; empty where there is nothing to carry."""
    if not isinstance(extra, dict) or not extra:
        return ""
    return PREFIX + base64.urlsafe_b64encode(_encode({call_id: extra})).decode()


def is_packed(text: str) -> bool:
    """Whether a text is one of ours: no vendor can read it."""
    return text.startswith(PREFIX)


def unpacked(text: str) -> Mapping[str, dict[str, object]]:
    """What each call carried, by its id; nothing for a text that is not ours or was tampered with."""
    if not is_packed(text):
        return {}
    try:
        return _decode(base64.urlsafe_b64decode(text.removeprefix(PREFIX)))
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
        return {}
