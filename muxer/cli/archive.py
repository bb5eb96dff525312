"""The records of a store for commands that go through all of them, opened so that nothing in it changes."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from muxer.cli.contexts import open_context
from muxer.config.settings import Configuration
from muxer.errors import ConfigInvalid, Fault
from muxer.interfaces import Archive, Kind
from muxer.keys import KeepsKeys, StoredKey
from muxer.plugins import find_kinds
from muxer.stores import Store
from muxer.types import Record

_BATCH = 1_000
_ALL = 10**12


class Log(Struct, frozen=True):
    """Which records are meant: the store that has them, and the name a person knows it by."""

    kind: Kind[Store]
    settings: Struct
    folder: Path
    name: str


def log_of(configuration: Configuration, path: Path | None) -> Log:
    """The records of that file, else those of the configured store. Raises ConfigInvalid where that is no file."""
    if path is not None:
        return log_at(path)
    store = configuration.settings.store
    log = Log(configuration.kinds.stores[store.kind], store.settings, configuration.folder, _named(store.settings))
    return _there(log, "name the file that has the requests with --log")


def log_at(path: Path) -> Log:
    """The records in a file of the embedded store. Raises ConfigInvalid where there is none."""
    kind = find_kinds(["sqlite"]).stores["sqlite"]
    settings: Struct = msgspec.convert({"path": str(path.absolute())}, kind.settings)
    return _there(Log(kind, settings, Path(), str(path)), "name the file that has the requests")


def _there(log: Log, hint: str) -> Log:
    file = getattr(log.settings, "path", None)  # by the convention that a store kept in a file says so
    if isinstance(file, str) and not (log.folder / file).exists():
        raise ConfigInvalid([Fault(f"no requests are recorded in {log.name}: no such file", hint=hint)])
    return log


def _named(settings: Struct) -> str:
    path = getattr(settings, "path", None)
    return path if isinstance(path, str) else "the configured store"


@asynccontextmanager
async def open_archive(log: Log) -> AsyncIterator[Archive]:
    """Opens the records. A kind of store that cannot be opened for reading alone is opened as by other commands, and
    only read from. Raises ConfigInvalid and StoreUnavailable."""
    async with open_context(log.folder) as context:
        if log.kind.read is not None:
            async with log.kind.read(log.settings, context) as archive:
                yield archive
            return
        async with log.kind.open(log.settings, context) as store:
            yield NewestFirst(store)


class NewestFirst:
    """The records of a store that tells the newest first: all that are kept are in memory until they had their turn."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def count(self, since_s: float, where: Mapping[str, str]) -> int:
        """See Archive."""
        return sum(row.requests for row in await self._store.summary([], since_s, where))

    async def history(
        self, since_s: float, where: Mapping[str, str], keep: Callable[[str], bool] | None
    ) -> AsyncIterator[Sequence[Record]]:
        """See Archive."""
        found = self._store.records(since_s, where, _ALL)
        kept = [one async for one in found if one.state != "open" and (keep is None or keep(one.id))]
        while kept:
            yield kept[: -_BATCH - 1 : -1]
            del kept[-_BATCH:]

    async def scored(self, since_s: float) -> AsyncIterator[Sequence[Record]]:
        """See Archive."""
        found = self._store.records(since_s, {}, _ALL)
        yield [one async for one in found if one.state != "open" and one.feedback is not None][::-1]

    async def record(self, id: str) -> Record | None:
        """See Archive."""
        return await self._store.record(id)

    async def keys(self) -> list[StoredKey]:
        """See Archive."""
        return await self._store.keys() if isinstance(self._store, KeepsKeys) else []
