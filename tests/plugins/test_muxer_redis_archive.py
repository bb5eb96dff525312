"""The records of a domain read for the sake of all of them, on a real server."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from muxer_redis import RedisSettings, open_at, read_redis
from muxer_redis.records import PAGE
from redis.asyncio import Redis

from muxer import Archive, ConfigInvalid, Record, Secret, Store
from muxer.testing import a_choice, a_key, a_record, open_context
from muxer.testing.builders import START_S
from tests.plugins.redis_server import Server, free_port


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
async def redis(server: Server) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url) as client:
        await client.flushall()
        yield client


@asynccontextmanager
async def opened(server: Server) -> AsyncIterator[tuple[Store, Archive]]:
    settings = RedisSettings(url=Secret(server.url), timeout_s=5.0)
    async with (
        open_context() as context,
        open_at(settings, context, lambda: repr(START_S + 60.0)) as store,
        read_redis(settings, context) as archive,
    ):
        yield store, archive


async def live(store: Store, *records: Record) -> None:
    for record in records:
        await store.hold(record, [a_choice(1)])
        if record.state != "open":
            await store.settle(record)


async def ids(archive: Archive, since_s: float = 0, user: str = "", keep: str = "") -> list[str]:
    where = {"user": user} if user else {}
    wanted = (lambda id: id.endswith(keep)) if keep else None
    return [one.id async for batch in archive.history(since_s, where, wanted) for one in batch]


async def test_finished_requests_come_the_oldest_first(server: Server, redis: Redis) -> None:
    async with opened(server) as (store, archive):
        await live(
            store,
            a_record(id="c", at=START_S + 2.0, state="done"),
            a_record(id="b", at=START_S + 1.0, state="failed", user="bob"),
            a_record(id="a", at=START_S + 1.0, state="done"),
            a_record(id="open", at=START_S + 1.5),
        )
        assert await ids(archive) == ["a", "b", "c"]
        assert await ids(archive, since_s=START_S + 1.5) == ["c"]
        assert await ids(archive, user="bob") == ["b"]
        assert await ids(archive, keep="b") == ["b"]
        assert await archive.count(0, {}) == 3
        assert await archive.count(START_S + 1.5, {}) == 1
        assert await archive.count(0, {"user": "bob"}) == 1


async def test_what_is_read_is_what_the_store_has(server: Server, redis: Redis) -> None:
    async with opened(server) as (store, archive):
        await live(store, a_record(id="a", state="done", signals={"code": 0.5}, tags=("x",)))
        await store.add_key(a_key())  # type: ignore[attr-defined]  # this kind keeps keys
        assert await archive.record("a") == await store.record("a")
        assert await archive.record("none") is None
        assert await archive.keys() == [a_key()]


async def test_only_what_has_a_score_is_learned_from(server: Server, redis: Redis) -> None:
    async with opened(server) as (store, archive):
        await live(store, *(a_record(id=id, at=START_S + number, state="done") for number, id in enumerate("abc")))
        for id, score in (("a", 0.5), ("c", 0.0)):
            await store.feedback(id, score)  # type: ignore[attr-defined]  # this kind keeps scores
        found = [one async for batch in archive.scored(START_S) for one in batch]
        assert [(one.id, one.feedback) for one in found] == [("a", 0.5), ("c", 0.0)]
        assert [one.id async for batch in archive.scored(START_S + 1) for one in batch] == ["c"]
        assert [one.feedback async for batch in archive.history(0, {}, None) for one in batch] == [0.5, None, 0.0]


async def test_more_than_a_batch_is_read_to_the_end(server: Server, redis: Redis) -> None:
    names = [f"{number:05}" for number in range(2 * PAGE + 10)]
    async with opened(server) as (store, archive):
        await live(store, *(a_record(id=id, at=START_S + int(id) // 3, state="done") for id in names))
        assert await ids(archive) == names


async def test_what_is_let_go_meanwhile_is_left_out_and_no_more(server: Server, redis: Redis) -> None:
    names = [f"{number:05}" for number in range(4 * PAGE)]
    async with opened(server) as (store, archive):
        await live(store, *(a_record(id=id, at=START_S + float(id), state="done") for id in names))
        batches = archive.history(0, {}, None)
        found = [one.id for one in await anext(batches)]
        await redis.zremrangebyscore("{muxer:default}:at", "-inf", START_S + 2.5 * PAGE)
        found += [one.id async for batch in batches for one in batch]
    left = names[int(2.5 * PAGE) + 1 :]
    assert found in (names[:PAGE] + left, names[: 2 * PAGE] + left)  # the second may have been asked for before


async def test_reading_changes_nothing(server: Server, redis: Redis) -> None:
    async with open_context() as context, read_redis(RedisSettings(url=Secret(server.url)), context) as archive:
        assert await ids(archive) == []
        assert await archive.count(0, {}) == 0
    assert await redis.keys() == []


async def test_a_server_that_is_not_there_is_said(tmp_path: Path) -> None:
    async with open_context(tmp_path) as context:
        with pytest.raises(ConfigInvalid):
            async with read_redis(RedisSettings(url=Secret(f"redis://127.0.0.1:{free_port()}")), context):
                pass
