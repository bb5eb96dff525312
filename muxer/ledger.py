"""Money on the path of a request: one hold before, extensions between attempts, one settlement at the end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from muxer import measurements
from muxer.debts import Debts
from muxer.entries import Entry, Leg
from muxer.errors import StoreUnavailable, Unsupported
from muxer.escrow import Escrow
from muxer.interfaces import Log, Meter
from muxer.journal import Journal, open_journal
from muxer.limits import OutagePolicy
from muxer.money import NANOS_PER_USD
from muxer.outage import Outage
from muxer.standings import Fullest, refusal_of, remaining_nanos
from muxer.stores import Granted, HoldChoice, IsRemote, KeepsFeedback, Quota, QuotaStanding, Refused, Standing, Store
from muxer.types import Attempt, Record

T = TypeVar("T")
Place = Literal["asked", "unknown", "store", "here"]
"""Who holds a request: the store was asked and nothing is sent yet; it may have taken it; it has; or it was let in
here, without the store."""


class _Running(Struct, eq=False):
    """A request under way. `unsure` is the next attempt where the store may have taken it and nobody heard."""

    entry: Entry
    held: Place = "asked"
    unsure: HoldChoice | None = None


class Ledger:
    """The store with deadlines, measurements, a journal and settlements that are never given up."""

    def __init__(
        self, store: Store, journal: Journal, meter: Meter, log: Log, clock: Callable[[], float], budget_status: int
    ) -> None:
        self._store = store
        self._journal = journal
        self._meter = meter
        self.budget_status = budget_status
        self._fullest = Fullest(meter)
        self._running: dict[str, _Running] = {}
        self._outage = Outage(meter, log)
        self._debts = Debts(store, journal, self._outage, meter, log, self._told)
        self._escrow = Escrow(store, journal, self._debts, self._outage, clock)

    async def close(self, grace_s: float) -> None:
        """Tells the store what it is owed for at most `grace_s`; what is left then is in the journal."""
        await self._escrow.stop()
        await self._debts.close(grace_s)
        await self._escrow.give_back()

    def begin(self) -> None:
        """Begins to tell the store what it is owed; call it after `take_over`."""
        self._debts.begin()

    async def take_over(self) -> None:
        """Finishes what earlier processes left in the journal; call it before the first request."""
        await self._debts.take_over()

    async def hold(self, opening: Record, choices: Sequence[HoldChoice]) -> Granted:
        """Takes the first choice that fits. Raises BudgetExceeded with the numbers, or StoreUnavailable; while
        the store is away the limits say which requests are let in all the same (S18)."""
        running = self._running[opening.id] = _Running(Entry(opening, (Leg(choices[0]),)))
        if not self._outage.may_ask():
            return await self._hold_here(running, choices, StoreUnavailable(self._outage.reason))
        try:
            reply = await self._ask(running, choices)
        except StoreUnavailable as error:
            if running.held == "asked":
                running.held = "unknown"
            # Whether the store took one of them, and which, is unknown: another must not be let in on its account.
            is_one = len({choice.claims for choice in choices}) == 1
            return await self._hold_here(running, choices if is_one else (), error)
        if isinstance(reply, Refused):
            del self._running[opening.id]
            self._journal.forget(opening.id, at_once=True)
            self._count_refusal(reply)
            raise refusal_of(reply, self.budget_status)
        for standing in reply.budgets:
            if standing.limit_nanos:
                self._fullest.saw(standing, 1 - remaining_nanos(standing) / standing.limit_nanos)
        self._escrow.saw(choices[reply.choice], reply.budgets)
        return reply

    async def _ask(self, running: _Running, choices: Sequence[HoldChoice]) -> Granted | Refused:
        """The store's answer; the journal has the request then, too (S6)."""
        written = self._journal.intend(running.entry)
        reply = await self._outage.watch("hold", partial(self._store.hold, running.entry.opening, choices))
        if isinstance(reply, Granted):
            running.held = "store"
            if reply.choice:
                running.entry = replace(running.entry, legs=(Leg(choices[reply.choice]),))
                written = self._journal.intend(running.entry)
            if written is not None:
                await written
        return reply

    async def _hold_here(self, running: _Running, choices: Sequence[HoldChoice], error: StoreUnavailable) -> Granted:
        """Lets in the first choice whose limits allow it, once that is durable. Raises `error` when none does."""
        opening = running.entry.opening
        for index, choice in enumerate(choices):
            granted = self._granted_here(opening, choice)
            if granted is None:
                continue
            before = running.entry, running.held
            running.held = "here"
            running.entry = Entry(opening, (Leg(_as_granted(choice, granted)),))
            try:
                await self._debts.owe(running.entry)
            except StoreUnavailable as failure:
                self._escrow.settled(opening.id, 0)
                running.entry, running.held = before
                error = failure
                break
            self._outage.met(_policy(choice), choice, granted, opening.at)
            return Granted(choice=index, granted_nanos=granted)
        self._outage.met("refuse")
        if running.held == "asked":
            del self._running[opening.id]
        raise error

    def _granted_here(self, opening: Record, choice: HoldChoice) -> int | None:
        """How much may be spent on a choice without asking the store; None when nothing is to be sent."""
        policy = _policy(choice)
        if policy == "refuse" or self._journal.is_full:
            return None
        return self._escrow.take(opening, choice) if policy == "escrow" else choice.bound_nanos

    async def extend(self, id: str, leg: int, choice: HoldChoice, ended: Attempt | None) -> Granted | None:
        """Holds for another attempt; None when that does not fit or cannot be checked, so it must not be sent (S7)."""
        running, choice = self._running.get(id), choice.extending
        # A store that has an attempt of that number answers with what it took for it, whoever is to be asked now (I6).
        if running is None or running.unsure not in (None, choice):
            return None
        if running.held == "here":
            return await self._extend_here(running, leg, choice, ended)
        if not self._outage.may_ask():
            return None
        entry = _longer(running.entry, leg, choice, ended)
        running.unsure = choice
        written = self._journal.intend(entry)
        try:
            reply = await self._outage.watch("extend", partial(self._store.extend, id, leg, choice, ended))
            if isinstance(reply, Granted):
                running.entry = entry  # the store has it, whether or not the journal does
            if written is not None:
                await written
        except StoreUnavailable:
            return None
        running.unsure = None
        if isinstance(reply, Granted):
            return reply
        self._journal.intend(running.entry)
        return None

    async def _extend_here(
        self, running: _Running, leg: int, choice: HoldChoice, ended: Attempt | None
    ) -> Granted | None:
        granted = self._granted_here(running.entry.opening, choice)
        if granted is None:
            return None
        running.entry, running.unsure = _longer(running.entry, leg, _as_granted(choice, granted), ended), choice
        try:
            await self._debts.owe(running.entry)
        except StoreUnavailable:
            return None
        running.unsure = None
        self._outage.met(_policy(choice), choice, granted, running.entry.opening.at)
        return Granted(choice=0, granted_nanos=granted)

    async def settle(self, record: Record) -> None:
        """Settles what was held; where the store cannot take it now it is owed to it, so that the answer need not wait.
        A second call does nothing (I6)."""
        running = self._running.get(record.id)
        if running is None or running.entry.final is not None:
            return
        self._escrow.settled(record.id, record.cost_nanos + record.presumed_nanos)
        entry = replace(running.entry, final=record)
        if running.held in ("asked", "unknown"):
            # Nothing was sent; a hold that is on its way yet must not be made after this.
            entry = Entry(entry.opening, (), record)
        running.entry = entry  # told again with the others for as long as its settlement is on its way (S17)
        try:
            await self._settle(running, entry, record)
        finally:
            del self._running[record.id]

    async def _settle(self, running: _Running, entry: Entry, record: Record) -> None:
        if running.held in ("here", "unknown") or not self._outage.may_ask():
            await self._debts.owe_final(entry)
            return
        try:
            await self._outage.watch("settle", partial(self._store.settle, record))
        except StoreUnavailable:
            await self._debts.owe_final(entry)
        except asyncio.CancelledError:
            # Nobody waits any more; whether it was written is unknown, and to settle again changes nothing (I6).
            self._debts.owe_final(entry)
            raise
        else:
            self._journal.settled(entry)

    async def reassert(self) -> None:
        """Tells the store again what runs, what is set aside, what it is owed, and what was settled lately (S17)."""
        running = [one.entry for one in self._running.values() if one.held == "store"]
        await self._debts.tell_again([*running, *self._escrow.entries])

    async def stand(self, choice: HoldChoice) -> tuple[Sequence[Standing], Sequence[QuotaStanding]]:
        """How the limits that a choice would meet stand, one per claim and per quota. Raises StoreUnavailable."""
        budgets = await self._outage.watch("standings", partial(self._store.standings, choice.claims))
        return budgets, await self._outage.watch("quotas", partial(self._store.quotas, choice.quotas))

    async def feedback(self, id: str, score: float, user: str | None, quotas: Sequence[Quota]) -> bool:
        """Whether there is such a request of that user (None: of anybody), and the score is now in its record. Raises
        RateLimited, Unsupported, and StoreUnavailable also for a request that the store is still to be told of."""
        store = self._store
        if not isinstance(store, KeepsFeedback):
            raise Unsupported("this kind of store keeps no feedback")
        if not self._outage.may_ask():
            raise StoreUnavailable(self._outage.reason)
        kept = await self._outage.watch("feedback", partial(store.feedback, id, score, user, quotas), is_suspect=True)
        if isinstance(kept, Refused):
            raise refusal_of(kept, self.budget_status)
        if not kept:
            running = self._running.get(id)
            owed = running.entry if running else await self._journal.entry(id) if self._journal.owes(id) else None
            if owed is not None and user in (None, owed.opening.user):
                raise StoreUnavailable("the store is still to be told of this request; try again in a moment")
        return kept

    async def ask(self, call: str, work: Callable[[], Awaitable[T]]) -> T:
        """Asks the store what changes no money, by the same deadline. Raises StoreUnavailable, which says nothing of
        whether the store takes holds."""
        return await self._outage.watch(call, work, is_suspect=True)

    async def latest(self, since_s: float, limit: int, take: Callable[[Record], None]) -> None:
        """Gives the records since then, the newest first and at most `limit`, to `take`, one by one. Raises
        StoreUnavailable as `ask` does."""

        async def read() -> None:
            async for record in self._store.records(since_s, {}, limit):
                take(record)

        await self.ask("records", read)

    async def measure(self) -> bool:
        """Sets the gauges of what is held and presumed; whether the store answered."""
        try:
            held, presumed = await self._outage.watch("held", self._store.held)
        except StoreUnavailable:
            return False
        self._meter.set(measurements.HELD_USD, held / NANOS_PER_USD)
        self._meter.set(measurements.PRESUMED_USD, presumed / NANOS_PER_USD)
        return True

    def _told(self, entry: Entry) -> None:
        """The store knows a request that was let in here as far as this entry goes."""
        running = self._running.get(entry.opening.id)
        if running is not None and running.held == "here" and running.entry.step == entry.step:
            running.held = "store"

    def _count_refusal(self, reply: Refused) -> None:
        self._meter.add(measurements.BUDGET_REFUSALS, 1, reply.refusals[0].standing.limit)


