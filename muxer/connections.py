"""The lean HTTP client: POST over kept connections, at a fraction of the CPU of aiohttp's session."""

import asyncio
import os
import socket
import ssl
from collections import defaultdict
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from types import TracebackType
from typing import Self
from urllib.request import getproxies, proxy_bypass

from aiohappyeyeballs import start_connection
from msgspec import Struct
from yarl import URL

from muxer.connection import Connection
from muxer.failures import UpstreamUnreachable
from muxer.interfaces import HTTPClient, Reply, Timeouts

KEEPALIVE_S = 30.0  # under the 60-75 s after which common front ends close idle connections
HAPPY_EYEBALLS_S = 0.25  # before the next address of a name is tried beside the first (RFC 8305)
_OURS = frozenset({"connection", "content-encoding", "content-length", "expect", "transfer-encoding", "upgrade"})
"""Headers that decide how a request is framed; who sets one is served by the other client."""


class Target(Struct, frozen=True):
    """Where a URL leads. Targets of one `origin` share connections."""

    origin: tuple[str, int, bool]
    path: str
    authority: str


class LeanClient:
    """`HTTPClient` over connections of its own. What goes through a proxy, carries a password in its URL or frames
    itself is left to `other`. Opened as a context, whose end drops every connection.

    At most `max_connections` calls are under way; more wait for `connect_s`.
    """

    def __init__(self, other: HTTPClient, max_connections: int) -> None:
        self._other = other
        self._slots = asyncio.Semaphore(max_connections)
        self._idle: defaultdict[tuple[str, int, bool], list[Connection]] = defaultdict(list)
        self._open: set[Connection] = set()
        self._targets: dict[str, Target | None] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._tls: ssl.SSLContext | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in tuple(self._open):
            connection.close()
        await asyncio.sleep(0)  # aborted transports tell their protocols in the next turn of the loop

    def post(
        self, url: str, *, headers: Mapping[str, str], body: bytes, timeouts: Timeouts
    ) -> AbstractAsyncContextManager[Reply]:
        """See HTTPClient."""
        try:
            target = self._targets[url]
        except KeyError:
            target = _target(url)
            if len(self._targets) < 10_000:
                self._targets[url] = target
        head = None if target is None else _head(target, tuple(headers.items()))
        if target is None or head is None:
            return self._other.post(url, headers=headers, body=body, timeouts=timeouts)
        return _Posting(self, target, b"%bContent-Length: %d\r\n\r\n" % (head, len(body)), body, timeouts)

    async def take(self, target: Target, timeouts: Timeouts) -> Connection:
        """A connection for one request, an idle one if there is one. Raises UpstreamUnreachable."""
        limit_s = min(timeouts.connect_s, timeouts.first_byte_s, timeouts.total_s)
        if self._slots.locked():
            try:
                async with asyncio.timeout(limit_s):
                    await self._slots.acquire()
            except TimeoutError as error:
                raise UpstreamUnreachable("no connection to the upstream in time: all are in use") from error
        else:
            await self._slots.acquire()
        idle = self._idle[target.origin]
        while idle:
            connection = idle.pop()  # the last used is the least likely to be closed by now
            if connection.is_open() and asyncio.get_running_loop().time() - connection.idle_since < KEEPALIVE_S:
                return connection
            connection.close()
        try:
            return await self._connect(target, limit_s)
        except BaseException:
            self._slots.release()
            raise

    def give_back(self, target: Target, connection: Connection) -> None:
        """Ends the request of a connection; it is kept for the next when that is safe."""
        self._slots.release()
        if connection.finish():
            self._idle[target.origin].append(connection)
            if self._sweeper is None:
                self._sweeper = asyncio.get_running_loop().call_later(KEEPALIVE_S, self._sweep)

    def idle_count(self) -> int:
        """How many connections wait for a request and are open."""
        return sum(connection.is_open() for idle in self._idle.values() for connection in idle)

    async def _connect(self, target: Target, limit_s: float) -> Connection:
        try:
            async with asyncio.timeout(limit_s):
                return await self._opened(*target.origin)
        except TimeoutError as error:
            raise UpstreamUnreachable("no connection to the upstream in time") from error
        except OSError as error:
            raise UpstreamUnreachable(f"no connection to the upstream: {_reason(error)}") from error

    async def _opened(self, host: str, port: int, is_tls: bool) -> Connection:
        loop = asyncio.get_running_loop()
        addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        tcp = await start_connection(addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_S, interleave=1, loop=loop)
        _, connection = await loop.create_connection(
            lambda: Connection(loop, self._open.discard),
            sock=tcp,
            ssl=self._trusted() if is_tls else None,
            server_hostname=host.rstrip(".") if is_tls else None,
        )
        self._open.add(connection)
        return connection

    def _trusted(self) -> ssl.SSLContext:
        """The system's trust, read once and only where an address needs it: that takes 20 ms."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    def _sweep(self) -> None:
        """Drops what has been idle for too long; an origin nobody asks any more keeps no socket."""
        loop = asyncio.get_running_loop()
        self._sweeper = None
        for origin, idle in list(self._idle.items()):
            while idle and (not idle[0].is_open() or loop.time() - idle[0].idle_since >= KEEPALIVE_S):
                idle.pop(0).close()
            if not idle:
                del self._idle[origin]
        if self._idle:
            self._sweeper = loop.call_later(KEEPALIVE_S, self._sweep)


class _Posting:
    """One call as a context: a class, since `asynccontextmanager` costs 2 us."""

    __slots__ = ("_body", "_client", "_connection", "_head", "_target", "_timeouts")

    def __init__(self, client: LeanClient, target: Target, head: bytes, body: bytes, timeouts: Timeouts) -> None:
        self._client = client
        self._target = target
        self._head = head
        self._body = body
        self._timeouts = timeouts

    async def __aenter__(self) -> Reply:
        begun = asyncio.get_running_loop().time()
        self._connection = connection = await self._client.take(self._target, self._timeouts)
        try:
            return await connection.ask(self._head, self._body, self._timeouts, begun)
        except BaseException:
            self._client.give_back(self._target, connection)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.give_back(self._target, self._connection)


def _target(url: str) -> Target | None:
    """Where a URL leads; None for a way that only the other client knows. Raises UpstreamUnreachable for no address."""
    try:
        parsed = URL(url)
        host, port = parsed.raw_host, parsed.port
    except ValueError as error:
        raise UpstreamUnreachable("the provider's base_url is not an address") from error
    if parsed.scheme not in ("http", "https") or not host or not port:
        raise UpstreamUnreachable("the provider's base_url is not an address")
    if parsed.raw_user is not None or (parsed.scheme in getproxies() and not proxy_bypass(host)):
        return None
    return Target((host, port, parsed.scheme == "https"), parsed.raw_path_qs, parsed.host_port_subcomponent or host)


@lru_cache(maxsize=1024)
def _head(target: Target, headers: tuple[tuple[str, str], ...]) -> bytes | None:
    """The start of a request, which is the same for each call to a model; None where a header frames it.
    Raises ValueError for what would break out of a header."""
    names = {name.lower() for name, _ in headers}
    if names & _OURS:
        return None
    host = () if "host" in names else (("Host", target.authority),)
    lines = [f"{name}: {value}" for name, value in (*host, *headers)]
    if any(char in line for line in lines for char in "\r\n\0"):
        raise ValueError("a header has a line break")
    return "".join(f"{line}\r\n" for line in (f"POST {target.path} HTTP/1.1", *lines)).encode()


def _reason(error: OSError) -> str:
    """The operating system's words, without the address."""
    if isinstance(error, socket.gaierror):
        return "its name does not resolve"
    if isinstance(error, ssl.SSLError):
        return "its certificate is not trusted"
    return os.strerror(error.errno) if error.errno else type(error).__name__
