"""The records of a file opened for reading alone, for commands that go through all of them."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from muxer import Archive, ConfigInvalid, Fault, Record, StoredKey, StoreUnavailable, file_words
from muxer_sqlite import keys, reading
from muxer_sqlite.rows import COLUMNS, NAMES, from_row, reader

T = TypeVar("T")
BATCH = 250  # larger ones no longer fit into the processor's cache, and take a fifth longer a row


class SqliteArchive:
    """Queries on one connection in one thread. Each batch is a query of its own: none keeps the log from being cut."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor, columns: Mapping[str, str]) -> None:
        self._connection = connection
        self._thread = thread
        self._columns = columns

    def _select(self, names: Sequence[str]) -> str:
        return f"SELECT {', '.join(self._columns[name] for name in names)} FROM requests"

    async def count(self, since_s: float, where: Mapping[str, str]) -> int:
        """See Archive."""
        query = f"SELECT count(*) FROM requests WHERE at >= ? AND state != 'open'{reading.conditions(where)}"
        ((found,),) = await self._found(query, (since_s, *where.values()))
        return int(found)

    async def history(
        self, since_s: float, where: Mapping[str, str], keep: Callable[[str], bool] | None
    ) -> AsyncIterator[Sequence[Record]]:
        """See Archive."""
        query = (
            f"{self._select(_DECIDING)} WHERE (at, id) > (?, ?) AND state != 'open'{reading.conditions(where)} "
            f"ORDER BY at, id LIMIT {BATCH}"
        )
        # One lower bound only: given another on the time, SQLite begins each page at that, and reads all before again.
        after: tuple[float, str] = (since_s, "")
        while True:
            rows = await self._found(query, (*after, *where.values()))
            if not rows:
                return
            after = (rows[-1][_AT], rows[-1][_ID])
            yield [_read(row) for row in rows if keep is None or keep(row[_ID])]

    async def scored(self, since_s: float) -> AsyncIterator[Sequence[Record]]:
        """See Archive."""
        query = (
            f"{self._select(_LEARNING)} WHERE feedback IS NOT NULL AND (at, id) > (?, ?) AND state != 'open' "
            f"ORDER BY at, id LIMIT {BATCH}"
        )
        after: tuple[float, str] = (since_s, "")
        while rows := await self._found(query, after):
            batch = [_read_scored(row) for row in rows]
            after = (batch[-1].at, batch[-1].id)
            yield batch

    async def record(self, id: str) -> Record | None:
        """See Archive."""
        rows = await self._found(f"{self._select(NAMES)} WHERE id = ?", (id,))
        return from_row(rows[0]) if rows else None

    async def keys(self) -> list[StoredKey]:
        """See Archive."""
        return await self._run(partial(keys.every, self._connection))

    async def _found(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        return await self._run(lambda: self._connection.execute(query, values).fetchall())

    async def _run(self, query: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, query)
        except sqlite3.Error as error:
            raise StoreUnavailable(file_words(error)) from error


# Half of the columns are for people to read, and a third of the time.
_FOR_PEOPLE = {
    "reason", "branch", "feedback", "features", "end_user", "notes", "error", "status", "provider", "first_byte_ms",
    "client_gone", "config",
    "prices", "schema", "cost_nanos", "presumed_nanos", "expected_nanos", "expected_high_nanos", "saved_nanos",
    "reasoning_tokens",
}  # fmt: skip
_DECIDING = tuple(name for name in NAMES if name not in _FOR_PEOPLE)
_AT, _ID = _DECIDING.index("at"), _DECIDING.index("id")
_read = reader(_DECIDING)
_LEARNING = ("id", "at", "api", "state", "user", "key", "model", "feedback", "features")
_read_scored = reader(_LEARNING)


@asynccontextmanager
async def open_archive(path: Path, busy_timeout_s: float) -> AsyncIterator[Archive]:
    """Opens the file of a store without making or changing anything. Raises ConfigInvalid."""
    try:
        connection = _connect(path, busy_timeout_s)
    except sqlite3.Error as error:
        raise ConfigInvalid([Fault(f"{path.name!r} cannot be read: {file_words(error)}")]) from error
    with closing(connection), ThreadPoolExecutor(1, "sqlite-archive") as thread:
        yield SqliteArchive(connection, thread, _columns(connection, path.name))


def _connect(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    # Where the folder cannot be written either, SQLite wants to hear that nobody else writes to a file without a log.
    is_copy = not path.with_name(path.name + "-wal").exists() and not _can_be_written(path.parent)
    connection = sqlite3.connect(
        f"{path.as_uri()}?{'immutable=1' if is_copy else 'mode=ro'}",
        uri=True,
        timeout=busy_timeout_s,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute("PRAGMA query_only = ON")
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return connection


def _can_be_written(folder: Path) -> bool:
    return os.access(folder, os.W_OK)


def _columns(connection: sqlite3.Connection, path: str) -> dict[str, str]:
    """What to select for each field: for columns that came after the file, what they mean where nothing was written."""
    there = {name for _, name, *_ in connection.execute("PRAGMA table_info(requests)")}
    if not there:
        raise ConfigInvalid([Fault(f"{path!r} has no requests: it is no file of a store")])
    return {one.name: one.name if one.name in there else f"{one.default} AS {one.name}" for one in COLUMNS}
