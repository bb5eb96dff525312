"""The shared store when its server has lost data: it is told again before anything new is admitted (S17, F11)."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from muxer_redis import RedisSettings, RedisStore, open_at
from redis.asyncio import Redis

from muxer import Granted, IsRemote, Refused, Secret, StoreUnavailable
from muxer.testing import open_context
from muxer.testing.contracts.money import a_choice, an_attempt, counted
from tests.plugins.redis_server import CLAIM, Server, hold, opened, settle
from tests.plugins.replica import Replica, until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
async def redis(server: Server) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url, protocol=2) as client:
        await client.flushall()
        yield client


async def test_what_was_flushed_is_told_again(server: Server, redis: Redis) -> None:
    log: list[str] = []
    async with opened(server.url, log) as store:
        replica = Replica(store)
        await replica.hold("open", 60)
        await replica.hold("extended", 40)
        await replica.extend("extended", 30, cost=25)
        await replica.hold("settled", 50)
        await replica.settle("settled", 7)
        before = (await counted(store, CLAIM), await store.held(), await store.summary(["state"], 0, {}))
        await redis.flushall()
        with pytest.raises(StoreUnavailable, match="may have lost"):
            await hold(store, "new")
        await until(lambda: hold(store, "new", 0))
        assert (await counted(store, CLAIM), await store.held()) == before[:2]
        await settle(store, "new", 0)
        await replica.settle("open", 3)
        await replica.settle("extended", 25, 4)
        assert (await counted(store, CLAIM), await store.held()) == ((39, 0, 0), (0, 0))
        assert log == ["store_may_have_lost_data", "store_told_again"]


async def test_a_settlement_waits_until_its_hold_is_told_again(server: Server, redis: Redis) -> None:
    async with opened(server.url) as store:
        replica = Replica(store)
        await replica.hold("a", 60)
        replica.may_tell.clear()
        await redis.flushall()
        with pytest.raises(StoreUnavailable, match="may have lost"):
            await settle(store, "a", 7)
        with pytest.raises(StoreUnavailable, match="may have lost"):
            await store.extend("a", 1, a_choice(5, CLAIM), an_attempt())
        replica.may_tell.set()
        await until(lambda: settle(store, "a", 7))
        assert (await counted(store, CLAIM), await store.held()) == ((7, 0, 0), (0, 0))


async def test_nothing_is_admitted_before_every_replica_has_told(server: Server, redis: Redis) -> None:
    async with opened(server.url) as other_store, opened(server.url) as store:
        one, other = Replica(store), Replica(other_store)
        await one.hold("a", 500)
        await other.hold("b", 400)
        other.may_tell.clear()
        await redis.flushall()
        with pytest.raises(StoreUnavailable):
            await hold(store, "c", 200)
        await until(lambda: _is_told(redis, 1))
        with pytest.raises(StoreUnavailable, match="all proxies"):
            await hold(store, "c", 200)
        other.may_tell.set()
        await until(lambda: hold(store, "c", 200))
        assert isinstance(await hold(store, "d", 200), Refused)
        assert await counted(store, CLAIM) == (0, 900, 0)


async def _is_told(redis: Redis, waiting: int) -> None:
    """Raises StoreUnavailable while more replicas are waited for."""
    keys = [key async for key in redis.scan_iter("*:awaited")]
    if len(keys) != 1 or await redis.scard(keys[0]) != waiting:
        raise StoreUnavailable("not yet")


async def test_a_replica_that_does_not_tell_is_waited_for_five_seconds(server: Server, redis: Redis) -> None:
    clock = Clock()
    async with clock.opened(server.url) as other, clock.opened(server.url) as store:
        silent = Replica(other)
        await silent.hold("a", 500)
        silent.may_tell.clear()
        await Replica(store).hold("b", 100)
        await redis.flushall()
        await until(lambda: _noticed(store, redis))
        clock.now_s += 4.9
        with pytest.raises(StoreUnavailable, match="at the latest after 5 s"):
            await hold(store, "c")
        clock.now_s += 0.2
        assert isinstance(await hold(store, "c"), Granted)
        with pytest.raises(StoreUnavailable, match="may have lost"):
            await hold(other, "d")  # who has not told may not hold
        silent.may_tell.set()
        await until(lambda: hold(other, "d"))
        assert await counted(store, CLAIM) == (0, 620, 0)


async def _noticed(store: RedisStore, redis: Redis) -> None:
    """Raises StoreUnavailable until only the silent one is waited for."""
    try:
        await hold(store, "never", 0)
    except StoreUnavailable:
        await _is_told(redis, 1)


class Clock:
    """The time of several replicas, which stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1_790_038_800.0

    @asynccontextmanager
    async def opened(self, url: str) -> AsyncIterator[RedisStore]:
        async with (
            open_context() as context,
            open_at(RedisSettings(url=Secret(url), timeout_s=5.0), context, lambda: repr(self.now_s)) as store,
        ):
            yield store


async def test_a_restart_from_an_older_dump_is_told_what_came_after_it(tmp_path: Path) -> None:
    with Server(tmp_path, appendonly="no") as server:
        async with opened(server.url) as other_store, opened(server.url) as store:
            one, other = Replica(store), Replica(other_store)
            await one.hold("before", 100)
            async with Redis.from_url(server.url, protocol=2) as redis:
                await redis.save()
            await one.settle("before", 90)
            await one.hold("after", 200)
            await other.hold("others", 300)
            server.kill()
            server.start()
            await until(lambda: hold(store, "new", 10))
            assert await counted(store, CLAIM) == (90, 510, 0)
            await until(lambda: other.settle("others", 20))
            assert await counted(store, CLAIM) == (110, 210, 0)


async def test_a_restart_without_loss_changes_nothing(tmp_path: Path) -> None:
    with Server(tmp_path, appendfsync="always") as server:
        async with opened(server.url) as store:
            replica = Replica(store)
            await replica.hold("a", 100)
            await replica.hold("b", 50)
            await replica.settle("b", 20)
            server.kill()
            server.start()
            await until(lambda: hold(store, "c", 10))
            assert await counted(store, CLAIM) == (20, 110, 0)


@pytest.mark.usefixtures("redis")
async def test_who_comes_first_need_not_wait(server: Server) -> None:
    async with opened(server.url) as store:
        assert isinstance(await hold(store, "a"), Granted)
        async with opened(server.url) as other:
            assert isinstance(await hold(other, "b"), Granted)


async def test_a_journal_that_fails_keeps_admission_closed_until_it_works(server: Server, redis: Redis) -> None:
    log: list[str] = []
    failing = [StoreUnavailable("away"), OSError("disk")]

    async def tell() -> None:
        if failing:
            raise failing.pop()

    async with opened(server.url, log) as store:
        store.on_lost(tell)
        await redis.flushall()
        await until(lambda: hold(store, "a"))
    assert not failing
    assert log == ["store_may_have_lost_data", "store_tell_failed", "store_told_again"]


async def test_each_worker_has_a_journal_of_its_own(server: Server, tmp_path: Path) -> None:
    names: list[str] = []
    for worker in (0, 1, 2):
        async with (
            open_context(tmp_path, worker=worker) as context,
            open_at(RedisSettings(url=Secret(server.url), timeout_s=5.0), context, lambda: "0") as store,
        ):
            assert isinstance(store, IsRemote)
            names.append(str(store.journal.relative_to(tmp_path)))
    assert names == ["muxer.journal.db", "muxer.journal.1.db", "muxer.journal.2.db"]
