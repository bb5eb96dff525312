"""What is done beside requests: the dead are buried, old records removed, and the file watched."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from muxer import (
    Context,
    FileCondition,
    FileWriter,
    StoreUnavailable,
)
from muxer_sqlite import ledger, retention
from muxer_sqlite.book import Book
from muxer_sqlite.bounds import Bounds
from muxer_sqlite.owners import Owner


class Upkeep:
    """Runs until it is cancelled; `sweep` may also be called alone."""

    def __init__(
        self, writer: FileWriter, book: Book, owner: Owner, health: FileCondition, path: Path, context: Context
    ) -> None:
        self._writer = writer
        self._book = book
        self._owner = owner
        self._health = health
        self._path = path
        self._context = context
        self._file = path.stat()
        self._complaint = ""

    async def sweep(self) -> None:
        """Makes what dead processes held presumed. Raises StoreUnavailable and OSError."""
        holding = await self._writer.run(lambda _: ledger.holding(self._book))
        with self._owner.dead(holding) as dead:
            if dead:
                now = self._context.clock()
                await self._writer.run(lambda _: [ledger.interrupt(self._book, now, name) for name in dead])

    async def sweep_for_ever(self, bounds: Bounds) -> None:
        """Sweeps, and sees whether the file is still in its place: what is written to one that was moved is lost."""
        while True:
            await asyncio.sleep(bounds.sweep_every_s)
            try:
                is_there = os.path.samestat(self._path.stat(), self._file)
            except OSError:
                is_there = False
            if not is_there:
                self._health.fail("place", "the store's file was moved, removed or replaced; put it back or restart")
                continue
            self._health.recover("place")
            try:
                await self.sweep()
            except StoreUnavailable:
                continue  # said by the writer
            except OSError as error:
                if self._complaint != str(error):
                    self._context.log("warning", "store_sweep_failed", reason=str(error))
                self._complaint = str(error)

    async def tidy_for_ever(self, bounds: Bounds, days: int | None) -> None:
        """Removes old records and counters and gives room back, at most `tidy_rows` in each `tidy_pause_s`."""
        while True:
            await asyncio.sleep(bounds.tidy_every_s)
            try:
                await self._tidy(bounds, days)
            except StoreUnavailable:
                continue  # said by the writer; the next pass begins anew

    async def _tidy(self, bounds: Bounds, days: int | None) -> None:
        now, most, run = self._context.clock(), bounds.tidy_rows, self._writer.run
        if days is not None:
            await _pass(
                lambda after: run(lambda db: retention.remove_records(db, now, days, after, most)),
                retention.BEGIN_RECORDS,
                bounds.tidy_pause_s,
            )
        await _pass(
            lambda after: run(lambda _: retention.remove_counters(self._book.tables(), now, after, most)),
            retention.BEGIN_COUNTERS,
            bounds.tidy_pause_s,
        )
        is_more = True
        while is_more:
            is_more = await run(retention.give_back)
            await asyncio.sleep(bounds.tidy_pause_s)


async def _pass(
    step: Callable[[retention.Place], Awaitable[retention.Place | None]], begin: retention.Place, pause_s: float
) -> None:
    place: retention.Place | None = begin
    while place is not None:
        place = await step(place)
        await asyncio.sleep(pause_s)
