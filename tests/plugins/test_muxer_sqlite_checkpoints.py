"""SQLite's log is emptied beside the writer, whoever else reads and writes the file (RELIABILITY F13)."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from muxer_sqlite import Bounds, SqliteSettings, SqliteStore, open_at
from muxer_sqlite.checkpoints import Log, look_at

from muxer import Granted, Window
from muxer.testing import a_record, open_context
from muxer.testing.contracts.money import a_choice, a_claim, an_attempt, counted

CLAIM = a_claim(limit_nanos=1_000, windows=(Window("total", 0, 0),))
SHORT = Bounds(empty_every_s=0.01, emptied_at_bytes=100_000)
PATIENCE_S = 20.0


FRAME = 24 + 4_096


def frames(folder: Path) -> int:
    """How many frames SQLite itself says the log has."""
    with closing(sqlite3.connect(folder / "muxer.db", isolation_level=None)) as asking:
        (_, found, _) = asking.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return int(found)


async def is_emptied(store: SqliteStore, folder: Path) -> None:
    """Waits until the log begins anew, which it does with the first write after it was copied."""
    async with asyncio.timeout(PATIENCE_S):
        while look_at(folder / "muxer.db-wal").used_bytes > SHORT.emptied_at_bytes:
            await asyncio.sleep(SHORT.empty_every_s)
            await store.feedback("0", 0.5)


async def served(store: SqliteStore, ids: range) -> int:
    """Holds 10 nano-dollars for each, and settles them with 7; how many were granted."""
    granted = 0
    for id in map(str, ids):
        if isinstance(await store.hold(a_record(id=id), [a_choice(10, CLAIM)]), Granted):
            granted += 1
            attempts = (an_attempt(cost_nanos=7),)
            await store.settle(a_record(id=id, state="done", cost_nanos=7, attempts=attempts))
    return granted


async def test_two_processes_empty_it_while_they_spend_one_budget_to_its_end(tmp_path: Path) -> None:
    async with (
        open_context(tmp_path) as context,
        open_at(SqliteSettings(), context, SHORT) as one,
        open_at(SqliteSettings(), context, SHORT) as other,
    ):
        stores = [one, other] * 4
        granted = await asyncio.gather(
            *(served(store, range(start, start + 50)) for start, store in zip(range(0, 400, 50), stores, strict=True))
        )
        spent, held, presumed = await counted(one, CLAIM)
        assert (spent, held, presumed) == (7 * sum(granted), 0, 0)
        assert 1_000 - 10 < spent <= 1_000  # to the last request that still fitted
        assert await counted(other, CLAIM) == (spent, 0, 0)
        await is_emptied(one, tmp_path)
        assert await other.examine() == []


async def test_nobody_waits_for_a_reader_and_the_log_is_emptied_after_it(tmp_path: Path) -> None:
    settings = SqliteSettings(busy_timeout_s=0.1)  # whoever emptied it and waited that long would have one refused
    async with open_context(tmp_path) as context, open_at(settings, context, SHORT) as store:
        with closing(sqlite3.connect(tmp_path / "muxer.db", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM requests").fetchall()
            assert await served(store, range(100)) == 100
            assert look_at(tmp_path / "muxer.db-wal").used_bytes > SHORT.emptied_at_bytes
            assert store.trouble == ""
            reader.execute("ROLLBACK")
        await is_emptied(store, tmp_path)
        assert await counted(store, CLAIM) == (700, 0, 0)


async def test_a_log_that_begins_anew_keeps_its_file_and_is_measured_by_what_is_in_use(tmp_path: Path) -> None:
    path, seldom = tmp_path / "muxer.db-wal", Bounds(empty_every_s=3_600)
    async with open_context(tmp_path) as context, open_at(SqliteSettings(), context, seldom) as store:
        await served(store, range(20))
        before = look_at(path)
        assert before.used_bytes == frames(tmp_path) * FRAME == path.stat().st_size - 32
        with closing(sqlite3.connect(tmp_path / "muxer.db", isolation_level=None)) as other:
            assert other.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0] == 0
        assert look_at(path) == before, "until somebody writes again"
        await served(store, range(20, 21))
        after = look_at(path)
        assert after.salt != before.salt
        assert 0 < after.used_bytes == frames(tmp_path) * FRAME < before.used_bytes == path.stat().st_size - 32


def test_a_log_without_a_header_is_empty(tmp_path: Path) -> None:
    (tmp_path / "muxer.db-wal").write_bytes(b"")
    assert look_at(tmp_path / "muxer.db-wal") == Log()
