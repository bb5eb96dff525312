"""One connection of a caller: requests in by aiohttp's C parser, one answer after the other out, one timer for all."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Protocol

from aiohttp import EMPTY_PAYLOAD, StreamReader, hdrs, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser, HttpVersion11, RawRequestMessage, StreamWriter
from aiohttp.http_exceptions import BadHttpMessage, BadHttpMethod, LineTooLong
from aiohttp.tcp_helpers import tcp_keepalive
from aiohttp.web_protocol import ERROR, RequestPayloadError

from muxer.edge import Patience, Request
from muxer.errors import MethodNotAllowed, MuxerError
from muxer.outgoing import Stream, Whole
from muxer.refusals import BadHTTP, HeadersTimeout, HeadersTooLarge

KEEPALIVE_S = 75.0  # longer than the 60 s after which common load balancers drop idle connections
READ_BYTES = 256 * 1024  # a body that nobody reads is taken in up to twice this
MOST_WAITING = 32  # requests sent ahead of their answers; what follows them stays in the socket
SERVED_METHODS = ("DELETE", "GET", "POST")
_LINE_BYTES = 8_190
_MOST_HEADERS = 128
_NEW_S = 1.0  # in which a first request is still likely to come
_TOO_MANY = "Too many headers received"  # aiohttp has no type for it

Outgoing = Whole | Stream | web.StreamResponse
"""What answers a request; aiohttp's own are for the routes of extensions."""


class Host(Protocol):
    """What a connection is served by."""

    patience: Patience
    max_body_bytes: int

    @property
    def is_last(self) -> Callable[[], bool]:
        """Whether every connection is closed after its answer."""

    def joined(self, connection: "Incoming") -> None:
        """Takes in a new connection."""

    def left(self, connection: "Incoming") -> None:
        """Lets go of one that is closed; it may still have a task."""

    def refused(self, request: Request, *, is_first: bool) -> Whole | None:
        """The answer to what is not passed on; None for what is. `is_first`: there was none before it."""

    def refuse(self, request: Request, error: MuxerError) -> Whole:
        """An error as the answer to a request, the last of its connection."""

    @property
    def respond(self) -> Callable[[Request], Awaitable[Outgoing]]:
        """Answers a request, errors included."""


