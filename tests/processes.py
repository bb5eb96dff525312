"""Proxies as processes over one store, and each account of the same money: the bill, the store, the records."""

import asyncio
import os
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
from msgspec import Struct
from muxer_redis import RedisSettings, open_redis
from muxer_sqlite import SqliteSettings, open_sqlite
from redis.asyncio import Redis

from muxer import Price, Rates, Record, Secret, Store
from muxer.stores import Resolves
from muxer.testing import ScriptedUpstream, a_claim, open_context
from muxer.testing.contracts.money import amounts
from tests.plugins.redis_server import TOTAL, Server
from tests.proxy import nanos

START_S = SETTLE_S = 60.0  # bounds on waits for what comes in a second on a machine with nothing else to do
PATH = "/v1/chat/completions"
LIMITS = "[{per: user, total_usd: 1}, {per: all, total_usd: 1}]"
CLAIMS = [a_claim(account, limit_nanos=10**9, windows=(TOTAL,)) for account in ("user:anonymous", "all:all")]
RATES = Rates(input=1_000_000, output=2_000_000, cached_input=1_000_000, cache_write=1_000_000)
PRICES = {"small-1": Price(RATES), "spare-1": Price(RATES)}
BODY: Mapping[str, object] = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 100}
YAML = """
version: 1
plugins: [openai, KIND]
store: STORE
providers: {up: {kind: openai, base_url: "UPSTREAM/v1"}}
models:
  small: {provider: up, name: small-1, price_usd_per_million: {input: 1, output: 2}}
  spare: {provider: up, name: spare-1, price_usd_per_million: {input: 1, output: 2}}
routes: [{name: all, use: [small, spare]}]
limits: LIMITS
"""


class Totals(Struct, frozen=True, kw_only=True):
    """What the store's counters and the sum of the records say, in nano-dollars."""

    spent: int
    held: int
    presumed: int
    recorded: int
    presumed_recorded: int

    @property
    def counted(self) -> int:
        """What no other request may have (I1)."""
        return self.spent + self.held + self.presumed


class Gateway:
    """A `muxer serve` of its own: its process, its folder and its address."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path, url: str) -> None:
        self.process = process
        self.folder = folder
        self.url = url
        self.lease: set[bytes] = set()
        self.log_bytes = 0
        self._said: list[bytes] = []
        self._has_said = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @property
    def journal(self) -> Path:
        """Its journal, where the store has one."""
        return self.folder / "muxer.journal.db"

    async def says(self, word: bytes) -> None:
        """Waits until it has written a line with this word."""
        async with asyncio.timeout(START_S):
            while not any(word in line for line in self._said):
                assert not self._reading.done(), b"".join(self._said).decode()
                self._has_said.clear()
                await self._has_said.wait()

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        if self.process.returncode is None:
            self.process.kill()

    async def ended(self) -> None:
        """Waits until the process is gone; one that runs is asked to stop."""
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self._said = [*self._said[-50:], line]
            self.log_bytes += len(line)
            self._has_said.set()
        self._has_said.set()


class House:
    """One store that proxies share, the upstream they ask, and every account of the money between them.

    The test holds the store open too, as one more replica: it reads, and it buries the dead as any other does.
    """

    def __init__(
        self, kind: str, folder: Path, upstream: ScriptedUpstream, store: Store, server: Server | None
    ) -> None:
        self.kind = kind
        self.folder = folder
        self.upstream = upstream
        self.store = store
        self.server = server

    @property
    def database(self) -> Path:
        """The file of the embedded store."""
        return self.folder / "muxer.db"

    @property
    def bill(self) -> int:
        """What the upstream has billed so far."""
        return self.upstream.bill_nanos(PRICES)

    @asynccontextmanager
    async def gateway(self, name: str = "a", limits: str = LIMITS, store_url: str = "") -> AsyncIterator[Gateway]:
        """A proxy that runs; opened again under its name it finds what it left. `store_url` leads to the server."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        if self.server is None:
            store = f'{{kind: sqlite, path: "{self.database}"}}'
        else:
            store = f'{{kind: redis, url: "{store_url or self.server.url}", timeout_s: 5}}'
        yaml = YAML.replace("KIND", self.kind).replace("STORE", store).replace("UPSTREAM", self.upstream.url)
        (folder / "routing.yaml").write_text(yaml.replace("LIMITS", limits))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "muxer", "serve", "--port", port,
            cwd=folder, env=dict(os.environ), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        gateway = Gateway(process, folder, f"http://127.0.0.1:{port}")
        try:
            leases = await self._leases()
            await gateway.says(b"Try it")
            gateway.lease = await self._leases() - leases
            yield gateway
        finally:
            await gateway.ended()

    async def expire(self, gateway: Gateway) -> None:
        """Ends the lease of a killed proxy now instead of in 25 seconds; the kernel ends a file lock by itself."""
        await gateway.process.wait()
        if self.server is not None:
            async with Redis.from_url(self.server.url, protocol=2) as redis:
                assert await redis.delete(*gateway.lease) == 1

    async def _leases(self) -> set[bytes]:
        if self.server is None:
            return set()
        async with Redis.from_url(self.server.url, protocol=2) as redis:
            return {key async for key in redis.scan_iter("*:alive:*")}

    async def totals(self) -> Totals:
        """What the store says now; every window says the same, and no request has two records (I4)."""
        first, *others = {amounts(standing) for standing in await self.store.standings(CLAIMS)}
        assert not others, f"the windows disagree: {first} {others}"
        records = await self.records()
        assert len(records) == len({record.id for record in records})
        summed = next(iter(await self.store.summary([], 0, {})), None)
        recorded = sum(record.cost_nanos for record in records)
        assert recorded == (summed.cost_nanos if summed else 0)
        return Totals(
            spent=first[0],
            held=first[1],
            presumed=first[2],
            recorded=recorded,
            presumed_recorded=sum(record.presumed_nanos for record in records if record.state != "open"),
        )

    async def counted(self) -> int:
        """Spent, held and presumed at this instant."""
        (standing,) = await self.store.standings(CLAIMS[:1])
        return sum(amounts(standing))

    async def records(self) -> list[Record]:
        """All records, the newest first."""
        return [record async for record in self.store.records(0, {}, 100_000)]

    async def settled(self) -> Totals:
        """What the store says once nothing is held any more."""
        async with asyncio.timeout(SETTLE_S):
            while (await self.store.held())[0]:
                await asyncio.sleep(0.02)
        return await self.totals()

    async def reconcile(self) -> Totals:
        """The operator's word on each request whose cost is unknown: what the upstream billed its `user`."""
        assert isinstance(self.store, Resolves)
        billed = Counter[str]()
        for call in self.upstream.calls:
            if call.billed is not None:
                billed[str(call.body.get("user", ""))] += PRICES[call.model].cost_nanos(call.billed)
        for record in await self.store.presumed(100_000):
            assert await self.store.resolve(record.id, billed[record.end_user] - record.cost_nanos)
        return await self.totals()


