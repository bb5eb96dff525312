"""The listening side: who is let in, what is not passed on, and the end of it all."""

import asyncio
import resource
from collections.abc import Awaitable, Callable
from itertools import islice

from aiohttp import hdrs

from muxer.edge import PATIENCE, Patience, Request, check_http
from muxer.errors import MuxerError, Overloaded
from muxer.incoming import Incoming, Outgoing
from muxer.outgoing import Whole
from muxer.refusals import ExpectationFailed

Respond = Callable[[Request], Awaitable[Outgoing]]
"""Answers a request, errors included."""
Refuse = Callable[[Request, MuxerError], Whole]
"""Logs an error, and gives it as the answer to a request."""
_MOST_CONNECTIONS = 10_000
_FILES_OF_OUR_OWN = 64  # the store, the log, sockets that listen
_LOOKED_AT = 64  # connections among which an idle one is sought, so that a flood of new ones stays cheap
_NEVER_SHED = ("/health", "/livez", "/readyz", "/metrics", "/admin/reload", "/admin/keys")
_SPARE = 32  # connections that are told to come back, over those that are served


def most_connections() -> int:
    """How many connections are served at once: each may need another to an upstream, and files are limited."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(1, min(_MOST_CONNECTIONS, (soft - _FILES_OF_OUR_OWN - _SPARE) // 2))


class Listener:
    """Has requests answered by `respond`, over at most so many connections; `refuse` answers what does not get there.
    While `is_last`, connections are closed after their answer."""

    def __init__(
        self,
        respond: Respond,
        refuse: Refuse,
        *,
        max_body_bytes: int,
        patience: Patience = PATIENCE,
        most: int = _MOST_CONNECTIONS,
        is_last: Callable[[], bool] = bool,
    ) -> None:
        self.respond = respond
        self.patience = patience
        self.max_body_bytes = max_body_bytes
        self.is_last = is_last
        self._refuse = refuse
        self._most = most
        self._connections: dict[Incoming, None] = {}  # the oldest first
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int, *, shared: bool = False) -> int:
        """Begins to listen, and gives the port, which it finds itself where it is 0; a `shared` one others may listen
        on, too. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Incoming(loop, self), host, port, reuse_address=True, reuse_port=shared, backlog=128
        )
        return int(self._server.sockets[0].getsockname()[1])

    def stop(self) -> None:
        """Lets nobody in any more; who is here is served on."""
        if self._server is not None:
            self._server.close()

    async def close(self, wait_s: float) -> None:
        """Ends all connections, those that are being served after their answer, or once `wait_s` are over. Then they
        have as long again to settle."""
        self.stop()
        for connection in tuple(self._connections):
            connection.finish()
        serving = {connection.task for connection in self._connections if connection.task is not None}
        if serving:
            _, late = await asyncio.wait(serving, timeout=wait_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=wait_s)
        for connection in tuple(self._connections):
            connection.close()
        await asyncio.sleep(0)  # transports tell their protocols in the next turn of the loop

    def joined(self, connection: Incoming) -> None:
        """See Host."""
        self._connections[connection] = None
        if len(self._connections) > self._most:
            self._end_an_idle_one()
        if len(self._connections) > self._most + _SPARE:
            connection.abort()

    def left(self, connection: Incoming) -> None:
        """See Host. It counts until its last request has ended: that may be read on without its caller."""
        if connection.task is None:
            self._connections.pop(connection, None)
        else:
            connection.task.add_done_callback(lambda _: self._connections.pop(connection, None))

    def refused(self, request: Request, *, is_first: bool) -> Whole | None:
        """See Host."""
        try:
            check_http(request)
        except MuxerError as error:
            return self.refuse(request, error)
        expected = request.headers.get(hdrs.EXPECT)
        if expected is not None and expected.lower() != "100-continue":
            return self.refuse(request, ExpectationFailed("nothing but `Expect: 100-continue` is done here"))
        if len(self._connections) > self._most and is_first and request.path not in _NEVER_SHED:
            return self.refuse(request, Overloaded("too many connections; try again, or keep one open", "connections"))
        return None

    def refuse(self, request: Request, error: MuxerError) -> Whole:
        """See Host."""
        return self._refuse(request, error).last()

    def _end_an_idle_one(self) -> None:
        """Makes room: of the oldest connections one that only waits for its next request."""
        for one in islice(self._connections, _LOOKED_AT):
            if one.is_idle:
                one.close()
                return
