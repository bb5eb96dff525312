"""A plugin for tests, as third parties would write one: a store that keeps money and no keys."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from msgspec import Struct
from muxer_sqlite import SqliteSettings, open_sqlite

from muxer import Context, Kind, Store, hookimpl


class KeylessSettings(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Keyless:
    """Another store with nothing but what every store has."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        if name in Store.__dict__:
            return getattr(self._store, name)
        raise AttributeError(name)


@asynccontextmanager
async def open_keyless(settings: KeylessSettings, context: Context) -> AsyncIterator[Keyless]:
    async with open_sqlite(SqliteSettings(), context) as store:
        yield Keyless(store)


@hookimpl
def register_stores() -> list[Kind[Any]]:
    return [Kind("keyless", KeylessSettings, open_keyless)]
