"""What the embedded store removes when it is old, and what it keeps."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from muxer_sqlite import Bounds, SqliteSettings, SqliteStore, open_at, retention

from muxer import Store, Window
from muxer.testing import ManualClock, a_record, open_context
from muxer.testing.builders import START_S
from muxer.testing.contracts.money import DAY_S, a_choice, a_claim, an_attempt

NOW = START_S + 500 * DAY_S + 3_600
EAGER = Bounds(tidy_every_s=0.01, tidy_rows=7, tidy_pause_s=0)
TOTAL = a_claim("all:", limit_nanos=None, windows=(Window("total", 0, 0),))


@asynccontextmanager
async def opened(
    folder: Path, clock: ManualClock, days: int | None = 400, bounds: Bounds = EAGER
) -> AsyncIterator[SqliteStore]:
    settings = SqliteSettings(retention_days=days)
    async with open_context(folder, clock=clock) as context, open_at(settings, context, bounds) as store:
        yield store


async def live(store: Store, id: str, at: float, cost: int | None = 7, presumed: int = 0) -> None:
    """A request of that time, still open where it has no cost."""
    start = int(at) // DAY_S * DAY_S
    claims = (TOTAL, a_claim(limit_nanos=None, windows=(Window("day", start, start + DAY_S),)))
    await store.hold(a_record(id=id, at=at), [a_choice(60, *claims)])
    if cost is not None:
        attempts = (an_attempt(cost_nanos=cost, presumed_nanos=presumed),)
        await store.settle(
            a_record(id=id, at=at, state="done", cost_nanos=cost, presumed_nanos=presumed, attempts=attempts)
        )


async def ids(store: Store) -> set[str]:
    return {record.id async for record in store.records(0, {}, 10_000)}


async def until(store: Store, left: set[str]) -> None:
    async with asyncio.timeout(20):
        while await ids(store) != left:
            await asyncio.sleep(0.01)


def counters(folder: Path) -> list[tuple[str, int, int, int, int]]:
    with closing(sqlite3.connect(folder / "muxer.db")) as db:
        return db.execute(
            "SELECT account, (start - ?) / ?, spent, held, presumed FROM counters", (START_S, DAY_S)
        ).fetchall()


async def test_what_is_finished_and_old_goes_and_the_rest_stays(tmp_path: Path) -> None:
    async with opened(tmp_path, ManualClock(NOW)) as store:
        for number in range(40):
            await live(store, f"old-{number}", START_S + number)
        await live(store, "old-open", START_S + 5.5, None)
        await live(store, "old-presumed", START_S + 6.5, 1, presumed=2)
        await live(store, "of-the-last-day", START_S + 100 * DAY_S - 1)
        await live(store, "kept", START_S + 100 * DAY_S)
        await until(store, {"old-open", "old-presumed", "kept"})
        (line,) = await store.summary([], 0, {})
        assert (line.requests, line.cost_nanos, line.presumed_nanos) == (44, 42 * 7 + 1, 2)
        assert await store.examine() == []
        assert await store.resolve("old-presumed", 2)
        await until(store, {"old-open", "kept"})


async def test_nothing_goes_where_all_is_to_be_kept(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    async with opened(tmp_path, clock, days=None) as store:
        for number in range(20):
            await live(store, f"old-{number}", START_S + number)
        await gone(tmp_path, 0)
        assert len(await ids(store)) == 20


async def gone(folder: Path, day: int) -> None:
    """Waits until no counter of that day is left."""
    async with asyncio.timeout(20):
        while ("user:alice:day", day) in [one[:2] for one in counters(folder)]:
            await asyncio.sleep(0.01)


async def test_counters_go_when_their_windows_are_long_over(tmp_path: Path) -> None:
    async with opened(tmp_path, ManualClock(NOW)) as store:
        for day in (0, 432, 433, 434, 499, 500):
            await live(store, f"r-{day}", START_S + day * DAY_S)
        await live(store, "presumed", START_S + 9 * DAY_S, 0, presumed=5)
        await live(store, "open", START_S + 10 * DAY_S, None)
        await gone(tmp_path, 432)
        await gone(tmp_path, 433)
        found = {(account, day): amounts for account, day, *amounts in counters(tmp_path)}
        assert found.pop(("all::total", -START_S // DAY_S)) == [6 * 7, 60, 5]
        assert found == {
            ("user:alice:day", 9): [0, 0, 5],
            ("user:alice:day", 10): [0, 60, 0],
            **{("user:alice:day", day): [7, 0, 0] for day in (434, 499, 500)},
        }


async def test_one_step_looks_at_so_many_rows_and_no_more(tmp_path: Path) -> None:
    async with opened(tmp_path, ManualClock(NOW), bounds=Bounds()) as store:
        for number in range(12):
            await live(store, f"r-{number:02}", START_S + number // 3, None if number == 1 else 7)
        with closing(sqlite3.connect(tmp_path / "muxer.db", isolation_level=None)) as db:
            place: retention.Place | None = retention.BEGIN_RECORDS
            left: list[int] = []
            while place is not None:
                place = retention.remove_records(db, NOW, 400, place, 5)
                left.append(len(await ids(store)))
        assert left == [8, 3, 1]


async def test_the_room_of_what_went_is_given_back_in_steps(tmp_path: Path) -> None:
    path = tmp_path / "muxer.db"
    async with opened(tmp_path, ManualClock(NOW)) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("CREATE TABLE ballast (bytes BLOB)")
            db.execute(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40) "
                "INSERT INTO ballast SELECT zeroblob(250000) FROM n"
            )
            (full,) = db.execute("PRAGMA page_count").fetchone()
            db.execute("DROP TABLE ballast")
            async with asyncio.timeout(20):
                while db.execute("PRAGMA freelist_count").fetchone()[0] > 1_000:
                    await asyncio.sleep(0.01)
            (left,) = db.execute("PRAGMA page_count").fetchone()
        assert full > 2_400
        assert left < full - 1_000
        assert await store.examine() == []


async def test_a_file_that_cannot_give_room_back_is_used_on(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "muxer.db")) as db:
        db.execute("CREATE TABLE older (made INTEGER)")
    async with opened(tmp_path, ManualClock(NOW)) as store:
        await live(store, "old", START_S)
        await until(store, set())
    with closing(sqlite3.connect(tmp_path / "muxer.db", isolation_level=None)) as db:
        assert db.execute("PRAGMA auto_vacuum").fetchone() == (0,)
        assert retention.give_back(db) is False
