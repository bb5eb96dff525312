"""The shared store against the published contracts, on a real server."""

import glob
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from muxer_redis import RedisSettings, RedisStore, open_at
from redis.asyncio import Redis

from muxer import Context, Refused, Secret, Store, StoreUnavailable, Window
from muxer.testing import (
    FeedbackContract,
    HistoryContract,
    KeyedContract,
    KeysContract,
    StoreContract,
    a_record,
    open_context,
)
from muxer.testing.builders import START_S
from muxer.testing.contracts.money import a_choice, a_claim, an_attempt, counted, spend
from tests.plugins.redis_server import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


class TestRedisStore(StoreContract, KeysContract, KeyedContract, FeedbackContract):
    @pytest.fixture(autouse=True)
    def on(self, server: Server) -> None:
        self._url = server.url

    @asynccontextmanager
    async def open_store(self, folder: Path, clock: Callable[[], float]) -> AsyncIterator[Store]:
        domain = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        settings = RedisSettings(url=Secret(self._url), timeout_s=5.0, domain=domain)
        async with (
            open_context(folder, clock=clock) as context,
            open_at(settings, context, lambda: repr(clock())) as store,
        ):
            yield store


Name = bytes | str


class RedisWorld:
    """One domain and the replicas that share it, all of them in this process."""

    def __init__(self, redis: Redis, context: Context, url: str, processes: AsyncExitStack) -> None:
        self._redis = redis
        self._context = context
        self._settings = RedisSettings(url=Secret(url), timeout_s=5)  # on a busy machine nothing is to be refused
        self._processes = processes
        self._heartbeats: dict[int, Name] = {}
        self._lost: list[Name] = []
        self._copy: dict[Name, bytes] = {}

    async def start(self) -> Store:
        store = await self._started()
        while self._lost and await self._redis.exists(*self._lost):
            store = await self._started()  # those who are lost still run here: one has beaten just before it was found
        self._lost.clear()
        return store

    async def _started(self) -> Store:
        if self._lost:
            await self._redis.delete(*self._lost)
        # On a busy machine one of those who live may have been late, and beats again just now.
        known = {*await self._redis.keys("*:alive:*"), *self._heartbeats.values()}
        opened = open_at(self._settings, self._context, lambda: repr(self._context.clock()))
        store = await self._processes.enter_async_context(opened)
        (self._heartbeats[id(store)],) = set(await self._redis.keys("*:alive:*")) - known
        return store

    def lose(self, store: Store) -> None:
        self._lost.append(self._heartbeats[id(store)])

    async def save(self) -> None:
        dumped = {name: await self._redis.dump(name) for name in await self._data()}
        self._copy = {name: value for name, value in dumped.items() if value}

    async def restore(self) -> None:
        pipeline = self._redis.pipeline()
        for name in await self._data():
            pipeline.delete(name)
        for name, dumped in self._copy.items():
            pipeline.restore(name, 0, dumped)
        await pipeline.execute()

    async def _data(self) -> set[Name]:
        """All but the heartbeats, which those who live would soon send again."""
        return set(await self._redis.keys("*")) - set(await self._redis.keys("*:alive:*"))


class TestHistoriesOfRedis(HistoryContract):
    @pytest.fixture(autouse=True)
    def on(self, server: Server) -> None:
        self._url = server.url

    @asynccontextmanager
    async def open_world(self, clock: Callable[[], float]) -> AsyncIterator[RedisWorld]:
        async with (
            Redis.from_url(self._url, protocol=2) as redis,
            open_context(clock=clock) as context,
            AsyncExitStack() as processes,
        ):
            await redis.flushall()
            yield RedisWorld(redis, context, self._url, processes)


@pytest.fixture
async def store(server: Server, tmp_path: Path) -> AsyncIterator[RedisStore]:
    settings = RedisSettings(url=Secret(server.url), timeout_s=5.0, domain=tmp_path.name)
    async with open_context() as context, open_at(settings, context, lambda: repr(float(START_S + 60))) as opened:
        yield opened


async def test_an_operator_resolves_what_is_presumed_once(store: RedisStore) -> None:
    await spend(store, "a", an_attempt(presumed_nanos=40))
    await spend(store, "b", an_attempt(cost_nanos=5))
    assert [record.id for record in await store.presumed(10)] == ["a"]
    assert [await store.resolve("a", 15) for _ in range(2)] == [True, False]
    assert not await store.resolve("never", 1)
    record = await store.record("a")
    assert record is not None
    assert (record.cost_nanos, record.presumed_nanos) == (15, 0)
    assert (await counted(store), await store.held(), await store.presumed(10)) == ((20, 0, 0), (0, 0), [])


async def test_large_amounts_stay_exact(store: RedisStore) -> None:
    claim = a_claim(limit_nanos=2**53 - 1)
    await store.hold(a_record(), [a_choice(2**53 - 2, claim)])
    assert await counted(store, claim) == (0, 2**53 - 2, 0)
    assert isinstance(await store.hold(a_record(id="b"), [a_choice(2, claim)]), Refused)
    cost = 2**53 - 3
    await store.settle(a_record(state="done", cost_nanos=cost, attempts=(an_attempt(cost_nanos=cost),)))
    assert await counted(store, claim) == (cost, 0, 0)
    with pytest.raises(StoreUnavailable, match="9,007,199"):
        await store.hold(a_record(id="c"), [a_choice(1, a_claim(limit_nanos=2**53))])


async def test_what_is_unknown_cannot_be_filtered_by(store: RedisStore) -> None:
    with pytest.raises(KeyError, match="filtered or grouped by colour"):
        await store.summary(["colour"], 0, {})


async def test_everything_ends_by_itself_but_totals_and_what_is_presumed(
    store: RedisStore, server: Server, tmp_path: Path
) -> None:
    total = a_claim("all:", windows=(Window("total", 0, 0),))
    await store.hold(a_record(id="a"), [a_choice(5, total, a_claim())])
    await store.settle(a_record(id="a", state="done", attempts=(an_attempt(cost_nanos=5),)))
    await spend(store, "b", an_attempt(presumed_nanos=5))
    async with Redis.from_url(server.url, protocol=2, decode_responses=True) as redis:
        prefix = f"{{muxer:{tmp_path.name}}}:"
        keys = [key async for key in redis.scan_iter(f"{glob.escape(prefix)}*")]
        endless = {key.removeprefix(prefix) for key in keys if await redis.ttl(key) < 0}
    assert endless == {"at", "c:all::total:0", "epoch", "owners", "presumed", "r:b", "sums"}
