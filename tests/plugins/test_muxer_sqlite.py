"""The embedded store against the published contracts."""

import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

from muxer_sqlite import SqliteSettings, open_sqlite

from muxer import Context, Store
from muxer.testing import FeedbackContract, HistoryContract, KeyedContract, KeysContract, StoreContract, open_context


class TestSqliteStore(StoreContract, KeysContract, KeyedContract, FeedbackContract):
    @asynccontextmanager
    async def open_store(self, folder: Path, clock: Callable[[], float]) -> AsyncIterator[Store]:
        async with open_context(folder, clock=clock) as context, open_sqlite(SqliteSettings(), context) as store:
            yield store


class SqliteWorld:
    """One file and the processes that have it open, all of them in this one."""

    def __init__(self, context: Context, processes: AsyncExitStack) -> None:
        self._context = context
        self._processes = processes
        self._file = context.folder / "muxer.db"
        self._owners = context.folder / "muxer.db.owners"
        self._locks: dict[int, Path] = {}
        self._lost: list[Path] = []
        self._copy = processes.enter_context(closing(sqlite3.connect(":memory:")))

    async def start(self) -> Store:
        for lock in self._lost:  # a file of that name on which nobody has a lock: as the kernel leaves it
            lock.unlink()
            lock.touch()
        self._lost.clear()
        known = set(self._owners.glob("*"))
        store = await self._processes.enter_async_context(open_sqlite(SqliteSettings(), self._context))
        (self._locks[id(store)],) = set(self._owners.glob("*")) - known
        return store

    def lose(self, store: Store) -> None:
        self._lost.append(self._locks[id(store)])

    async def save(self) -> None:
        with closing(sqlite3.connect(self._file)) as live:
            live.backup(self._copy)

    async def restore(self) -> None:
        with closing(sqlite3.connect(self._file)) as live:
            self._copy.backup(live)


class TestHistoriesOfSqlite(HistoryContract):
    @asynccontextmanager
    async def open_world(self, clock: Callable[[], float]) -> AsyncIterator[SqliteWorld]:
        with tempfile.TemporaryDirectory() as folder:
            async with open_context(Path(folder), clock=clock) as context, AsyncExitStack() as processes:
                yield SqliteWorld(context, processes)
