"""What the server, and the routes of extensions, ask of an HTTP request: that it is one, who calls, and its body."""

import asyncio
import re
from typing import Protocol, TypeVar

import msgspec
from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.web_protocol import RequestPayloadError
from msgspec import Struct

from muxer import json_guard
from muxer.admission import Room
from muxer.errors import (
    BodyTooLarge,
    ClientGone,
    ConfigInvalid,
    EncodingUnsupported,
    Fault,
    InvalidJSON,
    InvalidRequest,
    UnsupportedMediaType,
)
from muxer.refusals import BadHTTP, BodyTimeout, HTTPVersionUnsupported
from muxer.types import Caller

T = TypeVar("T")
SERVER = "modelmuxer"  # aiohttp names itself and Python with their versions; that is nobody's business (RELIABILITY 4)
LEAST_BYTES_PER_S = 1_000  # of a body, once its `body_s` are over
LEAST_AIOHTTP = (3, 14, 4)
_VERSIONS = (HttpVersion11, HttpVersion10)


class Patience(Struct, frozen=True):
    """How long callers are waited for, in seconds: an answer is read on for its usage after its caller left (S11), a
    caller may take no byte of a stream before it counts as gone (B62), the head of a request and its body may take
    (B5, B6), and what is left of a refused body is read before the connection is closed."""

    drain_s: float = 60.0
    write_s: float = 60.0
    head_s: float = 10.0
    body_s: float = 30.0
    linger_s: float = 5.0


PATIENCE = Patience()
_SMALL_BYTES = 64 * 1024  # of a body: what aiohttp reads anyway

_BOM = b"\xef\xbb\xbf"


class Line(Protocol):
    """The connection that a request came over, as its answer sees it."""

    @property
    def writing_paused(self) -> bool:
        """Whether the caller has yet to take much of what was written."""

    def begin(self, request: "Request", *, closes: bool) -> bool:
        """An answer begins; True when it is the last one: because it says so itself, or for any other reason. Raises
        ConnectionError where a part of another one was sent."""

    def write(self, data: bytes) -> None:
        """Sends. Raises ConnectionError when the caller has left."""

    async def drained(self) -> None:
        """Waits until the caller has taken of what was written. Raises ConnectionError when it has left."""


class Request(web.Request):
    """A request with what the server finds out about it: who calls, before a handler sees it; its body, which comes but
    once; and how much it has taken of the room for large bodies."""

    ATTRS = web.Request.ATTRS | {"body", "caller", "patience", "room", "room_taken"}
    patience: Patience
    room: Room
    room_taken = 0
    caller: Caller
    body: bytes | None = None

    @property
    def line(self) -> Line:
        """The connection it came over."""
        return self._protocol  # type: ignore[return-value]  # aiohttp knows no connection but its own

    def matched(self, found: web.UrlMappingMatchInfo) -> None:
        """Takes in which route it goes to."""
        self._match_info = found

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        """Called by aiohttp's own responses, those of extensions, before their heads are written."""
        response.headers["Server"] = SERVER
        if self.line.begin(self, closes=response.keep_alive is False):
            response.headers["Connection"] = "close"
            response.force_close()


def check_library(version: str, *, is_compiled: bool) -> None:
    """Whether this aiohttp may stand at the edge. Raises ConfigInvalid for one with known holes, and for one without
    its C parser: the one in Python was the weak one in each of its security releases (RELIABILITY 4)."""
    remedy = "install it from a wheel: pip install --upgrade --only-binary aiohttp 'aiohttp>=3.14.4'"
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if numbers < LEAST_AIOHTTP:
        raise ConfigInvalid([Fault(f"aiohttp {version} has holes that are closed in 3.14.4", hint=remedy)])
    if not is_compiled:
        raise ConfigInvalid([Fault("this aiohttp runs without its C parser", hint=remedy)])


def caller_of(request: web.Request) -> Caller:
    """Who calls; their role has been checked against the route's scope. On a public route it is `anonymous`."""
    return ours(request).caller


def check_http(request: web.BaseRequest) -> None:
    """Refuses what aiohttp lets pass: other versions of HTTP, and addresses that name a host (B2, B3). Raises
    HTTPVersionUnsupported and BadHTTP."""
    if request.version not in _VERSIONS:
        raise HTTPVersionUnsupported("this proxy speaks HTTP/1.1 and HTTP/1.0")
    if not request.raw_path.startswith("/"):
        raise BadHTTP("the address must be a path that begins with /")


async def json_body(request: web.Request) -> bytes:
    """The body, checked for size and kind before it is read, and for what no JSON may have after. Raises
    InvalidRequest."""
    request = ours(request)
    if request.body is not None:
        return request.body
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise EncodingUnsupported("send the body uncompressed")
    kind = request.headers.get("Content-Type")
    if kind not in (None, "application/json") and (
        request.content_type != "application/json" or (request.charset or "utf-8").lower() not in ("utf-8", "utf8")
    ):
        raise UnsupportedMediaType("send the body as `Content-Type: application/json` in UTF-8")
    if (request.content_length or 0) > request.client_max_size:
        raise too_large(request)
    body = (await _whole_body(request)).removeprefix(_BOM)
    json_guard.check(body)
    request.body = body
    return body


def ours(request: web.Request) -> Request:
    """The request as the server made it."""
    assert isinstance(request, Request), "routes are served by our own server"
    return request


async def _whole_body(request: Request) -> bytes:
    if request.content.is_eof():
        whole = request.content.read_nowait()
        if len(whole) > request.client_max_size:
            raise too_large(request)
        return whole
    length, most = request.content_length, request.client_max_size
    if length is None or length > _SMALL_BYTES:
        size = min(most if length is None else length, most)
        await request.room.take(size)
        request.room_taken = size
    loop = asyncio.get_running_loop()
    body, last = bytearray(), loop.time() + request.patience.body_s
    try:
        async with asyncio.timeout_at(last) as deadline:
            while piece := await request.content.readany():
                body += piece
                if len(body) > request.client_max_size:
                    raise too_large(request)
                deadline.reschedule(last + len(body) / LEAST_BYTES_PER_S)
    except TimeoutError:
        raise BodyTimeout(f"only {len(body)} bytes of the body came in time") from None
    except RequestPayloadError as error:
        raise BadHTTP("the body is not as its headers say") from error
    except ConnectionError as error:
        raise ClientGone("the caller left before its request was whole") from error
    return bytes(body)


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
