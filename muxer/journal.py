"""What was promised in the store's name, kept on this machine: a row a request, until the store is known to have it."""

import asyncio
import fcntl
import os
import re
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from muxer.condition import Condition
from muxer.entries import Entry
from muxer.errors import ConfigInvalid, Fault, StoreUnavailable
from muxer.interfaces import Log
from muxer.writer import Writer, WriterBounds

KEEP_SETTLED_S, MOST_SETTLED = 60.0, 20_000  # S17: what a server may have lost although it had confirmed it
_MOST_WAITING = 100
_A_PAGE = 64
_A_MOMENT_S = 1e-6
State = Literal["open", "owed", "settled"]
"""Of a row: the store was asked and the request runs; the store must be told; the store has confirmed the end."""


class Bounds(Struct, frozen=True):
    """How much may be owed to the store before nothing more is let in."""

    rows: int
    bytes: int


IN_MEMORY = Bounds(10_000, 32_000_000)  # F13
ON_DISK = Bounds(100_000, 1_000_000_000)


class Owed(Struct, frozen=True):
    """An entry the store is to be told; all of a lower turn come first."""

    entry: Entry
    turn: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode
_VERSION = 1
_DDL = f"""
CREATE TABLE IF NOT EXISTS entries (
  id TEXT PRIMARY KEY,     -- sorts by time; the rows are too long for a table without row numbers
  state TEXT NOT NULL,     -- open, owed, settled
  turn INTEGER NOT NULL,
  step INTEGER NOT NULL,
  at REAL NOT NULL,        -- when it came to this state, or was last tried in vain; Unix seconds
  entry BLOB NOT NULL      -- MessagePack
);
CREATE INDEX IF NOT EXISTS entries_due ON entries (turn, at, id) WHERE state = 'owed';
PRAGMA user_version = {_VERSION};
"""
_PUT = (
    "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET state = excluded.state, "
    "turn = excluded.turn, step = excluded.step, at = excluded.at, entry = excluded.entry"
)
_FORGET = "DELETE FROM entries WHERE id = ?"
_APPLIED = "UPDATE entries SET state = ?, at = ? WHERE id = ? AND step = ? AND state = 'owed'"


BUSY_TIMEOUT_S = 1.0  # nobody else has business in this file


