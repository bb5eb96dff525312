"""The embedded store as the core sees it: writes go to the writer, reads to a connection of their own."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from muxer import (
    Attempt,
    BudgetClaim,
    FileCondition,
    FileWriter,
    Granted,
    HoldChoice,
    KeyedRequest,
    Quota,
    QuotaStanding,
    Record,
    Refused,
    Standing,
    StoredKey,
    StoreUnavailable,
    Summary,
    file_words,
    is_damage,
)
from muxer_sqlite import examination, feedback, ledger, reading, totals
from muxer_sqlite import keyed as keyed_rows
from muxer_sqlite import keys as key_rows
from muxer_sqlite.book import Book
from muxer_sqlite.rows import text_bytes, to_row

T = TypeVar("T")
_END_OF_TIME = float("inf")


class Reader:
    """Runs queries on one connection in one thread; they go on while nothing can be written."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor, health: FileCondition) -> None:
        self._connection = connection
        self._thread = thread
        self._health = health

    async def run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What the query finds. Raises StoreUnavailable; a file found damaged is not written to any more."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, query, self._connection)
        except sqlite3.Error as error:
            if is_damage(error):
                self._health.fail("damage", file_words(error))
            raise StoreUnavailable(file_words(error)) from error


class SqliteStore:
    """The store over one writer and three readers: sums over many rows have their own, so that they delay neither what
    asks whether the store is well nor a request, and so have keys."""

    def __init__(
        self,
        writer: FileWriter,
        book: Book,
        reader: Reader,
        sums: Reader,
        key_reader: Reader,
        health: FileCondition,
        owner: str,
        clock: Callable[[], float],
    ) -> None:
        self._writer = writer
        self._book = book
        self._reader = reader
        self._sums = sums
        self._key_reader = key_reader
        self._health = health
        self._owner = owner
        self._clock = clock

    async def hold(self, opening: Record, choices: Sequence[HoldChoice]) -> Granted | Refused:
        """See Store."""
        row = to_row(opening)
        return await self._writer.run(
            lambda _: ledger.hold(self._book, self._clock(), self._owner, row, choices), text_bytes(row), is_new=True
        )

    async def extend(self, id: str, leg: int, choice: HoldChoice, ended: Attempt | None) -> Granted | Refused:
        """See Store."""
        return await self._writer.run(
            lambda _: ledger.extend(self._book, self._clock(), self._owner, id, leg, choice, ended), is_new=True
        )

    async def settle(self, record: Record) -> None:
        """See Store."""
        row = to_row(record)
        await self._writer.run(lambda _: ledger.settle(self._book, self._clock(), record, row), text_bytes(row))

    async def standings(self, claims: Sequence[BudgetClaim]) -> Sequence[Standing]:
        """See Store."""
        now = self._clock()
        return await self._reader.run(lambda db: _standings(Book(db), now, claims))

    async def quotas(self, quotas: Sequence[Quota]) -> Sequence[QuotaStanding]:
        """See Store."""
        now = self._clock()
        return await self._reader.run(lambda db: _quotas(Book(db), now, quotas))

    async def summary(self, by: Sequence[str], since_s: float, where: Mapping[str, str]) -> list[Summary]:
        """See Store."""
        return await self._sums.run(lambda db: totals.summary(db, by, since_s, where))

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
        return await self._writer.run(lambda _: ledger.resolve(self._book, id, cost_nanos))

    async def feedback(
        self, id: str, score: float, user: str | None = None, quotas: Sequence[Quota] = ()
    ) -> bool | Refused:
        """See KeepsFeedback."""
        return await self._writer.run(lambda _: feedback.keep(self._book, self._clock(), id, score, user, quotas))

    async def add_key(self, key: StoredKey) -> bool:
        """See KeepsKeys."""
        return await self._writer.run(lambda db: key_rows.add(db, key))

    async def key(self, digest: str) -> StoredKey | None:
        """See KeepsKeys."""
        return await self._key_reader.run(lambda db: key_rows.find(db, digest))

    async def keys(self) -> list[StoredKey]:
        """See KeepsKeys."""
        return await self._key_reader.run(key_rows.every)

    async def has_keys(self) -> bool:
        """See KeepsKeys."""
        return await self._key_reader.run(key_rows.has_any)

    async def revoke_key(self, id: str, at: float) -> StoredKey | None:
        """See KeepsKeys."""
        return await self._writer.run(lambda db: key_rows.revoke(db, id, at))

    async def first_of(self, keyed: KeyedRequest, instead_of: str = "") -> KeyedRequest:
        """See RemembersKeyed."""
        return await self._writer.run(lambda db: keyed_rows.first_of(db, keyed, instead_of))

    async def forget_keyed(self, keyed: KeyedRequest) -> None:
        """See RemembersKeyed."""
        await self._writer.run(lambda db: keyed_rows.forget(db, keyed))

    async def held(self) -> tuple[int, int]:
        """See Store."""
        return await self._reader.run(reading.held)

    @property
    def trouble(self) -> str:
        """See HasTrouble."""
        return self._health.reason

    async def examine(self) -> list[str]:
        """See Examines."""
        return await self._sums.run(examination.faults)


def _standings(book: Book, now: float, claims: Sequence[BudgetClaim]) -> list[Standing]:
    return [ledger.standing(book, now, claim) for claim in claims]


def _quotas(book: Book, now: float, quotas: Sequence[Quota]) -> list[QuotaStanding]:
    return [book.quotas.stand(quota, now) for quota in quotas]


def _page(
    since_s: float, where: Mapping[str, str], before: tuple[float, str], size: int, db: sqlite3.Connection
) -> list[Record]:
    return reading.page(db, since_s, where, before, size)
