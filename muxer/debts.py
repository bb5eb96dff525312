"""What the store is still to be told: kept in the journal, told by one task as soon as the store answers."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from msgspec.structs import replace

from muxer import measurements
from muxer.entries import Entry, reapply
from muxer.errors import StoreUnavailable
from muxer.interfaces import Log, Meter
from muxer.journal import Journal
from muxer.money import usd
from muxer.outage import Outage
from muxer.stores import HoldChoice, Store
from muxer.types import Attempt, Record

_AT_ONCE = 64
_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
ESCROW = "escrow"
"""The `api` of a record that is no request: money set aside for outages."""


class Debts:
    """Tells the store what it missed, each request until it has confirmed it; `close` it."""

    def __init__(
        self, store: Store, journal: Journal, outage: Outage, meter: Meter, log: Log, told: Callable[[Entry], None]
    ) -> None:
        self._store = store
        self._journal = journal
        self._outage = outage
        self._meter = meter
        self._log = log
        self._told = told
        self._unwritten: dict[str, Entry] = {}
        self._left: list[str] = []
        self._is_idle = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._outage.changed.set()

    def begin(self) -> None:
        """Begins to tell; what earlier processes left is taken over before, or it could be told half and forgotten."""
        self._task = asyncio.create_task(self._tell_for_ever())

    @property
    def unwritten(self) -> list[Entry]:
        """What is owed and stands in no journal."""
        return list(self._unwritten.values())

    async def owe(self, entry: Entry, turn: int = 0) -> None:
        """Returns when it is durable that the store must be told this. Raises StoreUnavailable where that cannot be."""
        self._is_idle.clear()
        try:
            await self._journal.owe(entry, turn)
        finally:
            self._outage.changed.set()

    async def owe_final(self, entry: Entry, turn: int = 0) -> None:
        """The same for what has been spent already: where it cannot be written it is kept in memory at least."""
        try:
            await self.owe(entry, turn)
        except StoreUnavailable:
            self.owe_in_memory(entry)

    def owe_in_memory(self, entry: Entry) -> None:
        """The same where nobody can wait for the journal."""
        self._is_idle.clear()
        self._unwritten[entry.opening.id] = entry
        self._outage.changed.set()

    async def take_over(self) -> None:
        """What an earlier process left in the journal: only what it owed waits for the store, all else is looked up."""
        self._left = await self._journal.ids("open") + await self._journal.ids("settled")
        for id in await self._journal.ids("owed"):
            entry = await self._journal.entry(id)
            if entry is not None and entry.final is None:
                await self.owe(interrupted(entry))
        self._outage.changed.set()

    async def close(self, grace_s: float) -> None:
        """Goes on for at most `grace_s`, and says what is left."""
        if self._task is None or self._task.done():
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._is_idle.wait()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        left = self._journal.owed_rows + len(self._unwritten)
        if left:
            kept = "the journal keeps it" if self._journal.is_kept else "what the store holds for it stays counted"
            self._log("error", "store_owed", requests=left, then=kept)

    async def _tell_for_ever(self) -> None:
        pause_s = _PAUSE_S
        while True:
            await self._outage.changed.wait()
            self._outage.changed.clear()
            try:
                await self._tell_all()
                pause_s = _PAUSE_S
            except StoreUnavailable:
                self._outage.changed.set()
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            self._meter.set(measurements.STORE_OWED, self._journal.owed_rows + len(self._unwritten))

    async def _tell_all(self) -> None:
        while self._left:
            await asyncio.gather(*map(self._look_up, self._left[:_AT_ONCE]))
            del self._left[:_AT_ONCE]
        while self._unwritten:
            entries = list(self._unwritten.values())[:_AT_ONCE]
            for entry in await self._tell(entries):
                del self._unwritten[entry.opening.id]
        while self._journal.owed_rows:
            # One alone finds out whether the store is back.
            owed = await self._journal.owed(_AT_ONCE if self._outage.is_answering else 1)
            await self._journal.applied(await self._tell([one.entry for one in owed]))
        if self._outage.is_on and self._outage.is_answering:
            await self._outage.report(self._store)
        if self._journal.owed_rows or self._unwritten:
            self._outage.changed.set()
            return
        if self._outage.is_on and self._outage.is_answering:
            self._outage.end()
        self._is_idle.set()

    async def _tell(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those that the store has confirmed. Raises StoreUnavailable when it did not answer for any."""
        calls = [self._outage.watch("reapply", reapply(self._store, entry)) for entry in entries]
        told: list[Entry] = []
        failure: BaseException | None = None
        for entry, result in zip(entries, await asyncio.gather(*calls, return_exceptions=True), strict=True):
            if isinstance(result, StoreUnavailable):
                failure = result
                continue
            if result is not None:
                cost = entry.final.cost_nanos if entry.final else 0
                self._log("error", "settlement_lost", request=entry.opening.id, error=repr(result), cost_usd=usd(cost))
            told.append(entry)
            self._told(entry)
        if failure is not None:
            if told:
                await self._journal.applied(told)
            raise failure
        return told

    async def _look_up(self, id: str) -> None:
        """An open request of a dead process is the store's to presume, a settled one is known there; unless the store
        has lost it meanwhile."""
        entry = await self._journal.entry(id)
        if entry is None:
            return
        if entry.opening.api == ESCROW:
            await self.owe(entry if entry.final else released(entry), turn=1)
            return
        found = await self._store.record(id)
        # A store that lost its last moments may have the hold and not the settlement.
        if found is not None and (entry.final is None or found.state not in ("open", "interrupted")):
            self._journal.forget(id)
        else:
            await self.owe(entry if entry.final else interrupted(entry))


def released(entry: Entry) -> Entry:
    """Escrow that is given back: it was spent by the requests themselves."""
    return replace(entry, final=given_back(entry.opening))


def given_back(opening: Record) -> Record:
    """The record of escrow that is given back."""
    return replace(opening, state="done")


def interrupted(entry: Entry) -> Entry:
    """The end of a request whose process died: what it may have cost stays counted (S10)."""
    attempts: list[Attempt] = []
    for leg, after in zip(entry.legs, (*entry.legs[1:], None), strict=True):
        ended = after.ended if after is not None else None
        attempts.append(ended or _presumed(entry.opening, leg.choice))
    final = replace(
        entry.opening,
        state="interrupted",
        attempts=tuple(attempts),
        cost_nanos=sum(attempt.cost_nanos for attempt in attempts),
        presumed_nanos=sum(attempt.presumed_nanos for attempt in attempts),
    )
    return replace(entry, final=final)


def _presumed(opening: Record, choice: HoldChoice) -> Attempt:
    return Attempt(
        model=choice.model,
        provider=opening.provider,
        upstream=choice.model,
        outcome="presumed",
        error="interrupted",
        presumed_nanos=choice.bound_nanos,
    )
