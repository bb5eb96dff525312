"""Bodies of requests, whichever format they are in: one JSON object, read once, its faults named by field."""

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from muxer.errors import InvalidJSON, InvalidRequest, InvalidUTF8
from muxer.wire.keys import check_keys

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
        check_keys(body)
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
