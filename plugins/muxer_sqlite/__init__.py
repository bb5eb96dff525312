"""The default store: one SQLite file with holds, counters and records. The hold row of a request is its record."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from msgspec import Meta, Struct

from muxer import (
    Attempt,
    BudgetClaim,
    ConfigInvalid,
    Context,
    Fault,
    Granted,
    HoldChoice,
    Kind,
    Quota,
    QuotaStanding,
    Record,
    Refused,
    Standing,
    Store,
    StoredKey,
    StoreUnavailable,
    Summary,
    hookimpl,
)
from muxer_sqlite import keys as key_rows
from muxer_sqlite import ledger, reading, schema
from muxer_sqlite import quotas as quota_rows
from muxer_sqlite.owners import Owner
from muxer_sqlite.writer import Writer

T = TypeVar("T")
SWEEP_EVERY_S = 5.0
_END_OF_TIME = float("inf")


class SqliteSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`path` is relative to routing.yaml. `synchronous: full` also survives the loss of power (RELIABILITY, promises by
    store); `busy_timeout_s` is how long a write waits for another process's lock."""

    path: str = "muxer.db"
    synchronous: Literal["normal", "full"] = "normal"
    busy_timeout_s: Annotated[float, Meta(gt=0)] = 2.0


class SqliteStore:
    """The store over one writer and two readers; keys have their own, so that no long sum delays a request."""

    def __init__(
        self, writer: Writer, reader: "_Reader", key_reader: "_Reader", owner: str, clock: Callable[[], float]
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._key_reader = key_reader
        self._owner = owner
        self._clock = clock

    async def hold(self, opening: Record, choices: Sequence[HoldChoice]) -> Granted | Refused:
        """See Store."""
        return await self._writer.run(lambda db: ledger.hold(db, self._clock(), self._owner, opening, choices))

    async def extend(self, id: str, leg: int, choice: HoldChoice, ended: Attempt) -> Granted | Refused:
        """See Store."""
        return await self._writer.run(lambda db: ledger.extend(db, self._clock(), self._owner, id, leg, choice, ended))

    async def settle(self, record: Record) -> None:
        """See Store."""
        await self._writer.run(lambda db: ledger.settle(db, self._clock(), record))

    async def standings(self, claims: Sequence[BudgetClaim]) -> Sequence[Standing]:
        """See Store."""
        now = self._clock()
        return await self._reader.run(lambda db: [ledger.standing(db, now, claim) for claim in claims])

    async def quotas(self, quotas: Sequence[Quota]) -> Sequence[QuotaStanding]:
        """See Store."""
        now = self._clock()
        return await self._reader.run(lambda db: [quota_rows.stand(db, now, quota) for quota in quotas])

    async def summary(self, by: Sequence[str], since_s: float, where: Mapping[str, str]) -> list[Summary]:
        """See Store."""
        return await self._reader.run(lambda db: reading.summary(db, by, since_s, where))

    async def record(self, id: str) -> Record | None:
        """See Store."""
        return await self._reader.run(lambda db: reading.record(db, id))

    async def records(self, since_s: float, where: Mapping[str, str], limit: int) -> AsyncIterator[Record]:
        """See Store."""
        before = (_END_OF_TIME, "")
        while limit > 0:
            size = min(limit, reading.PAGE)
            page = await self._reader.run(partial(_page, since_s, where, before, size))
            for record in page:
                yield record
            if len(page) < size:
                return
            before = (page[-1].at, page[-1].id)
            limit -= size

    async def presumed(self, limit: int) -> list[Record]:
        """See Resolves."""
        return await self._reader.run(lambda db: reading.presumed(db, limit))

    async def resolve(self, id: str, cost_nanos: int) -> bool:
        """See Resolves."""
        return await self._writer.run(lambda db: ledger.resolve(db, id, cost_nanos))

    async def add_key(self, key: StoredKey) -> bool:
        """See KeepsKeys."""
        return await self._writer.run(lambda db: key_rows.add(db, key))

    async def key(self, digest: str) -> StoredKey | None:
        """See KeepsKeys."""
        return await self._key_reader.run(lambda db: key_rows.find(db, digest))

    async def keys(self) -> list[StoredKey]:
        """See KeepsKeys."""
        return await self._key_reader.run(key_rows.every)

    async def revoke_key(self, id: str, at: float) -> StoredKey | None:
        """See KeepsKeys."""
        return await self._writer.run(lambda db: key_rows.revoke(db, id, at))

    async def held(self) -> tuple[int, int]:
        """See Store."""
        return await self._reader.run(reading.held)


def _page(
    since_s: float, where: Mapping[str, str], before: tuple[float, str], size: int, db: sqlite3.Connection
) -> list[Record]:
    return reading.page(db, since_s, where, before, size)


class _Reader:
    """Runs queries on one read-only connection in one thread."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._thread = thread

    async def run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, query, self._connection)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the store cannot be read ({error})") from error


def _connect(path: Path, settings: SqliteSettings) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=settings.busy_timeout_s, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {settings.synchronous}")
    # A long reader lets the log grow; once it is gone the file is cut back to this (F13).
    connection.execute("PRAGMA journal_size_limit = 67108864")
    return connection


@asynccontextmanager
async def open_sqlite(settings: SqliteSettings, context: Context) -> AsyncIterator[Store]:
    """Opens the file, makes its tables, and buries what dead processes held before the first request."""
    path = context.folder / settings.path
    with ExitStack() as opened:
        try:
            connection = opened.enter_context(closing(_connect(path, settings)))
            schema.create(connection)
            readers = [opened.enter_context(closing(_connect(path, settings))) for _ in range(2)]
            owner = Owner(path.with_name(path.name + ".owners"))
        except (sqlite3.Error, OSError, ValueError) as error:  # ValueError: a NUL in the path
            fault = Fault(f"the store {settings.path!r} cannot be opened: {error}", path="store.path")
            raise ConfigInvalid([fault]) from error
        opened.callback(owner.close)
        opened.callback(_leave, connection, owner, context)
        threads = [opened.enter_context(ThreadPoolExecutor(1, f"sqlite-{what}")) for what in ("reader", "keys")]
        reader, key_reader = map(_Reader, readers, threads)
        async with Writer(connection) as writer:
            await _sweep(writer, owner, context)
            sweeper = asyncio.create_task(_sweep_for_ever(writer, owner, context))
            try:
                yield SqliteStore(writer, reader, key_reader, owner.name, context.clock)
            finally:
                sweeper.cancel()
                await asyncio.gather(sweeper, return_exceptions=True)


def _leave(connection: sqlite3.Connection, owner: Owner, context: Context) -> None:
    """What is still open was given up: it counts and says so. Where that cannot be written, the next process does it,
    since this one's file then stays behind without its lock."""
    try:
        ledger.interrupt(connection, context.clock(), owner.name)
    except sqlite3.Error as error:
        context.log("warning", "store_unavailable", reason=str(error))
    else:
        owner.forget()


async def _sweep(writer: Writer, owner: Owner, context: Context) -> None:
    await writer.run(lambda db: owner.sweep(lambda name: ledger.interrupt(db, context.clock(), name)))


async def _sweep_for_ever(writer: Writer, owner: Owner, context: Context) -> None:
    while True:
        await asyncio.sleep(SWEEP_EVERY_S)
        try:
            await _sweep(writer, owner, context)
        except (StoreUnavailable, OSError, sqlite3.Error) as error:
            context.log("warning", "store_unavailable", reason=str(error))


@hookimpl
def register_stores() -> list[Kind[Store]]:
    """Offers the kind `sqlite`."""
    return [Kind("sqlite", SqliteSettings, open_sqlite)]
