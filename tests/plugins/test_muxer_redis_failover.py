"""The shared store behind Sentinels and on a cluster of several nodes: a master dies, and another takes over."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from muxer_redis import RedisStore
from redis.asyncio import Redis
from redis.crc import key_slot

from muxer import ConfigInvalid, Granted, StoreUnavailable
from muxer.testing.contracts.money import counted
from tests.plugins.redis_server import CLAIM, Server, free_port, hold, opened, settle
from tests.plugins.replica import Replica, until

pytestmark = pytest.mark.slow
PATIENCE_S = 60.0


class Sentinels:
    """Three Sentinels over a master and its replica, all real."""

    def __init__(self, folder: Path) -> None:
        self.master = Server(folder / "master", appendfsync="always")
        self.replica = Server(folder / "replica", replicaof=f"127.0.0.1 {self.master.port}")
        self.ports = [free_port() for _ in range(3)]
        self._processes = [self._start(folder / f"sentinel-{port}.conf", port) for port in self.ports]

    def _start(self, file: Path, port: int) -> "subprocess.Popen[bytes]":
        lines = (
            f"port {port}", f"dir {file.parent}", "bind 127.0.0.1",
            f"sentinel monitor mymaster 127.0.0.1 {self.master.port} 2",
            "sentinel down-after-milliseconds mymaster 500", "sentinel failover-timeout mymaster 3000",
        )  # fmt: skip
        file.write_text("\n".join(lines) + "\n")
        log = file.with_suffix(".log").open("wb")
        with log:
            return subprocess.Popen([self.master.program, str(file), "--sentinel"], stdout=log, stderr=log)

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self.master.kill()
        self.replica.kill()

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(f"127.0.0.1:{port}" for port in self.ports)

    async def ready(self) -> None:
        """Waits until the replica is in step and every Sentinel knows it and the other two."""
        async with asyncio.timeout(PATIENCE_S):
            async with Redis.from_url(self.replica.url, protocol=2) as redis:
                while (await redis.info("replication")).get("master_link_status") != "up":
                    await asyncio.sleep(0.05)
            for port in self.ports:
                async with Redis(port=port, protocol=2) as redis:
                    while not _knows_all(await _master(redis)):
                        await asyncio.sleep(0.05)


async def _master(redis: Redis) -> dict[bytes, bytes]:
    """What a Sentinel knows of the master."""
    found = await _ask(redis, "SENTINEL", "MASTER", "mymaster")
    return dict(zip(found[::2], found[1::2], strict=True))


def _knows_all(master: dict[bytes, bytes]) -> bool:
    return master[b"num-slaves"] == b"1" and master[b"num-other-sentinels"] == b"2"


@pytest.fixture
async def sentinels(tmp_path: Path) -> AsyncIterator[Sentinels]:
    running = Sentinels(tmp_path)
    try:
        await running.ready()
        yield running
    finally:
        running.stop()


async def test_after_a_failover_the_new_master_is_told_what_it_may_lack(sentinels: Sentinels) -> None:
    known = sentinels.addresses
    async with opened("redis://", sentinels=known) as other_store, opened("redis://", sentinels=known) as store:
        one, other = Replica(store), Replica(other_store)
        await one.hold("a", 300)
        await other.hold("b", 200)
        async with Redis.from_url(sentinels.replica.url, protocol=2) as redis:
            await redis.replicaof("127.0.0.1", "1")  # nothing that comes now gets to it
        await one.hold("unreplicated", 100)
        await other.settle("b", 50)
        sentinels.master.kill()
        killed_at = time.monotonic()
        await until(lambda: hold(store, "new", 0), PATIENCE_S)
        print(f"\nSentinel: holds are taken again {time.monotonic() - killed_at:.1f} s after the master was killed")
        await until(other.store.held)
        assert await counted(store, CLAIM) == (50, 400, 0)
        await one.settle("a", 7)
        await one.settle("unreplicated", 9)
        assert await counted(other_store, CLAIM) == (66, 0, 0)


async def test_a_master_that_became_a_replica_is_left_for_the_new_one(sentinels: Sentinels) -> None:
    async with opened("redis://", sentinels=sentinels.addresses) as store:
        replica = Replica(store)
        await replica.hold("a", 300)
        async with Redis(port=sentinels.ports[0], protocol=2) as redis:
            await _ask(redis, "SENTINEL", "FAILOVER", "mymaster")
            async with asyncio.timeout(PATIENCE_S):
                while int((await _master(redis))[b"port"]) != sentinels.replica.port:
                    await asyncio.sleep(0.05)
        await until(lambda: replica.settle("a", 7), PATIENCE_S)
        assert await counted(store, CLAIM) == (7, 0, 0)
        await until(lambda: hold(store, "b", 10), PATIENCE_S)
        assert await counted(store, CLAIM) == (7, 10, 0)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Server]]:
    servers = [Server(tmp_path / f"node-{number}", **{"cluster-enabled": "yes"}) for number in range(2)]
    yield servers
    for server in servers:
        server.kill()


async def test_on_a_cluster_the_node_of_the_slot_is_asked(nodes: Sequence[Server]) -> None:
    async with _cluster(nodes):
        for domain in ("default", "other", "third"):
            async with opened(nodes[0].url, cluster=True, domain=domain) as store:
                await asyncio.gather(*(hold(store, f"r-{number}") for number in range(20)))
                await settle(store, "r-0", 7)
                assert await counted(store, CLAIM) == (7, 190, 0)


async def test_a_node_that_lost_data_is_told_it_again(nodes: Sequence[Server]) -> None:
    async with _cluster(nodes), opened(nodes[0].url, cluster=True) as store:
        replica = Replica(store)
        await replica.hold("a", 60)
        owner = nodes[_owner("{muxer:default}:")]
        async with Redis.from_url(owner.url, protocol=2) as redis:
            await redis.flushall()
        with pytest.raises(StoreUnavailable, match="lost data"):
            await hold(store, "b")
        await until(lambda: hold(store, "b"))
        assert await counted(store, CLAIM) == (0, 70, 0)


async def test_a_slot_that_is_elsewhere_is_named_where_no_cluster_was_expected(nodes: Sequence[Server]) -> None:
    async with _cluster(nodes), AsyncExitStack() as stack:
        with pytest.raises(ConfigInvalid, match=r"set store\.cluster: true"):
            await stack.enter_async_context(opened(nodes[1 - _owner("{muxer:default}:")].url))
        store: RedisStore = await stack.enter_async_context(opened(nodes[_owner("{muxer:default}:")].url))
        assert isinstance(await hold(store, "a"), Granted)


def _owner(prefix: str) -> int:
    """Which of the two nodes has the slot."""
    return int(key_slot(prefix.encode()) > 8191)


@asynccontextmanager
async def _cluster(nodes: Sequence[Server]) -> AsyncIterator[None]:
    """Makes two servers a cluster, half of the slots each."""
    async with AsyncExitStack() as stack:
        asking = [await stack.enter_async_context(Redis.from_url(node.url, protocol=2)) for node in nodes]
        await _ask(asking[0], "CLUSTER", "MEET", "127.0.0.1", str(nodes[1].port))
        for redis, (first, last) in zip(asking, ((0, 8191), (8192, 16383)), strict=True):
            await _ask(redis, "CLUSTER", "ADDSLOTS", *(str(slot) for slot in range(first, last + 1)))
        async with asyncio.timeout(PATIENCE_S):
            for redis in asking:
                while b"cluster_slots_assigned:16384" not in await _info(redis):
                    await asyncio.sleep(0.05)
                while b"cluster_state:ok" not in await _info(redis):
                    await asyncio.sleep(0.05)
        yield


async def _info(redis: Redis) -> bytes:
    return bytes(await _ask(redis, "CLUSTER", "INFO"))


async def _ask(redis: Redis, *words: str) -> Any:
    return await redis.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py's