@asynccontextmanager
async def open_house(kind: str, folder: Path) -> AsyncIterator[House]:
    """A store of this kind, empty, with a server of its own where it needs one."""
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(ScriptedUpstream())
        context = await stack.enter_async_context(open_context(folder))
        if kind == "sqlite":
            store = await stack.enter_async_context(open_sqlite(SqliteSettings(), context))
            yield House(kind, folder, upstream, store, None)
            return
        (folder / "server").mkdir()
        server = stack.enter_context(Server(folder / "server", appendfsync="always"))
        settings = RedisSettings(url=Secret(server.url), timeout_s=5)
        store = await stack.enter_async_context(open_redis(settings, context))
        yield House(kind, folder, upstream, store, server)


class Client:
    """One caller of some gateways, known to the upstream and in the records by its name."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(self, gateway: Gateway, name: str, *, stream: bool = False) -> tuple[int, bytes]:
        """Status and body of a request; status 0 when the connection broke."""
        try:
            async with self._session.post(
                gateway.url + PATH, json={**BODY, "user": name, "stream": stream}
            ) as response:
                return response.status, await response.read()
        except aiohttp.ClientError:
            return 0, b""

    async def leave(self, gateway: Gateway, name: str) -> None:
        """Asks for a stream and leaves it after its first line."""
        try:
            response = await self._session.post(gateway.url + PATH, json={**BODY, "user": name, "stream": True})
            await response.content.readline()
            response.close()
        except aiohttp.ClientError:
            return


def fitted(body: bytes) -> bool:
    """Whether a refusal's own numbers show that the request would have fitted: a false one (I5)."""
    budget = msgspec.json.decode(body)["error"]["budget"]
    parts: list[str] = [budget[name] for name in ("spent_usd", "held_usd", "presumed_usd", "asked_usd")]
    return sum(map(nanos, parts)) <= nanos(budget["limit_usd"])


async def until(is_true: Callable[[], bool], within_s: float = SETTLE_S) -> None:
    """Waits for something that nobody announces."""
    async with asyncio.timeout(within_s):
        while not is_true():
            await asyncio.sleep(0.01)
