"""What the store is still to be told: kept in the journal, told by one task as soon as the store answers."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from muxer import measurements
from muxer.background import given_up
from muxer.entries import Entry, reapply
from muxer.errors import StoreUnavailable
from muxer.interfaces import Log, Meter
from muxer.journal import Journal, State
from muxer.log import frames
from muxer.outage import Outage
from muxer.stores import HoldChoice, Store
from muxer.types import Attempt, Record

_AT_ONCE = 64
_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_TRIES = 3  # of one entry in vain, with answers to others between, until it is the entry that is at fault
_MAY_BE_LOST: tuple[State, ...] = ("owed", "settled")
ESCROW = "escrow"
"""The `api` of a record that is no request: money set aside for outages."""


class _Suspect(Struct):
    """An entry that was tried in vain, and how many changes the store had made by the last time."""

    tries: int = 0
    answers_before: int = -1


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
        self._suspects: dict[str, _Suspect] = {}
        self._failure = ""
        self._is_idle = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._outage.changed.set()

    def begin(self) -> None:
        """Begins to tell; what earlier processes left is taken over before, or it could be told half and forgotten."""
        self._task = asyncio.create_task(self._tell_for_ever())

    async def owe(self, entry: Entry, turn: int = 0) -> None:
        """Returns when it is durable that the store must be told this. Raises StoreUnavailable where that cannot be."""
        self._is_idle.clear()
        try:
            await self._journal.owe(entry, turn)
        finally:
            self._outage.changed.set()

    def owe_final(self, entry: Entry, turn: int = 0) -> "asyncio.Future[None]":
        """The same for what has been spent already: it is on its way to the journal when this returns, and kept in
        memory where that cannot be written. Nobody need wait for the future, which never fails."""
        self._is_idle.clear()
        written = self._journal.owe(entry, turn)
        done: asyncio.Future[None] = written.get_loop().create_future()

        def heard(_: "asyncio.Future[None]") -> None:
            if written.cancelled() or written.exception() is not None:
                self._unwritten[entry.opening.id] = entry
            self._outage.changed.set()
            if not done.done():
                done.set_result(None)

        written.add_done_callback(heard)
        return done

    async def take_over(self) -> None:
        """What an earlier process left in the journal: only what it owed waits for the store, all else is looked up."""
        self._left = await self._journal.ids("open") + await self._journal.ids("settled")
        async for entries in self._journal.pages("owed", is_unfinished=True):
            for entry in entries:
                await self.owe(interrupted(entry))
        self._outage.changed.set()

    async def tell_again(self, running: Sequence[Entry]) -> None:
        """Tells a store that lost data all that it may not know: what runs, what it is owed, and what was settled
        lately (S17). Raises StoreUnavailable."""
        await self._retell([*running, *self._unwritten.values()])
        for state in _MAY_BE_LOST:
            async for entries in self._journal.pages(state):
                await self._retell(entries)

    async def close(self, grace_s: float) -> None:
        """Goes on for at most `grace_s`, and says what is left, and where that is."""
        if self._task is None or self._task.done():
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._is_idle.wait()
        await given_up(self._task)
        await asyncio.gather(*map(self.owe_final, list(self._unwritten.values())))
        lost = sum(1 for id in self._unwritten if not self._journal.owes(id))
        if self._journal.owed_rows and self._journal.is_kept:
            self._log("error", "store_owed", requests=self._journal.owed_rows, then="the journal keeps it")
        elif self._journal.owed_rows:
            lost += self._journal.owed_rows
        if lost:
            self._log("error", "store_owed", requests=lost, then="what the store holds for it stays counted")

    async def _tell_for_ever(self) -> None:
        pause_s = _PAUSE_S
        while True:
            await self._outage.changed.wait()
            self._outage.changed.clear()
            try:
                is_all = await self._tell_all()
            except StoreUnavailable:
                is_all = False
            except Exception as error:  # noqa: BLE001  # a store answers anything, and nobody else tells it what it is owed
                self._failed(error)
                is_all = False
            else:
                pause_s = _PAUSE_S if is_all else _LONGEST_PAUSE_S
            self._meter.set(measurements.STORE_OWED, self._journal.owed_rows + len(self._unwritten))
            if not is_all:
                self._outage.changed.set()
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _failed(self, error: Exception) -> None:
        """Says once what stops the telling."""
        if repr(error) != self._failure:
            self._failure = repr(error)
            self._log("error", "store_broke", call="tell", error=self._failure, trace=frames(error))

    async def _tell_all(self) -> bool:
        """Whether the store knows all now; else it refuses some, which wait. Raises StoreUnavailable."""
        await self._look_up_left()
        refused = await self._tell_unwritten() | await self._tell_owed()
        if self._outage.is_on and self._outage.is_answering:
            await self._outage.tell_overruns(self._store)
        at_fault = sum(map(self._is_at_fault, refused))
        is_told = not self._left and self._journal.owed_rows + len(self._unwritten) <= at_fault
        if is_told and self._outage.is_on and self._outage.is_answering:
            self._outage.end()
        if refused or not is_told:
            return False
        self._is_idle.set()
        return True

    async def _tell_unwritten(self) -> set[str]:
        """Tells what stands in no journal; the ids of what the store refuses."""
        refused: set[str] = set()
        while entries := [one for id, one in self._unwritten.items() if id not in refused][:_AT_ONCE]:
            for entry in await self._tell(entries):
                del self._unwritten[entry.opening.id]
                self._journal.settled(entry)
            refused.update(one.opening.id for one in entries if one.opening.id in self._unwritten)
        return refused

    async def _tell_owed(self) -> set[str]:
        """Tells what the journal owes, those tried longest ago first; the ids of what the store refuses."""
        refused: set[str] = set()
        while self._journal.owed_rows > len(refused):
            # One alone finds out whether the store is back.
            owed = await self._journal.owed(_AT_ONCE if self._outage.is_answering else 1)
            entries = [one.entry for one in owed if one.entry.opening.id not in refused]
            if not entries:
                break  # those of a later turn wait for the ones that are refused
            told = {entry.opening.id for entry in await self._tell(entries)}
            refused.update(one.opening.id for one in entries if one.opening.id not in told)
        return refused

    async def _tell(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those that the store has confirmed; the journal knows, and tries the others last from here on. Raises
        StoreUnavailable when it did not confirm any, and not for their own fault."""
        failures = await self._apply(entries)
        told = [entry for entry in entries if entry.opening.id not in failures]
        for entry in told:
            self._told(entry)
        await self._journal.applied(told)
        await self._journal.postpone(list(failures))
        if failures and not told and not all(map(self._is_at_fault, failures)):
            raise next(iter(failures.values()))
        return told

    async def _apply(self, entries: Sequence[Entry]) -> dict[str, BaseException]:
        """Tells the store all of these at the same time; by their ids, why it did not take some."""
        ids = [entry.opening.id for entry in entries]
        calls = [
            self._outage.watch("reapply", partial(reapply, self._store, entry), is_suspect=self._is_at_fault(id))
            for id, entry in zip(ids, entries, strict=True)
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)
        failures = {id: result for id, result in zip(ids, results, strict=True) if result is not None}
        for id in ids:
            if id in failures:
                self._suspect(id, str(failures[id]))
            else:
                self._suspects.pop(id, None)
        return failures

    def _suspect(self, id: str, reason: str) -> None:
        """Counts a try in vain, if the store has answered others since the last one."""
        suspect = self._suspects.setdefault(id, _Suspect())
        if suspect.answers_before != self._outage.answers:
            suspect.tries, suspect.answers_before = suspect.tries + 1, self._outage.answers
            if suspect.tries == _TRIES:
                self._log("error", "settlement_refused", request=id, reason=reason)

    def _is_at_fault(self, id: str) -> bool:
        return id in self._suspects and self._suspects[id].tries >= _TRIES

    async def _retell(self, entries: Sequence[Entry]) -> None:
        """The same for these. What the store refuses alone must not keep it closed to all others for ever."""
        for first in range(0, len(entries), _AT_ONCE):
            failures = await self._apply(entries[first : first + _AT_ONCE])
            for id, failure in failures.items():
                if not self._is_at_fault(id):
                    raise failure

    async def _look_up_left(self) -> None:
        """Looks up what earlier processes left; what cannot be now is left, and keeps nothing else waiting."""
        for _ in range(0, len(self._left), _AT_ONCE):
            ids = self._left[:_AT_ONCE]
            results = await asyncio.gather(*map(self._look_up, ids), return_exceptions=True)
            failed = [id for id, result in zip(ids, results, strict=True) if result is not None]
            self._left = [*self._left[_AT_ONCE:], *failed]
            if len(failed) == len(ids):
                break  # it is away, most likely

    async def _look_up(self, id: str) -> None:
        """An open request of a dead process is the store's to presume, a settled one is known there; unless the store
        has lost it meanwhile."""
        entry = await self._journal.entry(id)
        if entry is None:
            return
        if entry.opening.api == ESCROW:
            await self.owe(entry if entry.final else released(entry), turn=1)
            return
        # One that cannot be read says nothing of the store: others would be let in unasked for it.
        found = await self._outage.watch("record", partial(self._store.record, id), is_suspect=True)
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
