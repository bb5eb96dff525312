"""Money set aside beforehand, so that requests can go on within their budgets while the store is away (S18)."""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from msgspec import Struct

from muxer.background import given_up
from muxer.debts import ESCROW, Debts, given_back, released
from muxer.entries import Entry, Leg, pinned
from muxer.errors import StoreUnavailable
from muxer.journal import Journal
from muxer.outage import Outage
from muxer.stores import BudgetClaim, Granted, HoldChoice, Standing, Store
from muxer.types import Record

SHARE_PERCENT = 2
"""What each process sets aside, of a limit."""
MOST_PURSES = 1_000
_ASK_AGAIN_S = 60.0

_Key = tuple[str, str, int]  # account, window, its start


class Purse(Struct, eq=False):
    """What this process may spend from one account in one window without asking."""

    entry: Entry
    ends_s: int
    left: int
    is_used: bool = False


class _Seen(Struct):
    """An account with limits whose policy is escrow; `not_before` is when to ask for it again after a refusal."""

    claims: tuple[BudgetClaim, ...]
    not_before_s: float = 0.0


class Escrow:
    """The purses of the accounts seen lately, filled in the background; `stop` it, and give back at the end. Strict:
    what is let in by them was held in the store before, and stays held there until the store knows the requests."""

    def __init__(
        self, store: Store, journal: Journal, debts: Debts, outage: Outage, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._journal = journal
        self._debts = debts
        self._outage = outage
        self._clock = clock
        self._seen: OrderedDict[_Key, _Seen] = OrderedDict()
        self._purses: dict[_Key, Purse] = {}
        self._taken: dict[str, dict[_Key, tuple[Purse, int]]] = {}
        self._is_wanted = outage.over
        self._task = asyncio.create_task(self._keep_for_ever())

    @property
    def entries(self) -> list[Entry]:
        """What is held in the store."""
        return [purse.entry for purse in self._purses.values()]

    def saw(self, choice: HoldChoice, standings: Sequence[Standing]) -> None:
        """These limits were just met, in the windows the store's clock chose. Where the journal is not kept no purse is
        filled: nobody would know whose it was after a kill, and it would stay presumed spent."""
        if not self._journal.is_kept:
            return
        for claim, at in zip(choice.claims, standings, strict=False):
            if claim.on_store_error != "escrow":
                continue
            window = next((window for window in claim.windows if window.end_s == at.resets_at_s), claim.windows[0])
            key = claim.account, window.name, window.start_s
            seen = self._seen.get(key)
            if seen is None:
                same = [c for c in choice.claims if (c.account, c.windows[0].name) == key[:2]]
                seen = self._seen[key] = _Seen(tuple(pinned(c, window.start_s) for c in same))
                if len(self._seen) > MOST_PURSES:
                    self._seen.popitem(last=False)
            self._seen.move_to_end(key)
            if key not in self._purses and seen.not_before_s <= self._clock():
                self._is_wanted.set()

    def take(self, opening: Record, choice: HoldChoice) -> int | None:
        """What of the choice's bound the purses have for this request, taken; None when they have too little."""
        claims = [pinned(claim, opening.at) for claim in choice.claims if claim.on_store_error == "escrow"]
        granted, found = choice.bound_nanos, list[tuple[_Key, BudgetClaim, Purse]]()
        for claim in claims:
            key = claim.account, claim.windows[0].name, claim.windows[0].start_s
            purse = self._purses.get(key)
            least = choice.expected_nanos if claim.soft else choice.floor_nanos
            if least > (purse.left if purse else 0):
                return None
            if purse is None:
                continue  # it costs nothing (S19)
            found.append((key, claim, purse))
            if not claim.soft and choice.bound_nanos > 0:
                granted = min(granted, max(purse.left, choice.floor_nanos))
        taken = self._taken.setdefault(opening.id, {})
        amounts: dict[_Key, int] = {}
        for key, claim, _ in found:
            amounts[key] = max(amounts.get(key, 0), choice.expected_nanos if claim.soft else granted)
        for key, _, purse in {one[0]: one for one in found}.values():
            purse.left -= amounts[key]
            purse.is_used = True
            taken[key] = purse, amounts[key] + (taken[key][1] if key in taken else 0)
        return granted

    def settled(self, id: str, cost_nanos: int) -> None:
        """Gives back what a request did not cost; a purse that is the store's again gains nothing by it."""
        for purse, nanos in self._taken.pop(id, {}).values():
            purse.left += nanos - cost_nanos

    async def stop(self) -> None:
        """Sets nothing more aside. What was being set aside just now is owed back, for the debts to tell."""
        await given_up(self._task)

    async def give_back(self) -> None:
        """Gives everything back, once the store knows the requests. While it is away nobody waits for that: the next
        start does it."""
        with suppress(StoreUnavailable):
            while self._purses and not self._outage.is_on:
                _, purse = self._purses.popitem()
                opening = purse.entry.opening
                await self._outage.watch("settle", partial(self._store.settle, given_back(opening)))
                self._journal.forget(opening.id)

    async def _keep_for_ever(self) -> None:
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            try:
                await self._keep()
            except StoreUnavailable:
                continue  # the end of the outage sets it again

    async def _keep(self) -> None:
        now = self._clock()
        for key, purse in list(self._purses.items()):
            is_over = purse.ends_s and purse.ends_s <= now
            if is_over:
                self._seen.pop(key, None)
            if is_over or key not in self._seen or purse.is_used:
                if self._outage.is_on:
                    return  # what was spent from it is not in the store yet
                await self._release(key)
        for key, seen in list(self._seen.items()):
            if key not in self._purses and seen.not_before_s <= now:
                await self._reserve(key, seen)

    async def _reserve(self, key: _Key, seen: _Seen) -> None:
        if self._outage.is_on:
            return
        now = self._clock()
        nanos = min(c.limit_nanos or 0 for c in seen.claims) * SHARE_PERCENT // 100
        entry = Entry(_opening(now, seen.claims[0]), (Leg(_choice(nanos, seen.claims)),))
        written = self._journal.intend(entry)
        try:
            reply = await self._outage.watch("hold", partial(self._store.hold, entry.opening, [entry.legs[0].choice]))
            if written is not None:
                await written
        except (StoreUnavailable, asyncio.CancelledError):
            # Whether it was taken is unknown.
            await self._debts.owe_final(released(Entry(entry.opening)), turn=1)
            raise
        if isinstance(reply, Granted):
            self._purses[key] = Purse(entry, seen.claims[0].windows[0].end_s, nanos)
            return
        self._journal.forget(entry.opening.id)
        seen.not_before_s = now + _ASK_AGAIN_S

    async def _release(self, key: _Key) -> None:
        """Nothing more is taken from it; the store is told after all that was."""
        await self._debts.owe_final(released(self._purses.pop(key).entry), turn=1)


def _opening(now: float, claim: BudgetClaim) -> Record:
    return Record(
        id=f"{ESCROW}-{secrets.token_hex(12)}",
        at=now,
        api=ESCROW,
        state="open",
        user="",
        key="",
        model=ESCROW,
        reason=f"set aside for outages of the store under {claim.limit}",
    )


def _choice(nanos: int, claims: Sequence[BudgetClaim]) -> HoldChoice:
    return HoldChoice(model=ESCROW, bound_nanos=nanos, floor_nanos=nanos, expected_nanos=nanos, claims=tuple(claims))