class Journal:
    """The rows of this process. Writes are in order; those whose future is not awaited are done all the same."""

    def __init__(self, writer: Writer, clock: Callable[[], float], *, is_kept: bool) -> None:
        self._writer = writer
        self._clock = clock
        self._bounds = ON_DISK if is_kept else IN_MEMORY
        self._owed: dict[str, tuple[int, int]] = {}
        self._owed_bytes = 0
        self._settled: deque[tuple[float, str]] = deque()
        self._waiting: list[_Row | tuple[str]] = []
        self._behind = 0.0
        self.is_kept = is_kept

    @property
    def owed_rows(self) -> int:
        """How many requests the store is still to be told."""
        return len(self._owed)

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be let in; what has been let in is always taken."""
        return len(self._owed) >= self._bounds.rows or self._owed_bytes >= self._bounds.bytes

    def intend(self, entry: Entry) -> "asyncio.Future[None] | None":
        """Before anything is sent (S6): await it beside the store's answer. None where the store is the journal."""
        if not self.is_kept:
            return None
        self._note(entry.opening.id, None)
        return self._submit([self._row(entry, "open")])

    def owe(self, entry: Entry, turn: int = 0) -> "asyncio.Future[None]":
        """Notes that the store must be told; it is durable when the future is done. That raises StoreUnavailable; it
        was then not noted."""
        id, encoded = entry.opening.id, _encode(entry)
        known, noted = self._owed.get(id), (entry.step, len(encoded))
        self._note(id, noted)
        written = self._submit([(id, "owed", turn, entry.step, self._clock(), encoded)])

        def heard(_: "asyncio.Future[None]") -> None:
            if not written.cancelled() and written.exception() is not None and self._owed.get(id) is noted:
                self._note(id, known)

        if written.done():  # at once, since who awaits it now does not wait for callbacks
            heard(written)
        else:
            written.add_done_callback(heard)
        return written

    def owes(self, id: str) -> bool:
        """Whether the store must be told of this one."""
        return id in self._owed

    def settled(self, entry: Entry) -> None:
        """The store has confirmed the end. It is remembered for a while (S17)."""
        self._note(entry.opening.id, None)
        if self.is_kept:
            row = self._row(entry, "settled")
            self._settled.append((row[4], entry.opening.id))
            self._later(row)

    def forget(self, id: str, *, at_once: bool = False) -> None:
        """Nothing was taken for it, or the store alone answers for it. `at_once` where the store does not know it: a
        crash before that would make it presumed."""
        if self.is_kept or id in self._owed:
            self._note(id, None)
            self._later((id,))
            if at_once:
                self._submit([])

    async def owed(self, limit: int) -> list[Owed]:
        """The next ones the store is to be told, all of one turn, those that wait or were tried longest ago first."""
        query = "SELECT turn, entry FROM entries WHERE state = 'owed' ORDER BY turn, at, id LIMIT ?"
        rows = await self._writer.run(lambda db: db.execute(query, (limit,)).fetchall())
        return [Owed(_decode(entry), turn) for turn, entry in rows if turn == rows[0][0]]

    async def applied(self, entries: Sequence[Entry]) -> None:
        """The store was told these; what changed meanwhile stays owed."""
        now = self._clock()
        for entry in entries:
            known = self._owed.get(entry.opening.id)
            if known is not None and known[0] == entry.step:
                self._note(entry.opening.id, None)
                if entry.final is not None and self.is_kept:
                    self._settled.append((now, entry.opening.id))

        def work(db: sqlite3.Connection) -> None:
            for entry in entries:
                id = entry.opening.id
                if self.is_kept:
                    db.execute(_APPLIED, ("settled" if entry.final else "open", now, id, entry.step))
                else:
                    db.execute("DELETE FROM entries WHERE id = ? AND step = ?", (id, entry.step))

        await self._writer.run(work)

    async def postpone(self, ids: Sequence[str]) -> None:
        """The store did not take these: the others come first from here on."""
        if ids:
            self._behind = max(self._clock(), self._behind) + _A_MOMENT_S  # also where the clock stands
            rows = [(self._behind, id) for id in ids]
            query = "UPDATE entries SET at = ? WHERE id = ? AND state = 'owed'"
            await self._writer.run(lambda db: db.executemany(query, rows))

    async def ids(self, state: State) -> list[str]:
        """The ids of all entries in a state; of settled ones the recent."""
        since_s = self._clock() - KEEP_SETTLED_S if state == "settled" else 0.0
        query = "SELECT id FROM entries WHERE state = ? AND at >= ? ORDER BY id"
        self._submit([])
        return [id for (id,) in await self._writer.run(lambda db: db.execute(query, (state, since_s)).fetchall())]

    async def pages(self, state: State, *, is_unfinished: bool = False) -> AsyncIterator[list[Entry]]:
        """All entries in a state by turn and id, of settled ones the recent, some at a time; `is_unfinished`: only
        those without an end."""
        since_s = self._clock() - KEEP_SETTLED_S if state == "settled" else 0.0
        query = (
            "SELECT turn, id, entry FROM entries WHERE state = ? AND at >= ? AND step % 2 <= ? AND (turn, id) > (?, ?) "
            "ORDER BY turn, id LIMIT ?"
        )
        after: tuple[int, str] = -1, ""
        self._submit([])
        while rows := await self._writer.run(
            partial(_fetch, query, (state, since_s, not is_unfinished, *after, _A_PAGE))
        ):
            after = rows[-1][0], rows[-1][1]
            yield [_decode(entry) for _, _, entry in rows]

    async def entry(self, id: str) -> Entry | None:
        """One entry."""
        query = "SELECT entry FROM entries WHERE id = ?"
        found = await self._writer.run(lambda db: db.execute(query, (id,)).fetchone())
        return _decode(found[0]) if found else None

    async def open(self) -> None:
        """Takes over what an earlier process left owed, and forgets what it need not remember any more."""
        old = self._clock() - KEEP_SETTLED_S
        query = "SELECT id, step, length(entry) FROM entries WHERE state = 'owed'"

        def work(db: sqlite3.Connection) -> list[tuple[str, int, int]]:
            db.execute("DELETE FROM entries WHERE state = 'settled' AND at < ?", (old,))
            return db.execute(query).fetchall()

        for id, step, size in await self._writer.run(work):
            self._note(id, (step, size))

    async def close(self) -> None:
        """Writes what waits."""
        with suppress(StoreUnavailable):
            await self._submit([])

    def _row(self, entry: Entry, state: State) -> "_Row":
        return entry.opening.id, state, 0, entry.step, self._clock(), _encode(entry)

    def _later(self, change: "_Row | tuple[str]") -> None:
        """What a crash may undo, since the store knows it, waits for the next write that must be durable."""
        self._waiting.append(change)
        if len(self._waiting) % _MOST_WAITING == 0:
            self._submit([])

    def _submit(self, changes: "list[_Row | tuple[str]]") -> "asyncio.Future[None]":
        """Writes what waits and these."""
        waiting, self._waiting = self._waiting, []
        self._let_go(waiting)
        future = self._writer.submit(partial(_write, [*waiting, *changes]))
        future.add_done_callback(partial(self._heard, waiting))
        return future

    def _heard(self, waiting: "list[_Row | tuple[str]]", future: "asyncio.Future[None]") -> None:
        """What waits goes on waiting where the file could not be written, which the journal's condition has logged."""
        if not future.cancelled() and future.exception() is not None:
            self._waiting = [*waiting, *self._waiting][-MOST_SETTLED:]

    def _note(self, id: str, step_and_size: tuple[int, int] | None) -> None:
        before = self._owed.pop(id, None)
        self._owed_bytes -= before[1] if before else 0
        if step_and_size is not None:
            self._owed[id] = step_and_size
            self._owed_bytes += step_and_size[1]

    def _let_go(self, changes: "list[_Row | tuple[str]]") -> None:
        now, settled = self._clock(), self._settled
        while settled and (settled[0][0] < now - KEEP_SETTLED_S or len(settled) > MOST_SETTLED):
            changes.append((settled.popleft()[1],))


