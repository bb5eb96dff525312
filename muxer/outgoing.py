"""What leaves for a caller: an answer that is there as a whole, in one write, or a stream, piece by piece."""

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
    """An answer of events, written as they come; its head goes with the first."""

    __slots__ = ("_has_begun", "_headers", "_is_chunked", "_line", "_request")

    def __init__(self, request: Request, headers: Mapping[str, str]) -> None:
        self._request = request
        self._line = request.line
        self._headers = headers
        self._has_begun = False
        self._is_chunked = request.version == HttpVersion11

    async def write(self, data: bytes) -> None:
        """Writes something, and waits while the caller is slow. Raises ConnectionError when it has left."""
        if self._is_chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._line.write(data if self._has_begun else self._begun() + data)
        if self._line.writing_paused:
            await self._line.drained()

    def end(self) -> None:
        """Writes the end. Raises ConnectionError when the caller has left."""
        last = b"0\r\n\r\n" if self._is_chunked else b""
        self._line.write(last if self._has_begun else self._begun() + last)

    def _begun(self) -> bytes:
        self._has_begun = True
        closes = self._line.begin(self._request, closes=not self._is_chunked)
        framing = {"Transfer-Encoding": "chunked"} if self._is_chunked else {}
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", **self._headers, **framing}
        return _head(self._request, 200, headers, closes=closes)


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
