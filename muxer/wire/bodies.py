"""Bodies of requests, whichever format they are in: one JSON object, read once, its faults named by field."""

import binascii
import re
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from muxer.errors import InvalidJSON, InvalidMessages, InvalidRequest, InvalidUTF8, URLNotAllowed
from muxer.wire.openai_chat import decode_fields, encode

MAX_QUOTED = 80
T = TypeVar("T")
# A client that cuts a text in the middle of an emoji sends one half of its escape.
_HALF_PAIR = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)


def decoded(decode: Callable[[bytes], T], body: bytes, kinds: Mapping[str, type[InvalidRequest]]) -> T:
    """The body as a struct; `kinds` are the errors of fields that have one of their own. Raises InvalidRequest."""
    if not body:
        raise InvalidJSON("the body is empty; send a JSON object")
    try:
        body.decode()  # also what we pass on without reading it
        return decode(body)
    except msgspec.ValidationError as error:
        raise _field_error(str(error), kinds) from error
    except UnicodeDecodeError as error:
        raise InvalidUTF8(f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    except msgspec.DecodeError as error:
        if _HALF_PAIR.search(body):
            raise InvalidUTF8("the body has half of a surrogate pair; was a text cut inside an emoji?") from error
        raise InvalidJSON(f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise InvalidJSON("the body is nested too deeply") from error


def without_debug(body: bytes) -> tuple[bytes, bool]:
    """The body without our own field `muxer_debug`, which no provider knows, and whether that was true."""
    if b'"muxer_debug"' not in body:
        return body, False
    try:
        fields = decode_fields(body)
        wanted = msgspec.json.decode(fields.pop("muxer_debug", b"false"), type=bool)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if isinstance(error, msgspec.ValidationError):
            raise InvalidRequest("muxer_debug is true or false", param="muxer_debug") from error
        return body, False  # reading it will say what is wrong
    return encode(fields), wanted


def check_image(url: str, place: str) -> None:
    """Raises URLNotAllowed for an address that is neither https nor data, and InvalidMessages for data that is none
    (B29, B30). Nothing is fetched."""
    if url.startswith("https://"):
        return
    if not url.startswith("data:image/"):
        raise URLNotAllowed(f"{place}: must be an https address or a data: URL", param=place)
    _, is_base64, data = url.partition(";base64,")
    try:
        if is_base64:
            binascii.a2b_base64(data, strict_mode=True)
    except ValueError as error:  # not ASCII, or not base64
        raise InvalidMessages(f"{place}: the image's base64 is damaged", param=place) from error


def _field_error(message: str, kinds: Mapping[str, type[InvalidRequest]]) -> InvalidRequest:
    """`Expected int, got str - at $.messages[0].role` as an error with its param."""
    what, _, path = message.partition(" - at `$")
    param = path.rstrip("`").removeprefix(".")
    if not param:
        missing = re.search(r"required field `(\w+)`", what)
        if missing is None:
            return InvalidJSON(f"the body must be a JSON object: {what}")
        param = missing[1]
    kind = kinds.get(re.split(r"[.\[]", param)[0], InvalidRequest)
    # `what` may quote the value, which may be a megabyte.
    return kind(f"{param}: {what[:MAX_QUOTED]}", param=param)
