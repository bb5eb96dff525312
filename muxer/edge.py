"""What the server, and the routes of extensions, ask of an HTTP request: who calls, and its body."""

import re
from typing import TypeVar

import msgspec
from aiohttp import web

from muxer.errors import BodyTooLarge, EncodingUnsupported, InvalidJSON, InvalidRequest, UnsupportedMediaType
from muxer.types import Caller

T = TypeVar("T")
CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
"""Where the server leaves who calls, before a handler sees the request."""

_BOM = b"\xef\xbb\xbf"


def caller_of(request: web.Request) -> Caller:
    """Who calls; their role has been checked against the route's scope. On a public route it is `anonymous`."""
    return request[CALLER]


async def json_body(request: web.Request) -> bytes:
    """The body, checked for size and kind before it is read. Raises InvalidRequest."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise EncodingUnsupported("send the body uncompressed")
    kind = request.headers.get("Content-Type")
    if kind is not None and (
        request.content_type != "application/json" or (request.charset or "utf-8").lower() not in ("utf-8", "utf8")
    ):
        raise UnsupportedMediaType("send the body as `Content-Type: application/json` in UTF-8")
    if (request.content_length or 0) > request.client_max_size:
        raise too_large(request)
    return (await request.read()).removeprefix(_BOM)


def too_large(request: web.Request) -> BodyTooLarge:
    """What is said of a body over the limit."""
    return BodyTooLarge(f"the body is over {request.client_max_size} bytes (server.max_body_bytes)")


async def read_json(request: web.Request, type: type[T]) -> T:
    """The body as a value of that type. Raises InvalidRequest, which names the field."""
    return decode_json(await json_body(request), type)


def decode_json(body: bytes, type: type[T]) -> T:
    """JSON as a value of that type. Raises InvalidRequest, which names the field."""
    try:
        return msgspec.json.decode(body, type=type)
    except msgspec.ValidationError as error:
        raise _field_error(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidJSON("the body is not one JSON object") from error


def _field_error(message: str) -> InvalidRequest:
    """`Object contains unknown field `x` - at $.limits[0]` as an error with its param."""
    what, _, path = message.partition(" - at `$")
    place, named = path.rstrip("`").removeprefix("."), re.search(r" field `(.*)`$", what)
    param = ".".join(filter(None, (place, named[1] if named else "")))
    return InvalidRequest(f"{place}: {what}" if place else what, param=param or None)
