"""The default store: one SQLite file with holds, counters and records. The hold row of a request is its record."""

import sqlite3
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from muxer import (
    Archive,
    ConfigInvalid,
    Context,
    Fault,
    FileCondition,
    FileWriter,
    Kind,
    Store,
    StoreUnavailable,
    Transactions,
    beside,
    file_words,
    hookimpl,
)
from muxer_sqlite import ledger, schema
from muxer_sqlite.archive import open_archive
from muxer_sqlite.book import Book
from muxer_sqlite.bounds import Bounds
from muxer_sqlite.checkpoints import Checkpoints
from muxer_sqlite.owners import Owner
from muxer_sqlite.store import Reader, SqliteStore
from muxer_sqlite.upkeep import Upkeep

__all__ = ["Bounds", "SqliteSettings", "SqliteStore", "open_at", "open_sqlite", "read_sqlite"]


class SqliteSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`path` is relative to routing.yaml. `synchronous: full` also survives the loss of power (RELIABILITY, promises by
    store); `busy_timeout_s` is how long a write waits for another process's lock; records older than `retention_days`
    are removed."""

    path: str = "muxer.db"
    synchronous: Literal["normal", "full"] = "normal"
    busy_timeout_s: Annotated[float, Meta(gt=0, le=4)] = 2.0  # under the 5 s that the core waits for a hold
    retention_days: Annotated[int, Meta(ge=1)] | None = 400


def _writing(path: Path, settings: SqliteSettings) -> sqlite3.Connection:
    """The connection that writes: its log is emptied beside it, and by SQLite itself only where that falls behind."""
    connection = _connect(path, settings)
    connection.execute("PRAGMA wal_autocheckpoint = 16384")
    return connection


def _emptying(path: Path, settings: SqliteSettings) -> sqlite3.Connection:
    """The connection that empties the log: while it waited for a reader, nobody could write."""
    connection = _connect(path, settings)
    connection.execute("PRAGMA busy_timeout = 0")
    return connection


def _reading(path: Path, settings: SqliteSettings) -> sqlite3.Connection:
    """A connection that reads: left alone, each keeps 2 MB of the file, which the system has in memory too."""
    connection = _connect(path, settings)
    connection.execute("PRAGMA cache_size = -256")
    return connection


def _connect(path: Path, settings: SqliteSettings) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=settings.busy_timeout_s, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    # Only a file without tables takes this up: its free pages can later be cut off in small steps.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {settings.synchronous}")
    # A long reader lets the log grow; once it is gone the file is cut back to this (F13).
    connection.execute("PRAGMA journal_size_limit = 67108864")
    return connection


@asynccontextmanager
async def open_sqlite(settings: SqliteSettings, context: Context) -> AsyncIterator[Store]:
    """Opens the file, makes its tables, and buries what dead processes held before the first request."""
    async with open_at(settings, context, Bounds()) as store:
        yield store


@asynccontextmanager
async def open_at(settings: SqliteSettings, context: Context, bounds: Bounds) -> AsyncIterator[SqliteStore]:
    """The same with other bounds than those of RELIABILITY F13."""
    bounds = replace(bounds, patience_s=settings.busy_timeout_s)
    health = FileCondition(context.log)
    with ExitStack() as opened:
        try:
            # One file, one folder of locks, whatever links lead to it.
            path = (context.folder / settings.path).resolve()
            connection = opened.enter_context(closing(_writing(path, settings)))
            schema.prepare(connection)
            connection.execute("PRAGMA busy_timeout = 0")  # from here on the writer waits by itself
            readers = [opened.enter_context(closing(_reading(path, settings))) for _ in range(3)]
            emptying = opened.enter_context(closing(_emptying(path, settings)))
            owner = Owner(path.with_name(path.name + ".owners"))
        except (sqlite3.Error, OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise _cannot_open(settings, file_words(error)) from error
        opened.callback(owner.close)
        book = Book(connection)
        opened.callback(_leave, book, owner, context, bounds.patience_s)
        *threads, emptier = (
            opened.enter_context(ThreadPoolExecutor(1, f"sqlite-{what}")) for what in ("reader", "sums", "keys", "log")
        )
        reader, sums, key_reader = (Reader(*one, health) for one in zip(readers, threads, strict=True))
        log_path = path.with_name(path.name + "-wal")
        checkpoints = Checkpoints(emptying, emptier, log_path)
        async with FileWriter(connection, log_path, health, bounds, book) as writer:
            upkeep = Upkeep(writer, book, owner, health, path, context)
            try:
                await upkeep.sweep()
            except (StoreUnavailable, OSError) as error:
                raise _cannot_open(settings, str(error)) from error
            tidying = upkeep.tidy_for_ever(bounds, settings.retention_days)
            async with beside(upkeep.sweep_for_ever(bounds), tidying, checkpoints.empty_for_ever(bounds)):
                yield SqliteStore(writer, book, reader, sums, key_reader, health, owner.name, context.clock)


@asynccontextmanager
async def read_sqlite(settings: SqliteSettings, context: Context) -> AsyncIterator[Archive]:
    """Opens the records of the file for reading alone."""
    async with open_archive((context.folder / settings.path).resolve(), settings.busy_timeout_s) as archive:
        yield archive


def _cannot_open(settings: SqliteSettings, why: str) -> ConfigInvalid:
    return ConfigInvalid([Fault(f"the store {settings.path!r} cannot be opened: {why}", path="store.path")])


def _leave(book: Book, owner: Owner, context: Context, patience_s: float) -> None:
    """What is still open was given up: it counts and says so. Where that cannot be written, the next process does it,
    since this one's file then stays behind without its lock."""
    try:
        works = [lambda _: ledger.interrupt(book, context.clock(), owner.name)]
        Transactions(book.connection, book, patience_s).run(works)
    except sqlite3.Error as error:
        context.log("warning", "store_left_open", reason=file_words(error))
    else:
        owner.forget()


@hookimpl
def register_stores() -> list[Kind[Store]]:
    """Offers the kind `sqlite`."""
    return [Kind("sqlite", SqliteSettings, open_sqlite, read=read_sqlite)]
