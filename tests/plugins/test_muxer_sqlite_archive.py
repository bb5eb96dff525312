"""The records of the embedded store read for the sake of all of them, while others write."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace
from muxer_sqlite import SqliteSettings, open_sqlite, read_sqlite
from muxer_sqlite.archive import BATCH

from muxer import Archive, ConfigInvalid, KeepsFeedback, Record, Store
from muxer.testing import a_choice, a_key, a_record, open_context
from muxer.testing.builders import START_S


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[Store, Archive]]:
    settings = SqliteSettings(retention_days=None)
    async with (
        open_context(folder) as context,
        open_sqlite(settings, context) as store,
        read_sqlite(settings, context) as archive,
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


async def test_finished_requests_come_the_oldest_first(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, archive):
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
        assert await archive.count(0, {"user": "bob"}) == 1


async def test_those_with_a_score_are_found_with_what_can_be_learned_from_them(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, archive):
        assert isinstance(store, KeepsFeedback)
        for number in range(2 * BATCH + 6):
            record = a_record(id=f"{number:05}", at=START_S + number // 3, model="m-1", features={"a": str(number)})
            await store.hold(record, [a_choice(0)])
            if number != 4:
                await store.settle(replace(record, state="done"))
            if number % 2 == 0:
                await store.feedback(record.id, number / 1_000)
        found = [one async for batch in archive.scored(START_S + 1) for one in batch]
    wanted = range(6, 2 * BATCH + 6, 2)
    assert [(one.id, one.model, one.feedback, one.features) for one in found] == [
        (f"{number:05}", "m-1", number / 1_000, {"a": str(number)}) for number in wanted
    ]


async def test_what_is_read_is_what_the_store_has(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, archive):
        await live(store, a_record(id="a", state="done", signals={"code": 0.5}, tags=("x",)))
        assert await archive.record("a") == await store.record("a")
        assert await archive.record("none") is None


async def test_keys_are_read_too(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, archive):
        assert await archive.keys() == []
        await store.add_key(a_key())  # type: ignore[attr-defined]  # this kind keeps keys
        assert await archive.keys() == [a_key()]


async def test_more_than_a_batch_is_read_to_the_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, archive):
        count = BATCH + 10
        for number in range(count):
            await store.hold(a_record(id=f"{number:05}", at=START_S + number // 3), [a_choice(0)])
            await store.settle(a_record(id=f"{number:05}", at=START_S + number // 3, state="done"))
        assert await ids(archive) == [f"{number:05}" for number in range(count)]


async def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    async with open_context(tmp_path) as context:
        with pytest.raises(ConfigInvalid):
            async with read_sqlite(SqliteSettings(path="none.db"), context):
                pass
    assert list(tmp_path.iterdir()) == []
