"""What leaves for a caller: an answer that is there as a whole, in one write, or a stream, piece by piece."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import HttpVersion10, HttpVersion11
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http_writer import _serialize_headers

from muxer.edge import SERVER, Request

FRAMING = frozenset({"connection", "content-length", "content-type", "date", "server", "transfer-encoding"})
"""The headers that are set here alone, in lower case."""
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Whole:
    """An answer that is there as a whole; JSON, if its headers do not say otherwise."""

    __slots__ = ("_body", "_closes", "_headers", "_status")

    def __init__(
        self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None, *, closes: bool = False
    ) -> None:
        self._body = body
        self._status = status
        self._headers = headers or {}
        self._closes = closes

    def last(self) -> "Whole":
        """The same as the last answer of its connection."""
        return Whole(self._body, self._status, self._headers, closes=True)

    def write(self, request: Request) -> None:
        """Writes it. Raises ConnectionError when the caller has left."""
        closes = request.line.begin(request, closes=self._closes)
        framing = {"Content-Length": str(len(self._body))}
        headers = {"Content-Type": "application/json", **self._headers, **framing}
        head = _head(request, self._status, headers, closes=closes)
        request.line.write(head if request.method == "HEAD" else head + self._body)


class Stream:
    """An answer of events, written as they come; its head goes with the first.

    What comes in one turn of the loop leaves in one write: upstreams often send several events at once, and to the
    kernel each write costs as much as all else that is done for an event.
    """

    __slots__ = ("_has_begun", "_head", "_headers", "_is_chunked", "_line", "_loop", "_pieces", "_request")

    def __init__(self, request: Request, headers: Mapping[str, str]) -> None:
        self._request = request
        self._line = request.line
        self._loop = asyncio.get_running_loop()
        self._headers = headers
        self._is_chunked = request.version == HttpVersion11
        self._has_begun = False
        self._head = b""
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> bool:
        """Writes something; True when the caller is slow, and `drained` should be waited for. Raises ConnectionError
        when it has left."""
        if not self._line.is_open:
            raise ConnectionResetError("the caller has left")
        self._begin()
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)
        return self._line.writing_paused

    async def drained(self) -> None:
        """Waits until the caller has taken of what was written. Raises ConnectionError when it has left."""
        await self._line.drained()

    def end(self) -> None:
        """Writes the end. Raises ConnectionError when the caller has left."""
        self._begin()
        self._line.write(self._gathered() + (b"0\r\n\r\n" if self._is_chunked else b""))

    def _begin(self) -> None:
        if self._has_begun:
            return
        self._has_begun = True
        closes = self._line.begin(self._request, closes=not self._is_chunked)
        framing = {"Transfer-Encoding": "chunked"} if self._is_chunked else {}
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", **self._headers, **framing}
        self._head = _head(self._request, 200, headers, closes=closes)

    def _flush(self) -> None:
        if self._pieces and self._line.is_open:
            self._line.write(self._gathered())

    def _gathered(self) -> bytes:
        """What was written since, as it goes over the wire."""
        data, head = b"".join(self._pieces), self._head
        self._head = b""
        self._pieces.clear()
        return head + (b"%x\r\n%b\r\n" % (len(data), data) if data and self._is_chunked else data)


def _head(request: Request, status: int, headers: Mapping[str, str], *, closes: bool) -> bytes:
    """The head of an answer. Raises ValueError for what would break out of a header."""
    version = request.version
    headers = {**headers, "Date": rfc822_formatted_time(), "Server": SERVER}
    if closes:
        headers["Connection"] = "close"
    elif version == HttpVersion10:
        headers["Connection"] = "keep-alive"
    start = f"HTTP/{version.major}.{version.minor} {status} {_REASONS.get(status, '')}"
    return _serialize_headers(start, headers)  # type: ignore[arg-type]  # it asks a mapping for no more than its items