_Row = tuple[str, State, int, int, float, bytes]


def _write(changes: "Sequence[_Row | tuple[str]]", db: sqlite3.Connection) -> None:
    for change in changes:
        db.execute(_FORGET if len(change) == 1 else _PUT, change)


def _fetch(query: str, values: Sequence[object], db: sqlite3.Connection) -> list[tuple[int, str, bytes]]:
    return db.execute(query, values).fetchall()


@asynccontextmanager
async def open_journal(path: Path | None, clock: Callable[[], float], log: Log) -> AsyncIterator[Journal]:
    """The journal in a file, together with what ended processes left in files beside it; or, without a path, in memory.

    Where another process has the file, the next free name is taken. Raises ConfigInvalid.
    """
    with ExitStack() as opened:
        try:
            if path is not None:
                path = _claimed(path, opened)
            connection = opened.enter_context(closing(_connect(path)))
            for orphan in _orphans(path) if path is not None else ():
                _adopt(connection, orphan, log)
        except (sqlite3.Error, OSError) as error:
            fault = Fault(f"the journal {str(path)!r} cannot be opened: {error}", path="store.journal")
            raise ConfigInvalid([fault]) from error
        log_path = Path(f"{path or ':memory:'}-wal")
        async with Writer(connection, log_path, Condition(log, "journal"), WriterBounds()) as writer:
            journal = Journal(writer, clock, is_kept=path is not None)
            await journal.open()
            try:
                yield journal
            finally:
                await journal.close()


def _connect(path: Path | None) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path or ":memory:", timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > _VERSION:
        raise sqlite3.DatabaseError(f"it was written by a later version ({found}, this one knows {_VERSION})")
    connection.executescript(_DDL)
    return connection


def _claimed(path: Path, opened: ExitStack) -> Path:
    """The first free name; it is ours until the context ends or the process dies."""
    for name in (path, *(path.with_name(f"{path.stem}.{number}{path.suffix}") for number in range(2, 1_000))):
        if _lock(name, opened):
            return name
    raise OSError("too many processes use this name")


def _lock(path: Path, opened: ExitStack) -> bool:
    """Whether nobody else had it; from then on it is ours until the context ends."""
    # On a file of its own: closing any other handle of SQLite's file would end SQLite's locks on it.
    lock_path = path.with_name(path.name + ".lock")
    lock = os.open(lock_path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_ours = os.fstat(lock).st_ino == lock_path.stat().st_ino  # else it was removed with its journal meanwhile
    except (BlockingIOError, FileNotFoundError):
        is_ours = False
    if is_ours:
        opened.callback(os.close, lock)
    else:
        os.close(lock)
    return is_ours


def _orphans(path: Path) -> list[Path]:
    """Journals of the same store beside ours, of other workers or earlier processes."""
    numbered = re.compile(re.escape(path.stem) + r"(\.\d+)+" + re.escape(path.suffix))
    return [one for one in sorted(path.parent.iterdir()) if one != path and numbered.fullmatch(one.name)]


def _adopt(connection: sqlite3.Connection, path: Path, log: Log) -> None:
    """Takes the rows of an ended process, and removes its files; one that lives keeps its own. A damaged file is kept
    under another name: what it had of the store is presumed."""
    with ExitStack() as opened:
        if not _lock(path, opened):
            return
        try:
            with closing(_connect(path)) as other:
                rows = other.execute("SELECT id, state, turn, step, at, entry FROM entries").fetchall()
        except sqlite3.DatabaseError as error:
            aside = path.with_name(path.name + ".damaged")
            for suffix in ("", "-wal"):  # the log has what was written last
                with suppress(FileNotFoundError):
                    path.with_name(path.name + suffix).replace(aside.with_name(aside.name + suffix))
            log("error", "journal_damaged", file=aside.name, reason=str(error))
            rows = []
        connection.execute("BEGIN")
        connection.executemany(_PUT, rows)
        connection.execute("COMMIT")
        for suffix in ("", "-wal", "-shm", ".lock"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
