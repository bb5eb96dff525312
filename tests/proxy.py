"""The proxy as a client meets it: a real server over a real store, asking a scripted upstream over real sockets."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec
from aiohttp import ClientResponse, ClientSession
from msgspec import Struct

from muxer.assemble import Assembler, Assembly, open_assembler
from muxer.config.contents import Contents, read_contents
from muxer.config.load import load
from muxer.config.settings import Configuration
from muxer.edge import PATIENCE, Patience
from muxer.live import Live
from muxer.measurements import Metric
from muxer.plugins import find_kinds
from muxer.prices import PriceTable
from muxer.testing import Behaviour, ScriptedUpstream
from muxer.types import Record

PATIENCE_S = 10.0
SECTIONS: Mapping[str, str] = {
    "version": "1",
    "plugins": "[openai, sqlite]",
    "providers": """
  main: {kind: openai, api_key: sk-upstream, base_url: "UPSTREAM/v1"}""",
    "models": """
  small: {provider: main, name: small-1, price_usd_per_million: {input: 1, output: 2, cached_input: 0.1}}
  large: {provider: main, name: large-1, price_usd_per_million: {input: 10, output: 20}}""",
    "routes": "[{name: default, use: [small, large]}]",
    "limits": "[{per: user, daily_usd: 1}]",
    "keys": """
  - {name: alice-key, secret: sk-alice, user: alice}
  - {name: bob-key, secret: sk-bob, user: bob}
  - {name: root-key, secret: sk-root, user: root, role: admin}""",
}
"""The routing.yaml of a test, section by section; UPSTREAM becomes the address of the scripted upstream."""
QUESTION = ({"role": "user", "content": "What is the capital of France?"},)


def written(sections: Mapping[str, str], upstream: str) -> str:
    """A routing.yaml of these sections over those above."""
    lines = (f"{name}: {text}" for name, text in {**SECTIONS, **sections}.items())
    return "\n".join(lines).replace("UPSTREAM", upstream)


class FileOrigin:
    """A file without an environment, as `muxer.live.Origin`; `taken_over` are its contents that were put in force."""

    def __init__(self, path: Path, table: PriceTable) -> None:
        self.path = path
        self.table = table
        self.taken_over: list[Contents] = []

    def contents(self) -> Contents:
        """See Origin."""
        return read_contents(self.path)

    def configuration(self, contents: Contents) -> Configuration:
        """See Origin."""
        return load(self.path, {}, find_kinds, table=self.table, contents=contents)

    async def admit(self, assembly: Assembly) -> None:
        """Everything is let in."""

    def taken(self, contents: Contents) -> None:
        """See Origin."""
        self.taken_over.append(contents)


class Accounts(Struct, frozen=True):
    """What each account of the same money says, in nano-dollars."""

    bill: int
    spent: int
    recorded: int
    held: int
    presumed: int


class Events(Struct, frozen=True):
    """A stream as its reader got it: the JSON of its events, and whether `[DONE]` came last."""

    data: list[dict[str, Any]]
    is_done: bool

    @property
    def text(self) -> str:
        """What was said."""
        return "".join(choice["delta"].get("content") or "" for one in self.data for choice in one.get("choices", ()))


class Silent:
    """A meter that keeps nothing."""

    def add(self, metric: Metric, amount: float, *labels: str) -> None:
        """See Meter."""

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """See Meter."""

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """See Meter."""


class Lines:
    """A log in memory."""

    def __init__(self) -> None:
        self.lines: list[dict[str, object]] = []
        self._written = asyncio.Event()

    def __call__(self, level: str, event: str, **fields: object) -> None:
        self.lines.append({"level": level, "event": event, **fields})
        self._written.set()

    async def wait_for(self, event: str, count: int = 1) -> dict[str, object]:
        """Waits for so many lines of an event and gives the last; `request` is written once a request is settled."""
        async with asyncio.timeout(PATIENCE_S):
            while len(found := [line for line in self.lines if line["event"] == event]) < count:
                self._written.clear()
                await self._written.wait()
        return found[-1]


class Proxy:
    """One proxy under test: `client` talks to it, `upstream` answers it, `log` is what it logged."""

    def __init__(
        self,
        assembler: Assembler,
        live: Live,
        origin: FileOrigin,
        client: ClientSession,
        port: int,
        upstream: ScriptedUpstream,
        log: Lines,
    ) -> None:
        self.assembler = assembler
        self.live = live
        self.origin = origin
        self.store = live.assembly.store
        self.client = client
        self.port = port
        self.upstream = upstream
        self.log = log

    @property
    def assembly(self) -> Assembly:
        """What new requests are served by."""
        return self.live.assembly

    def write(self, **sections: str) -> None:
        """Replaces the file by one of these sections over those above, in one step."""
        new = self.origin.path.with_name("routing.new")
        new.write_text(written(sections, self.upstream.url))
        new.replace(self.origin.path)

    async def post(self, body: object, key: str = "sk-alice", **headers: str) -> ClientResponse:
        """Posts a chat request as it is: bytes, or anything that JSON has."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        sent = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post("/v1/chat/completions", data=data, headers=sent)

    async def ask(self, path: str, fields: Mapping[str, object], key: str = "sk-alice") -> ClientResponse:
        """Posts a request of any kind."""
        return await self.client.post(path, json=fields, headers={"x-api-key": key})

    async def chat(self, key: str = "sk-alice", **fields: object) -> ClientResponse:
        """Asks a question, with fields of the request added or changed."""
        return await self.post({"messages": QUESTION, **fields}, key)

    async def get(self, path: str, key: str = "sk-alice") -> Any:
        """The JSON at a path."""
        async with self.client.get(path, headers={"x-api-key": key}) as response:
            return await response.json()

    async def record(self, response: ClientResponse) -> Record:
        """The record of an answered request."""
        found = await self.store.record(response.headers["x-muxer-request-id"])
        assert found is not None
        return found

    async def last_record(self) -> Record:
        """The newest record."""
        async for record in self.store.records(0, {}, 1):
            return record
        raise AssertionError("nothing was recorded")

    async def accounts(self) -> Accounts:
        """The bill, the store's counters and the sum of the records."""
        prices = {m.upstream: m.price for m in self.assembly.parts.rules.catalog.models.values() if m.price}
        (row,) = await self.store.summary([], 0, {})
        spent, held, presumed = 0, 0, 0
        for user in ("alice", "bob", "root"):
            for limit in (await self.get("/user/stats", f"sk-{user}"))["limits"][:1]:
                spent += nanos(limit["spent_usd"])
                held += nanos(limit["held_usd"])
                presumed += nanos(limit["presumed_usd"])
        assert (held, presumed) == await self.store.held()
        return Accounts(self.upstream.bill_nanos(prices), spent, row.cost_nanos, held, presumed)


