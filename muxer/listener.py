"""The listening side: what aiohttp leaves open about connections is closed here, and its errors leave as our JSON."""

import asyncio
import resource
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http_exceptions import BadHttpMessage, BadHttpMethod, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from muxer.edge import Patience, check_http
from muxer.errors import MethodNotAllowed, MuxerError, Overloaded
from muxer.refusals import BadHTTP, ExpectationFailed, HeadersTimeout, HeadersTooLarge

Refuse = Callable[[web.BaseRequest, MuxerError], web.Response]
"""Logs an error, and writes it as the answer to a request."""
KEEPALIVE_S = 75.0  # longer than the 60 s after which common load balancers drop idle connections
SERVED_METHODS = ("DELETE", "GET", "POST")
_TOO_MANY = "Too many headers received"  # aiohttp has no type for it
_MOST_CONNECTIONS = 10_000
_FILES_OF_OUR_OWN = 64  # the store, the log, sockets that listen
_LOOKED_AT = 64  # connections among which an idle one is sought, so that a flood of new ones stays cheap
_NEW_S = 1.0  # in which a request is still likely to come
_NEVER_SHED = ("/health", "/livez", "/readyz", "/metrics", "/admin/reload", "/admin/keys")
_SPARE = 32  # connections that are told to come back, over those that are served


def most_connections() -> int:
    """How many connections are served at once: each may need another to an upstream, and files are limited."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(1, min(_MOST_CONNECTIONS, (soft - _FILES_OF_OUR_OWN - _SPARE) // 2))


class Runner(web.AppRunner):
    """Runs an application as the proxy needs it run: `refuse` answers what does not reach the application."""

    def __init__(
        self,
        application: web.Application,
        refuse: Refuse,
        *,
        patience: Patience,
        most: int,
        shutdown_timeout: float,
    ) -> None:
        super().__init__(
            application,
            access_log=None,
            handler_cancellation=False,
            auto_decompress=False,
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=patience.linger_s,
            shutdown_timeout=shutdown_timeout,
        )
        self._refuse = refuse
        self._patience = patience
        self._most = most

    async def _make_server(self) -> web.Server:
        return _Listener(await super()._make_server(), self._refuse, self._patience, self._most)


class _Listener(web.Server):
    """aiohttp's server with connections of ours."""

    def __init__(self, plain: web.Server, refuse: Refuse, patience: Patience, most: int) -> None:
        super().__init__(
            self._respond,
            request_factory=plain.request_factory,
            handler_cancellation=plain.handler_cancellation,
            loop=plain._loop,
            **plain._kwargs,
        )
        self._inner: Callable[[Any], Awaitable[web.StreamResponse]] = plain.request_handler
        self._most = most
        self._refuse = refuse
        self.patience = patience

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._connections) > self._most:
            self._end_an_idle_one()
        if len(self._connections) > self._most + _SPARE:
            transport.abort()

    def _end_an_idle_one(self) -> None:
        """Makes room: of the oldest connections one that only waits for its next request."""
        for one in islice(self._connections, _LOOKED_AT):
            if isinstance(one, _Connection) and one.is_idle:
                one.force_close()
                return

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            check_http(request)
        except MuxerError as error:
            return self.refuse(request, error)
        expected = request.headers.get(hdrs.EXPECT)
        if expected is not None and expected.lower() != "100-continue":
            return self.refuse(request, ExpectationFailed("nothing but `Expect: 100-continue` is done here"))
        if len(self._connections) > self._most and _is_new(request) and request.path not in _NEVER_SHED:
            return self.refuse(request, Overloaded("too many connections; try again, or keep one open", "connections"))
        return await self._inner(request)

    def refuse(self, request: web.BaseRequest, error: MuxerError) -> web.StreamResponse:
        """The answer to what does not reach the application, the last one of its connection."""
        response = self._refuse(request, error)
        response.headers["Server"] = "modelmuxer"  # as the application does for its own
        response.force_close()
        return response


def _is_new(request: web.BaseRequest) -> bool:
    """Whether it is the first of its connection: those that are served already are served on."""
    return request.protocol._request_count <= 1


class _Connection(RequestHandler):
    """One connection: the head of a request has a deadline, and what the parser refuses is answered as JSON."""

    __slots__ = ("_head_timer", "_listener", "_made_at")

    def __init__(self, listener: _Listener, **settings: Any) -> None:
        super().__init__(listener, **settings)
        self._listener = listener
        self._head_timer: asyncio.TimerHandle | None = None
        self._made_at = self._loop.time()

    async def start(self) -> None:
        """See RequestHandler, which takes it for granted that the connection is still there."""
        if self._manager is not None:
            await super().start()

    @property
    def is_idle(self) -> bool:
        """Whether it only waits for a request, of which nothing has come, and is not quite new."""
        is_waiting = self._waiter is not None and not self._waiter.done() and self._head_timer is None
        return is_waiting and self._loop.time() - self._made_at >= _NEW_S

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        waiter = self._waiter
        if waiter is None or waiter.done() or self._force_close:
            self._stop_timer()
        elif self._head_timer is None:
            self._head_timer = self._loop.call_later(self._listener.patience.head_s, self._end_wait)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _end_wait(self) -> None:
        """The caller took too long; it is told as if its request had been broken."""
        self._head_timer = None
        if self._waiter is not None and not self._waiter.done():
            late = HeadersTimeout("the head of the request did not come in time")
            self._messages.append((_ErrInfo(late.status, late, late.message), EMPTY_PAYLOAD))
            self._waiter.set_result(None)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """See RequestHandler. Not logged as it does: a scanner would fill the disk with tracebacks."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun; it cannot become an error")
        return self._listener.refuse(request, _refusal(exc, status))


def _refusal(error: BaseException | None, status: int) -> MuxerError:
    """The error of ours for one of aiohttp's parser."""
    if isinstance(error, MuxerError):
        return error
    if status >= 500:
        return MuxerError("an unforeseen error")
    if isinstance(error, LineTooLong) or (isinstance(error, BadHttpMessage) and error.message == _TOO_MANY):
        return HeadersTooLarge("the request line is over 8,190 bytes, or a header, or there are more than 128 of them")
    if isinstance(error, BadHttpMethod):
        return MethodNotAllowed("no such method is served", SERVED_METHODS)
    return BadHTTP("the request is not HTTP as the standard has it")
