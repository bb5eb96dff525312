"""The embedded store's sums over all time against its rows, and files of older versions."""

import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from muxer_sqlite import SqliteSettings, SqliteStore, open_sqlite, read_sqlite, schema, totals
from muxer_sqlite.schema import VERSION

from muxer import Attempt, ConfigInvalid, Granted, Record, Store, Usage
from muxer.testing import ManualClock, a_record, open_context
from muxer.testing.builders import START_S
from muxer.testing.contracts.keyed import FIRST, remembering
from muxer.testing.contracts.money import DAY_S, a_choice, an_attempt

FIELDS = ("user", "team", "key", "route", "model", "provider", "state", "config")
SUMS = ("input_tokens", "cached_input_tokens", "output_tokens", "cost_nanos", "held_nanos", "presumed_nanos")
# Around the ends of three days, to the microsecond, since a day is where totals and rows meet.
TIMES = tuple(START_S + day * DAY_S + offset for day in range(3) for offset in (0.0, 0.5, 40_000.25, 86_399.999_999))


@asynccontextmanager
async def opened(folder: Path, clock: Callable[[], float] | None = None) -> AsyncIterator[SqliteStore]:
    async with (
        open_context(folder, clock=clock or ManualClock()) as context,
        open_sqlite(SqliteSettings(), context) as store,
    ):
        assert isinstance(store, SqliteStore)
        yield store


def rows_of(folder: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "muxer.db")) as db:
        return db.execute(query, values).fetchall()


def scanned(folder: Path, by: Sequence[str], since_s: float, where: dict[str, str]) -> list[tuple[Any, ...]]:
    """The sums as one scan of all rows gives them."""
    day = f"date(CAST(at AS INTEGER) / {DAY_S} * {DAY_S}, 'unixepoch')"
    groups = [day if name == "day" else name for name in by]
    sums = ", ".join(f"coalesce(sum({name}), 0)" for name in SUMS)
    query = (
        f"SELECT {', '.join([*groups, 'count(*)', sums])} FROM requests WHERE at >= ?"
        + "".join(f" AND {name} = ?" for name in where)
        + (f" GROUP BY {', '.join(groups)}" if groups else "")
    )
    return sorted(rows_of(folder, query, since_s, *where.values()))


async def summed(store: Store, by: Sequence[str], since_s: float, where: dict[str, str]) -> list[tuple[Any, ...]]:
    lines = await store.summary(by, since_s, where)
    assert [line.cost_nanos for line in lines] == sorted((line.cost_nanos for line in lines), reverse=True)
    return sorted(
        (*(line.group[name] for name in by), line.requests, *(getattr(line, name) for name in SUMS)) for line in lines
    )


RECORDS = st.builds(
    a_record,
    id=st.sampled_from([f"r-{number}" for number in range(8)]),
    at=st.sampled_from(TIMES),
    user=st.sampled_from(["alice", "bob"]),
    model=st.sampled_from(["m-1", "m-2"]),
    route=st.sampled_from(["", "code"]),
    config=st.sampled_from(["a", "b"]),
    usage=st.builds(Usage, input_tokens=st.integers(0, 9), output_tokens=st.integers(0, 9)),
)
QUERIES = st.tuples(
    st.lists(st.sampled_from(["day", *FIELDS]), max_size=3, unique=True),
    st.sampled_from([0.0, *TIMES, TIMES[-1] + DAY_S]),
    st.dictionaries(st.sampled_from(["user", "model", "state"]), st.sampled_from(["alice", "m-2", "done", "open"])),
)