class Incoming(BaseProtocol):
    """One connection. Each request has a task of its own, one at a time; who asks nothing has none.

    aiohttp's reader of a body holds the socket back through its base. The timer looks after what no task does: a
    request that does not come, or not to the end of its head, and an answer that is not taken. It is set anew only
    where its deadline has become sooner, and looks again when it rings.
    """

    __slots__ = (
        "_context", "_count", "_deadline", "_has_begun", "_host", "_is_deaf", "_is_heading", "_is_last", "_made_at",
        "_newest", "_payload", "_timer", "_unsent", "_waiting", "peername", "sockname", "task",
    )  # fmt: skip
    ssl_context = None
    max_field_size = _LINE_BYTES
    max_headers = _MOST_HEADERS

    def __init__(self, loop: asyncio.AbstractEventLoop, host: Host) -> None:
        parser = HttpRequestParser(
            self,
            loop,
            READ_BYTES,
            max_line_size=_LINE_BYTES,
            max_headers=_MOST_HEADERS,
            max_field_size=_LINE_BYTES,
            payload_exception=RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=MOST_WAITING,
        )
        super().__init__(loop, parser)
        self.task: asyncio.Task[None] | None = None
        self._host = host
        self._waiting = deque[tuple[RawRequestMessage | MuxerError, StreamReader]]()
        self._newest: StreamReader = EMPTY_PAYLOAD
        self._payload: StreamReader = EMPTY_PAYLOAD
        self._count = 0
        self._is_deaf = False  # nothing can be parsed any more
        self._is_last = False  # the request under way is
        self._is_heading = False
        self._has_begun = False
        self._unsent = 0
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody came."""
        super().connection_made(transport)
        assert self.transport is not None
        tcp_keepalive(self.transport)
        self.peername = transport.get_extra_info("peername")
        self.sockname = transport.get_extra_info("sockname")
        self._made_at = self._loop.time()
        self._context = copy_context()
        self._rest()
        self._host.joined(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """They left. A request under way is not cancelled: it may have cost money, which its task has to learn."""
        super().connection_lost(exc)
        self._is_deaf = True
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        if not self._payload.is_eof():
            self._payload.set_exception(ConnectionResetError("the caller left"))
        self._host.left(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of requests; none when a reader has room again."""
        if self._is_deaf:
            return
        assert self._parser is not None
        try:
            messages, self._is_deaf, _ = self._parser.feed_data(data)  # after an upgrade comes something else (B12)
        except HttpProcessingError as error:
            self._break(error)
            return
        if messages:
            self._count += len(messages)
            self._waiting += messages
            self._newest = messages[-1][1]
            if len(self._waiting) >= MOST_WAITING and not self._buffer_paused:
                self._pause_reading_for_buffer()
            self._go_on()
        elif data and not (self.task or self._paused or self._is_heading or self._is_last):
            self._is_heading = True
            self._set(self._loop.time() + self._host.patience.head_s)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """A reader has room again. It says so after each piece, also where nothing was held back."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def resume_writing(self) -> None:
        """The caller has taken of its answer."""
        super().resume_writing()
        self._go_on()

    @property
    def is_idle(self) -> bool:
        """Whether it only waits for a request, of which nothing has come, and is not quite new."""
        waits = not (self.task or self._paused or self._is_heading or self._is_last)
        return waits and self._loop.time() - self._made_at >= _NEW_S

    def finish(self) -> None:
        """Ends it, at once or after the answer that is under way."""
        self._is_last = True
        if self.task is None:
            self.close()

    def close(self) -> None:
        """Ends it as soon as what was written is sent; whoever does not take that is cut off."""
        self._is_last = True
        self._waiting.clear()
        if self.transport is not None:
            self.transport.close()
            self._watch()

    def abort(self) -> None:
        """Ends it now."""
        if self.transport is not None:
            self.transport.abort()

    def begin(self, request: Request, *, closes: bool) -> bool:
        """An answer begins; True when it is the last one: because it says so itself, or for any other reason. Raises
        ConnectionError where a part of another one was sent."""
        if self._has_begun:
            raise ConnectionError("an answer has begun; it cannot become another")
        self._has_begun = True
        if (
            closes
            or not request.keep_alive
            or self._host.is_last()
            or "Upgrade" in request.headers  # what follows may be meant for another protocol (B12)
            or (self._is_deaf and not self._waiting)
        ):
            self._is_last = True
        return self._is_last

    def write(self, data: bytes) -> None:
        """Sends. Raises ConnectionError when the caller has left."""
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the caller left")
        transport.write(data)

    async def drained(self) -> None:
        """Waits until the caller has taken of what was written. Raises ConnectionError when it has left."""
        await self._drain_helper()

    def _go_on(self) -> None:
        """The next request, once the caller has taken the answer to the last one; or a rest."""
        if self.task is not None or self._paused or self._is_last:
            return
        self._unsent = 0
        self._is_heading = False
        if not self._waiting:
            self._rest()
            return
        message, self._payload = self._waiting.popleft()
        # Not in the context of the request before it, whose task may be the one that is here.
        self.task = self._loop.create_task(self._serve(message, self._payload), context=self._context.copy())
        assert self._parser is not None
        self._parser.message_consumed()
        if self._buffer_paused and len(self._waiting) <= MOST_WAITING // 2:
            self.data_received(b"")  # what the parser keeps is taken in while the socket still is held back
            if len(self._waiting) < MOST_WAITING:
                self._resume_reading_for_buffer()

    async def _serve(self, message: RawRequestMessage | MuxerError, payload: StreamReader) -> None:
        """Answers one request. However that ends, the connection goes on or is closed."""
        is_over = False
        self._has_begun = False
        try:
            if isinstance(message, MuxerError):
                request = self._request(ERROR, payload)
                answer: Outgoing | None = self._host.refuse(request, message)
            else:
                request = self._request(message, payload)
                answer = self._host.refused(request, is_first=self._count <= 1)
            if answer is None:
                if not payload.is_eof() and hdrs.EXPECT in request.headers and request.version == HttpVersion11:
                    self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                answer = await self._host.respond(request)
            await self._write(request, answer)
            is_over = payload.is_eof() or await self._emptied(payload)
        except ConnectionError:
            pass  # the caller has left, or the answer cannot be ended as it began
        finally:
            self.task = None
            if self._is_deaf and not self._waiting:
                self._linger()
            elif self._is_last or not is_over:
                self.close()
            elif self._paused:
                self._watch()
            else:
                self._go_on()

    def _request(self, message: RawRequestMessage, payload: StreamReader) -> Request:
        writer, most = StreamWriter(self, self._loop), self._host.max_body_bytes
        # It asks its connection for no more than there is here, and a task for nothing.
        return Request(message, payload, self, writer, self.task, self._loop, client_max_size=most)  # type: ignore[arg-type]

    async def _write(self, request: Request, answer: Outgoing) -> None:
        if isinstance(answer, Whole):
            answer.write(request)
        elif isinstance(answer, Stream):
            answer.end()
        else:
            await answer.prepare(request)
            await answer.write_eof()
            self._is_last = self._is_last or not answer.keep_alive

    async def _emptied(self, payload: StreamReader) -> bool:
        """Drops the rest of a body that nobody wanted, for a while; whether it ended. See `_linger`."""
        try:
            async with asyncio.timeout(self._host.patience.linger_s):
                while not payload.is_eof():
                    await payload.readany()
        except (TimeoutError, RequestPayloadError):
            return False
        return True

    def _linger(self) -> None:
        """Ends the connection once the caller has, or after a while. A caller that still sends when it is closed gets a
        reset instead of the answer."""
        self._is_last = True
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write_eof()
            self._set(self._loop.time() + self._host.patience.linger_s)

    def _break(self, error: HttpProcessingError) -> None:
        """What came is no HTTP: the answer to the request whose body it is says so, or one of its own."""
        self._is_deaf = True
        if not self._newest.is_eof():
            self._newest.set_exception(RequestPayloadError(error.message))
            return
        self._refuse(_refusal(error))

    def _refuse(self, error: MuxerError) -> None:
        self._count += 1
        self._is_deaf = True
        self._waiting.append((error, EMPTY_PAYLOAD))
        self._go_on()

    def _rest(self) -> None:
        """Waits for the next request; of those before nothing stays in memory."""
        self._payload = self._newest = EMPTY_PAYLOAD
        self._set(self._loop.time() + KEEPALIVE_S)

    def _watch(self) -> None:
        """Gives the caller time to take what is unsent."""
        assert self.transport is not None
        self._unsent = self.transport.get_write_buffer_size()
        if self._unsent:
            self._set(self._loop.time() + self._host.patience.write_s)

    def _set(self, deadline: float) -> None:
        """Makes the timer ring by this time."""
        self._deadline = deadline
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self.transport is None or self.task is not None:
            return
        if self._loop.time() < self._deadline:
            self._set(self._deadline)
        elif self._unsent:
            before = self._unsent
            self._watch()
            if self._unsent >= before:
                self.abort()
        elif self._is_heading:
            self._refuse(HeadersTimeout("the head of the request did not come in time"))
        else:
            self.close()


def _refusal(error: HttpProcessingError) -> MuxerError:
    """The error of ours for one of aiohttp's parser."""
    if isinstance(error, LineTooLong) or (isinstance(error, BadHttpMessage) and error.message == _TOO_MANY):
        return HeadersTooLarge("the request line is over 8,190 bytes, or a header, or there are more than 128 of them")
    if isinstance(error, BadHttpMethod):
        return MethodNotAllowed("no such method is served", SERVED_METHODS)
    return BadHTTP("the request is not HTTP as the standard has it")
