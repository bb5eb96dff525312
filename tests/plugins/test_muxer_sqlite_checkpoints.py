"""SQLite's log is emptied beside the writer, whoever else reads and writes the file (RELIABILITY F13)."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from muxer_sqlite import Bounds, SqliteSettings, SqliteStore, open_at

from muxer import Granted, Window
from muxer.testing import a_record, open_context
from muxer.testing.contracts.money import a_choice, a_claim, an_attempt, counted

CLAIM = a_claim(limit_nanos=1_000, windows=(Window("total", 0, 0),))
SHORT = Bounds(empty_every_s=0.01, emptied_at_bytes=100_000)
PATIENCE_S = 20.0


async def is_emptied(folder: Path) -> None:
    """Waits until the log has no frame that the file lacks."""
    async with asyncio.timeout(PATIENCE_S):
        while (folder / "muxer.db-wal").stat().st_size > SHORT.emptied_at_bytes:
            await asyncio.sleep(SHORT.empty_every_s)


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
        await is_emptied(tmp_path)
        assert await other.examine() == []


async def test_nobody_waits_for_a_reader_and_the_log_is_emptied_after_it(tmp_path: Path) -> None:
    log = tmp_path / "muxer.db-wal"
    settings = SqliteSettings(busy_timeout_s=0.1)  # whoever emptied it and waited that long would have one refused
    async with open_context(tmp_path) as context, open_at(settings, context, SHORT) as store:
        with closing(sqlite3.connect(tmp_path / "muxer.db", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM requests").fetchall()
            assert await served(store, range(100)) == 100
            assert log.stat().st_size > SHORT.emptied_at_bytes
            assert store.trouble == ""
            reader.execute("ROLLBACK")
        await is_emptied(tmp_path)
        assert await counted(store, CLAIM) == (700, 0, 0)