class Story:
    """What happens to requests, as the core does it: a settlement repeats how attempts ended before."""

    def __init__(self, store: SqliteStore, ended: dict[str, tuple[Attempt, ...]] | None = None) -> None:
        self._store = store
        self._ended = {} if ended is None else ended

    async def hold(self, record: Record, cost: int = 0) -> None:
        await self._store.hold(record, [a_choice(10, floor_nanos=0)])

    async def extend(self, record: Record, cost: int) -> None:
        attempts = self._ended.get(record.id, ())
        leg, ended = len(attempts) + 1, an_attempt(presumed_nanos=cost)
        if isinstance(await self._store.extend(record.id, leg, a_choice(5, floor_nanos=0), ended), Granted):
            self._ended[record.id] = (*attempts, ended)

    async def settle(self, record: Record, cost: int) -> None:
        attempts = (*self._ended.get(record.id, ()), an_attempt(cost_nanos=cost, presumed_nanos=cost % 3))
        presumed = sum(attempt.presumed_nanos for attempt in attempts)
        await self._store.settle(
            replace(record, state="done", cost_nanos=cost, presumed_nanos=presumed, attempts=attempts)
        )

    async def resolve(self, record: Record, cost: int) -> None:
        await self._store.resolve(record.id, cost)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    lives=st.lists(
        st.lists(
            st.tuples(st.sampled_from(["hold", "hold", "settle", "extend", "resolve"]), RECORDS, st.integers(0, 9)),
            max_size=12,
        ),
        min_size=1,
        max_size=3,
    ),
    queries=st.lists(QUERIES, min_size=1, max_size=4),
)
async def test_sums_are_those_of_a_scan(
    lives: list[list[tuple[str, Record, int]]], queries: list[tuple[list[str], float, dict[str, str]]]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        ended: dict[str, tuple[Attempt, ...]] = {}
        for life in lives:  # what is open at the end of one is interrupted, and may be settled in the next
            async with opened(Path(name)) as store:
                story = Story(store, ended)
                for kind, record, cost in life:
                    await getattr(story, kind)(record, cost)
                for by, since_s, where in queries:
                    assert await summed(store, by, since_s, where) == scanned(Path(name), by, since_s, where)
                assert await store.examine() == []


async def test_sums_over_all_time_read_no_finished_row(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await Story(store).hold(a_record(), 0)
        await Story(store).settle(a_record(), 7)
        with closing(sqlite3.connect(tmp_path / "muxer.db")) as db:
            db.execute("DELETE FROM requests")
            db.commit()
        (line,) = await store.summary(["user"], 0, {})
        assert (line.group, line.requests, line.cost_nanos) == ({"user": "alice"}, 1, 7)


async def test_the_sums_of_one_user_do_not_read_those_of_all(tmp_path: Path) -> None:
    asked: list[str] = []
    with closing(sqlite3.connect(":memory:")) as db:
        schema.prepare(db)
        db.set_trace_callback(asked.append)
        totals.summary(db, ["model", "provider"], 0, {"user": "alice"})
        db.set_trace_callback(None)
        plan = " ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {asked[-1]}"))
    assert "SEARCH totals USING INDEX totals_by_user (user=?" in plan


async def test_a_file_from_before_the_index_gets_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await Story(store).hold(a_record(), 0)
        await Story(store).settle(a_record(), 7)
    with closing(sqlite3.connect(tmp_path / "muxer.db")) as db:
        db.execute("DROP INDEX totals_by_user")
    async with opened(tmp_path) as store:
        assert await summed(store, ["model"], 0, {"user": "alice"}) == [("", 1, 0, 0, 0, 7, 0, 1)]
    assert rows_of(tmp_path, "SELECT 1 FROM sqlite_schema WHERE name = 'totals_by_user'") == [(1,)]