def nanos(usd: str) -> int:
    """Dollars as they are shown, in nano-dollars, without a float between."""
    whole, _, rest = usd.partition(".")
    return int(whole) * 10**9 + int(rest.ljust(9, "0"))


async def events(response: ClientResponse) -> Events:
    """Reads a stream to its end."""
    body = await response.read()
    data = [block.removeprefix(b"data: ") for block in body.split(b"\n\n") if block]
    is_done = bool(data) and data[-1] == b"[DONE]"
    return Events([msgspec.json.decode(one) for one in (data[:-1] if is_done else data)], is_done)


class OpenProxy(Protocol):
    """Opens a proxy whose upstream plays these behaviours, whatever model is asked; `sections` replace those above."""

    async def __call__(
        self,
        *behaviours: Behaviour,
        clock: Callable[[], float] = time.time,
        patience: Patience = PATIENCE,
        **sections: str,
    ) -> Proxy: ...


@asynccontextmanager
async def _served(live: Live) -> AsyncIterator[int]:
    """The port of the proxy, run as `muxer serve` runs it."""
    listener = live.listener(most=1_000)
    try:
        yield await listener.listen("127.0.0.1", 0)
    finally:
        await listener.close(10)


@asynccontextmanager
async def open_proxy(
    folder: Path, table: PriceTable, clock: Callable[[], float], patience: Patience, sections: Mapping[str, str]
) -> AsyncIterator[Proxy]:
    """All of it, as `muxer serve` opens it; nothing may be left running."""
    before = asyncio.all_tasks()
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(ScriptedUpstream())
        origin = FileOrigin(folder / "routing.yaml", table)
        origin.path.write_text(written(sections, upstream.url))
        log = Lines()
        assembler = await stack.enter_async_context(open_assembler(log, clock))
        live = Live(assembler, origin, is_loopback=True, patience=patience)
        contents = origin.contents()
        await live.begin(origin.configuration(contents), contents)
        port = await stack.enter_async_context(_served(live))
        client = await stack.enter_async_context(ClientSession(f"http://127.0.0.1:{port}"))
        yield Proxy(assembler, live, origin, client, port, upstream, log)
        upstream.gate.set()
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"left running: {left}"


def _written(start: bytes, *headers: bytes, body: bytes) -> bytes:
    lines = [start + b" HTTP/1.1", b"Host: x", b"Connection: close", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


async def raw_request(proxy: Proxy, start: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    """Sends a request byte by byte as it is written here and reads all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(_written(start, *headers, body=body))
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@asynccontextmanager
async def idle_client(proxy: Proxy, start: bytes, *, body: bytes) -> AsyncIterator[None]:
    """Sends a request with alice's key and never reads the answer, over a socket that keeps little of it."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", proxy.port))
        await loop.sock_sendall(client, _written(start, b"x-api-key: sk-alice", body=body))
        yield