def _policy(choice: HoldChoice) -> OutagePolicy:
    """The strictest of the limits a choice meets. No rate can be set aside, so one with escrow refuses."""
    policies = {claim.on_store_error for claim in choice.claims}
    of_rates = {quota.on_store_error for quota in choice.quotas}
    if "refuse" in policies | of_rates or "escrow" in of_rates:
        return "refuse"
    return "escrow" if "escrow" in policies else "allow"


def _as_granted(choice: HoldChoice, granted_nanos: int) -> HoldChoice:
    return replace(choice, bound_nanos=granted_nanos, floor_nanos=min(choice.floor_nanos, granted_nanos))


def _longer(entry: Entry, leg: int, choice: HoldChoice, ended: Attempt | None) -> Entry:
    """The entry with that attempt as its last."""
    return replace(entry, legs=(*entry.legs[:leg], Leg(choice, ended)))


@asynccontextmanager
async def open_ledger(
    store: Store, meter: Meter, log: Log, clock: Callable[[], float], *, budget_status: int = 402, grace_s: float = 0.0
) -> AsyncIterator[Ledger]:
    """A ledger with its journal: a file for a store on another machine, else in memory. Raises ConfigInvalid."""
    remote = store if isinstance(store, IsRemote) else None
    async with open_journal(remote.journal if remote else None, clock, log) as journal:
        ledger = Ledger(store, journal, meter, log, clock, budget_status)
        try:
            if remote is not None:
                await ledger.take_over()
                remote.on_lost(ledger.reassert)
            ledger.begin()
            yield ledger
        finally:
            await ledger.close(grace_s)
