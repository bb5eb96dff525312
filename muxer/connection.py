"""One connection to an upstream: a request out, its answer in by aiohttp's C parser, one timer for all deadlines."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping

from aiohttp import EMPTY_PAYLOAD, StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpResponseParser, RawResponseMessage

from muxer.failures import ProviderFailed, UpstreamBadResponse, UpstreamCut, UpstreamTimeout
from muxer.interfaces import Timeouts

MAX_ANSWER_BYTES = 32 * 1024 * 1024
READ_BYTES = 64 * 1024  # an answer that nobody reads is taken in up to twice this

INCOMPLETE = "the upstream cut the connection before its answer was complete"
NOT_HTTP = "the upstream does not answer in valid HTTP"
TOO_LATE = "the upstream stopped answering before its deadline"
TOO_LONG = f"the answer is longer than {MAX_ANSWER_BYTES} bytes"


def broke(error: Exception) -> UpstreamCut:
    """What an error of the operating system means once the request is sent."""
    return UpstreamCut(f"the connection to the upstream broke ({type(error).__name__})")


class ConnectionReply:
    """`Reply`, as it comes from one connection."""

    def __init__(self, message: RawResponseMessage, payload: StreamReader) -> None:
        self.status = message.code
        self.headers: Mapping[str, str] = message.headers
        self._payload = payload

    async def read(self) -> bytes:
        """See Reply."""
        first = await self._payload.readany()
        if self._payload.at_eof() and len(first) <= MAX_ANSWER_BYTES:
            return first  # most answers come in one piece
        body = bytearray(first)
        async for piece in self.chunks(len(body)):
            body += piece
        return bytes(body)

    async def chunks(self, size: int = 0) -> AsyncIterator[bytes]:
        """See Reply; `size` is what was read before."""
        read = self._payload.readany
        while piece := await read():
            size += len(piece)
            if size > MAX_ANSWER_BYTES:
                raise UpstreamBadResponse(TOO_LONG)
            yield piece


class Connection(BaseProtocol):
    """Serves one request after the other. aiohttp's reader of an answer's body holds the socket back through its base.

    One timer serves the deadlines of a request: it is set anew where the next one is sooner, and looks again when it
    rings where bytes have put it off.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, forget: Callable[["Connection"], None]) -> None:
        super().__init__(loop)
        self.idle_since = 0.0
        self._forget = forget
        self._waiter: asyncio.Future[ConnectionReply] | None = None
        self._payload: StreamReader = EMPTY_PAYLOAD
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = self._total_at = math.inf
        self._idle_s = math.inf
        self._is_spent = False

    async def ask(self, head: bytes, body: bytes, timeouts: Timeouts, begun: float) -> ConnectionReply:
        """Sends a request and waits for the head of its answer; deadlines count from `begun`, by the loop's clock.
        Raises ProviderFailed that may have been billed."""
        if self.transport is None:
            raise UpstreamCut(INCOMPLETE)
        self._parser = HttpResponseParser(
            self, self._loop, READ_BYTES, payload_exception=_Undecodable, read_until_eof=True
        )
        self._payload = EMPTY_PAYLOAD
        self._idle_s = timeouts.idle_s
        self._total_at = begun + timeouts.total_s
        self._set(min(self._total_at, begun + timeouts.first_byte_s))
        self._waiter = self._loop.create_future()
        self.transport.writelines((head, body))
        return await self._waiter

    def finish(self) -> bool:
        """Ends the request. True when the next may follow: the answer was whole, and nothing speaks against it."""
        self._set(math.inf)
        if (
            self.transport is None
            or self._is_spent
            or self._waiter is not None
            or not self._payload.is_eof()
            or self._reading_paused
            or self.transport.is_closing()
            or self.transport.get_write_buffer_size()  # an answer before the request was all sent
        ):
            self.close()
            return False
        self._parser = None
        self._payload = EMPTY_PAYLOAD
        self.idle_since = self._loop.time()
        return True

    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return self.transport is not None and not self.transport.is_closing()

    def close(self) -> None:
        """Drops the connection, whatever is under way on it."""
        self._is_spent = True
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer; none when its reader has room again."""
        if self._parser is None:
            self.close()  # nobody asked
            return
        if data:
            # The timer rings no later than the old deadline and looks at this one then.
            self._deadline = min(self._total_at, self._loop.time() + self._idle_s)
        try:
            messages, _, _ = self._parser.feed_data(data)
        except HttpProcessingError as error:
            self._fail(UpstreamBadResponse(NOT_HTTP), error)
            return
        for message, payload in messages:
            if message.code == 101 or message.code >= 200:
                self._begin(message, payload)

    def _begin(self, message: RawResponseMessage, payload: StreamReader) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            self._is_spent = True  # an answer too many
            return
        self._is_spent = self._is_spent or message.should_close or message.upgrade
        self._payload = payload
        if payload.is_eof():
            self._set(math.inf)
        else:
            self._set(min(self._total_at, self._loop.time() + self._idle_s))
            payload.on_eof(self._rest)
        waiter.set_result(ConnectionReply(message, payload))

    def connection_lost(self, exc: BaseException | None) -> None:
        """The end of the answer where it has no other, else a cut."""
        super().connection_lost(exc)
        self._forget(self)
        error = broke(exc) if isinstance(exc, Exception) else UpstreamCut(INCOMPLETE)
        if self._waiter is None and exc is None and not self._payload.is_eof() and self._parser is not None:
            try:
                self._parser.feed_eof()
            except HttpProcessingError as cause:
                self._fail(error, cause)
            return
        self._fail(error, exc)

    def pause_reading(self) -> None:
        """The reader of the answer is behind: the silence that follows is ours."""
        super().pause_reading()
        self._deadline = self._total_at

    def resume_reading(self, resume_parser: bool = True) -> None:
        """The reader has room again. It says so after each piece, also where nothing was held back."""
        if not self._reading_paused:
            return
        self._set(min(self._total_at, self._loop.time() + self._idle_s))
        super().resume_reading(resume_parser)

    def _fail(self, error: ProviderFailed, cause: BaseException | None = None) -> None:
        """Whoever waits is told; what came whole before stays good."""
        error.__cause__ = cause
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            if not waiter.done():
                waiter.set_exception(error)
        elif not self._payload.is_eof() and self._payload.exception() is None:
            self._payload.set_exception(error)
        self._set(math.inf)
        self.close()

    def _rest(self) -> None:
        self._set(math.inf)

    def _set(self, deadline: float) -> None:
        """Makes the timer ring by this time; at no time when it is infinite."""
        self._deadline = deadline
        timer = self._timer
        if timer is not None:
            if timer.when() <= deadline < math.inf:
                return
            timer.cancel()
            self._timer = None
        if deadline < math.inf:
            self._timer = self._loop.call_at(deadline, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._loop.time() < self._deadline:
            self._set(self._deadline)
        else:
            self._fail(UpstreamTimeout(TOO_LATE))


class _Undecodable(UpstreamBadResponse):
    """As the parser raises it for a body, with words of its own that are left out."""

    def __init__(self, _: str) -> None:
        super().__init__(NOT_HTTP)
