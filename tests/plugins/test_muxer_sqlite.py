"""The embedded store against the published contract."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from muxer_sqlite import SqliteSettings, open_sqlite

from muxer import Store
from muxer.testing import KeysContract, StoreContract, open_context


class TestSqliteStore(StoreContract, KeysContract):
    @asynccontextmanager
    async def open_store(self, folder: Path, clock: Callable[[], float]) -> AsyncIterator[Store]:
        async with open_context(folder, clock=clock) as context, open_sqlite(SqliteSettings(), context) as store:
            yield store