async def test_an_unknown_field_is_no_field(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for by, where in ((["colour"], {}), ([], {"day": "2026-09-22"}), ([], {"at; DROP TABLE requests": "1"})):
            with pytest.raises(KeyError):
                await store.summary(by, 0, where)


FIRST_VERSION = """
CREATE TABLE requests (
  id TEXT NOT NULL, api TEXT NOT NULL, state TEXT NOT NULL, user TEXT NOT NULL, key TEXT NOT NULL, team TEXT NOT NULL,
  end_user TEXT NOT NULL, conversation TEXT NOT NULL, requested_model TEXT NOT NULL, route TEXT NOT NULL,
  reason TEXT NOT NULL, model TEXT NOT NULL, provider TEXT NOT NULL, error TEXT NOT NULL, config TEXT NOT NULL,
  prices TEXT NOT NULL, tags TEXT NOT NULL, signals TEXT NOT NULL, needs TEXT NOT NULL, excluded TEXT NOT NULL,
  attempts TEXT NOT NULL,
  estimate_tokens INTEGER NOT NULL, bound_tokens INTEGER NOT NULL, cost_nanos INTEGER NOT NULL,
  presumed_nanos INTEGER NOT NULL, expected_nanos INTEGER NOT NULL, status INTEGER NOT NULL,
  client_gone INTEGER NOT NULL, schema INTEGER NOT NULL, input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL, cached_input_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL,
  reasoning_tokens INTEGER NOT NULL,
  at REAL NOT NULL, ms REAL NOT NULL, first_byte_ms REAL NOT NULL,
  cost_usd TEXT AS (printf('%d.%09d', cost_nanos / 1000000000, cost_nanos % 1000000000)),
  presumed_usd TEXT AS (printf('%d.%09d', presumed_nanos / 1000000000, presumed_nanos % 1000000000)),
  owner TEXT NOT NULL, held_nanos INTEGER NOT NULL, holds TEXT, drawn TEXT,
  PRIMARY KEY (id)
) WITHOUT ROWID;
CREATE INDEX requests_by_time ON requests (at);
CREATE INDEX requests_by_user ON requests (user, at);
CREATE INDEX requests_open ON requests (owner) WHERE state = 'open';
CREATE INDEX requests_presumed ON requests (presumed_nanos) WHERE presumed_nanos > 0;
CREATE TABLE quotas (account TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE counters (
  account TEXT NOT NULL, start INTEGER NOT NULL, spent INTEGER NOT NULL DEFAULT 0, held INTEGER NOT NULL DEFAULT 0,
  presumed INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (account, start)
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""
TEXTS = ("api", "key", "team", "end_user", "conversation", "requested_model", "route", "reason", "provider", "error",
         "config", "prices")  # fmt: skip
NUMBERS = ("estimate_tokens", "bound_tokens", "expected_nanos", "status", "client_gone", "cached_input_tokens",
           "cache_write_tokens", "reasoning_tokens", "ms", "first_byte_ms")  # fmt: skip


def insert_as_the_first_version(
    db: sqlite3.Connection, id: str, state: str, cost: int, presumed: int, holds: str | None
) -> None:
    row: dict[str, object] = dict.fromkeys(TEXTS, "x") | dict.fromkeys(NUMBERS, 1)
    row |= {
        "id": id,
        "state": state,
        "user": "alice",
        "model": "m-1",
        "at": START_S + 60.0,
        "schema": 1,
        "owner": "gone",
    }
    row |= {"tags": '["a"]', "signals": '{"code":0.5}', "needs": '{"n":2}', "excluded": "[]", "attempts": "[]"}
    row |= {"cost_nanos": cost, "presumed_nanos": presumed, "input_tokens": 3, "output_tokens": 4, "holds": holds}
    row |= {"held_nanos": 60 if state == "open" else 0, "drawn": None}
    db.execute(f"INSERT INTO requests ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})", row)


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    """The folder of a file of version 1: one request done, one in flight when its process died."""
    with closing(sqlite3.connect(tmp_path / "muxer.db")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(FIRST_VERSION)
        insert_as_the_first_version(db, "done", "done", 30, 0, None)
        insert_as_the_first_version(db, "open", "open", 0, 0, f'[[0,60,[["user:alice:day",{START_S},60]],false,0]]')
        db.execute("INSERT INTO counters VALUES ('user:alice:day', ?, 30, 60, 0)", (START_S,))
        db.commit()
    return tmp_path


async def test_a_file_of_the_first_version_goes_on(old_file: Path) -> None:
    async with opened(old_file) as store:
        record = await store.record("done")
        assert record is not None
        assert (record.tags, record.needs.n, record.cost_nanos) == (("a",), 2, 30)
        assert (record.saved_nanos, record.notes, record.feedback, record.features) == (0, {}, None, {})
        assert await store.feedback("done", 0.5)
        scored = await store.record("done")
        assert scored is not None
        assert scored.feedback == 0.5
        found = {line.group["state"]: line for line in await store.summary(["state"], 0, {})}
        assert {state: (line.cost_nanos, line.presumed_nanos) for state, line in found.items()} == {
            "done": (30, 0),
            "interrupted": (0, 60),
        }
        assert await store.examine() == []
        await Story(store).hold(a_record(), 0)
        await Story(store).settle(a_record(notes={"a": "b"}), 7)
        new = await store.record("request-1")
        assert new is not None
        assert new.notes == {"a": "b"}
        assert await summed(store, ["state"], 0, {}) == scanned(old_file, ["state"], 0, {})
    assert rows_of(old_file, "PRAGMA user_version") == [(VERSION,)]


async def test_a_file_of_the_first_version_is_read_as_it_is(old_file: Path) -> None:
    async with open_context(old_file) as context, read_sqlite(SqliteSettings(), context) as archive:
        assert [one async for batch in archive.scored(0) for one in batch] == []
        assert [one.id async for batch in archive.history(0, {}, None) for one in batch] == ["done"]


async def test_an_older_proxy_may_write_into_a_newer_file(old_file: Path) -> None:
    async with opened(old_file) as store:
        with closing(sqlite3.connect(old_file / "muxer.db")) as db:
            insert_as_the_first_version(db, "late", "open", 0, 0, None)
            db.execute("UPDATE requests SET state = 'done', cost_nanos = 5 WHERE id = 'late'")
            db.commit()
        (line,) = await store.summary(["state"], 0, {"state": "done"})
        assert (line.requests, line.cost_nanos) == (2, 35)
        assert await store.record("late") is not None


@pytest.mark.parametrize("column", ["notes", "client_gone", "saved_nanos", "ms", "reasoning_tokens", "prices", "tags"])
async def test_a_field_that_came_after_the_file_gets_its_default(tmp_path: Path, column: str) -> None:
    async with opened(tmp_path) as store:
        await Story(store).hold(a_record(), 0)
    with closing(sqlite3.connect(tmp_path / "muxer.db")) as db:
        db.execute(f"ALTER TABLE requests DROP COLUMN {column}")
    async with opened(tmp_path) as store:
        assert await store.record("request-1") == a_record(state="interrupted", presumed_nanos=10)


async def test_a_file_of_the_second_version_can_remember_keyed_requests(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await Story(store).hold(a_record(), 0)
    with closing(sqlite3.connect(tmp_path / "muxer.db")) as db:
        db.executescript("DROP TABLE keyed; PRAGMA user_version = 2")
    async with opened(tmp_path) as store:
        assert await remembering(store).first_of(FIRST) == FIRST
        assert await store.record("request-1") == a_record(state="interrupted", presumed_nanos=10)


async def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "muxer.db")) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(ConfigInvalid, match="a later version"):
        await AsyncExitStack().enter_async_context(opened(tmp_path))
    assert rows_of(tmp_path, "PRAGMA user_version") == [(VERSION + 1,)]
