"""Whatever happens to a store, in any order, it answers as the model and keeps its invariants (RELIABILITY T1, T2)."""
# ruff: noqa: D102  # a test's name is its sentence

import asyncio
import copy
import os
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Protocol, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec import Struct
from msgspec.structs import replace

from muxer import (
    Attempt,
    Granted,
    HoldChoice,
    QuotaStanding,
    Record,
    Refused,
    Resolves,
    Standing,
    Store,
    Usage,
    Window,
)
from muxer.testing.builders import START_S, ManualClock, a_record
from muxer.testing.contracts.drawn import (
    ACCOUNTS,
    ASKS,
    CHOICES,
    LIMITS,
    OUTCOMES,
    PAUSES_S,
    PROCESS,
    QUOTAS,
    TWICE,
    UNITS,
    Ask,
    Outcome,
    choice,
)
from muxer.testing.contracts.model import Account, LedgerModel
from muxer.testing.contracts.money import DAY_S, a_claim, amounts, an_attempt

T = TypeVar("T")

HISTORIES = int(os.environ.get("MUXER_HISTORIES", "150"))
"""How many histories a store is led through."""
_STEPS = 25
_LAST_DAY_S = START_S + 25 * DAY_S  # a store may forget what is older
_LARGE = 2**40 + 1  # what a whole history can add up to in such units is just below 2**53 (S1)


class World(Protocol):
    """The data of a store, and the processes that use it."""

    async def start(self) -> Store:
        """A process opens the store. It finds out who is `lost`, and buries them, before it returns."""

    def lose(self, store: Store) -> None:
        """The process with this store is gone without a word; no other notices before the next one starts."""

    async def save(self) -> None:
        """Keeps a copy of the data."""

    async def restore(self) -> None:
        """Puts the copy in the place of the data, under processes that live on (S17)."""


OpenWorld = Callable[[Callable[[], float]], AbstractAsyncContextManager[World]]
"""Opens an empty world by a clock of Unix seconds; leaving it ends all its processes."""


class Entry(Struct):
    """What the processes' own notes say about a request, whatever its store forgets: each leg as it was granted, what
    the vendor billed for it, and how it ended as far as they know. `told` is what the store was told of the attempt
    before each further leg: nothing where that was still under way."""

    opening: Record
    accounts: tuple[str, ...]
    process: int
    legs: list[HoldChoice]
    bills: list[int]
    attempts: list[Attempt]
    told: list[Attempt | None]
    settled: Record | None = None


class LedgerMachine(RuleBasedStateMachine):
    """Two processes on one store, and the vendor whose bill is the truth. A subclass says what `open_world` is."""

    open_world: OpenWorld
    requests: Bundle[str] = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(START_S + 3600)
        self.model = LedgerModel()
        self.model.now = int(self.clock())
        self.entries: dict[str, Entry] = {}
        self.saved: LedgerModel | None = None
        self.unit = 1
        self.touched = ""
        self._runner = asyncio.Runner()
        self._opened = AsyncExitStack()
        self.world = self.run(self._opened.enter_async_context(self.open_world(self.clock)))
        self.stores = [self.run(self.world.start()) for _ in range(2)]
        self.processes = [0, 1]
        self.lost: set[int] = set()
        self.save()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Waits for a store."""
        return self._runner.get_loop().run_until_complete(work)

    def teardown(self) -> None:
        """Closes everything."""
        try:
            self.run(self._opened.aclose())
        finally:
            self._runner.close()

    @initialize(unit=st.sampled_from([1, _LARGE]))
    def count_in(self, unit: int) -> None:
        """Says how many nano-dollars a unit of money is."""
        self.unit = unit

    @rule(target=requests, by=PROCESS, asks=CHOICES, accounts=ACCOUNTS, end=OUTCOMES, times=TWICE)
    def hold(
        self, by: int, asks: list[Ask], accounts: tuple[str, ...], end: Outcome, times: int
    ) -> str | MultipleResults[str]:
        """A new request; granted, it is sent at once."""
        opening = a_record(id=f"r-{len(self.entries)}", at=self.clock())
        choices = [self._choice(ask, accounts) for ask in asks]
        by = self._living(by)
        for _ in range(times):
            reply = self._hold(by, opening, choices)
        if isinstance(reply, Refused):
            return multiple()
        entry = Entry(opening, accounts, self.processes[by], [], [], [], [])
        self.entries[opening.id] = entry
        self._sent(entry, choices[reply.choice], reply.granted_nanos, end)
        return opening.id

    @rule(by=PROCESS, asks=CHOICES, accounts=ACCOUNTS, units=UNITS)
    def serve(self, by: int, asks: list[Ask], accounts: tuple[str, ...], units: int) -> None:
        """A new request that is over before anything else happens, and whose cost is known."""
        id = self.hold(by, asks, accounts, Outcome(units, is_known=True), times=1)
        if isinstance(id, str):
            self.settle(by, id, tokens=units, times=1)

    @rule(by=PROCESS, id=requests, asks=CHOICES)
    def hold_again(self, by: int, id: str, asks: list[Ask]) -> None:
        """The same id once more, later and with anything in it: the first answer, and nothing changes (I6)."""
        choices = [self._choice(ask, self.entries[id].accounts) for ask in asks]
        assert isinstance(self._hold(self._living(by), self.entries[id].opening, choices), Granted)

    @rule(by=PROCESS, id=requests, ask=ASKS, end=OUTCOMES, times=TWICE, is_hedge=st.booleans())
    def extend(self, by: int, id: str, ask: Ask, end: Outcome, times: int, *, is_hedge: bool) -> None:
        """The last attempt ended, or is still under way, and the next is held, if it fits (S7)."""
        entry, by = self.entries[id], self._living(by)
        number, choice = len(entry.legs), self._choice(ask, entry.accounts)
        ended = None if is_hedge else entry.attempts[number - 1]
        for _ in range(times):
            reply = self._extend(by, id, number, choice, ended)
        if isinstance(reply, Granted):
            entry.told.append(ended)
            self._sent(entry, choice, reply.granted_nanos, end)

    @rule(by=PROCESS, id=requests, ask=ASKS)
    def extend_again(self, by: int, id: str, ask: Ask) -> None:
        """An extension that was granted, once more: the same answer, and nothing changes (I6)."""
        entry, by = self.entries[id], self._living(by)
        choice, number = self._choice(ask, entry.accounts), len(entry.legs) - 1
        if number:
            self._extend(by, id, number, choice, an_attempt(cost_nanos=self.unit))

    @rule(by=PROCESS, id=requests, tokens=st.integers(0, 120), times=TWICE)
    def settle(self, by: int, id: str, tokens: int, times: int) -> None:
        """The request is over; whoever says so a second time, or says something else, changes nothing (S9, I6)."""
        entry = self.entries[id]
        attempts = () if entry.settled else tuple(entry.attempts)
        record = replace(
            entry.opening,
            state="failed" if entry.settled else "done",
            cost_nanos=sum(attempt.cost_nanos for attempt in attempts),
            presumed_nanos=sum(attempt.presumed_nanos for attempt in attempts),
            model="m-1",
            attempts=attempts,
            usage=Usage(input_tokens=tokens),
        )
        entry.settled = entry.settled or record
        for _ in range(times):
            self._settle(self._living(by), record)

    @rule(by=PROCESS, id=requests, times=TWICE)
    def resolve(self, by: int, id: str, times: int) -> None:
        """The operator looks at the vendor's bill (S10)."""
        store = self.stores[self._living(by)]
        assert isinstance(store, Resolves)
        self.touched = id
        cost = sum(self.entries[id].bills[number] for number in self.model.unknown(id))
        for _ in range(times):
            assert self.run(store.resolve(id, cost)) == self.model.resolve(id, cost)

    @rule(pause_s=PAUSES_S)
    def wait(self, pause_s: int) -> None:
        """Time goes by: rates flow back, and days end (S14)."""
        self.clock.now_s = min(self.clock.now_s + pause_s, _LAST_DAY_S)
        self.model.now = int(self.clock.now_s)

    @precondition(lambda self: not self.lost)
    @rule(id=requests, is_found=st.booleans())
    def crash(self, id: str, is_found: bool) -> None:
        """The process that held a request is killed. What it holds stays held until that is found out."""
        holder = self.entries[id].process
        which = self.processes.index(holder) if holder in self.processes else 0
        self.world.lose(self.stores[which])
        self.lost.add(which)
        # What a store loses while the one who knew of it is dead, nobody can assert again (S17): that is not tried.
        self.saved = None
        if is_found:
            self.find_the_lost()

    @precondition(lambda self: self.lost)
    @rule()
    def find_the_lost(self) -> None:
        """A process starts in place of the dead one, whose lease has ended: what that held is presumed (S10)."""
        (which,) = self.lost
        self.stores[which] = self.run(self.world.start())
        self.model.interrupt(self.processes[which])
        self.processes[which] = max(self.processes) + 1
        self.lost.clear()

    @precondition(lambda self: not self.lost)
    @rule()
    def save(self) -> None:
        """The store will come back to this state."""
        self.run(self.world.save())
        self.saved = copy.deepcopy(self.model)

    @precondition(lambda self: self.saved)
    @rule()
    def lose_data(self) -> None:
        """The store is back at an older state; before anything new the processes assert what they know (S17, F11)."""
        assert self.saved is not None
        self.run(self.world.restore())
        self.model = copy.deepcopy(self.saved)
        self.model.now = int(self.clock.now_s)
        for entry in self.entries.values():
            self._reassert(entry)

    @invariant()
    def answers_as_the_model(self) -> None:
        """Every counter is what the model says, and no invariant is broken."""
        accounts = self.model.accounts()
        claims = [a_claim(account, windows=(Window(name, start_s, 0),)) for account, name, start_s in accounts]
        store = self.stores[self._living(0)]

        async def look() -> tuple[Sequence[Standing], Sequence[QuotaStanding], tuple[int, int], Record | None]:
            asked = store.standings(claims), store.quotas(list(QUOTAS.values())), store.held()
            return *await asyncio.gather(*asked), await store.record(self.touched)

        standings, quotas, held, record = self.run(look())
        # A soft limit counts what is expected, also where a hard one has granted nothing.
        legs = [leg for request in self.model.requests.values() for leg in request.legs]
        is_quiet = held == (0, 0) and all(leg.is_ended or not any(leg.taken.values()) for leg in legs)
        for account, standing in zip(accounts, standings, strict=True):
            self._check(account, standing, is_quiet=is_quiet)
            assert amounts(standing) == self.model.amounts(account)
        assert quotas == [self.model.quota(quota) for quota in QUOTAS.values()]
        assert held == self.model.sums()
        self._check_record(record)

    def _check_record(self, record: Record | None) -> None:
        request = self.model.requests.get(self.touched)
        assert (record is None) == (request is None), "a record is written with its hold, and only then"
        if record is None or request is None:
            return
        assert (record.state, record.presumed_nanos) == (request.state, request.presumed)
        assert record.cost_nanos == request.cost

    def _check(self, account: Account, standing: Standing, *, is_quiet: bool) -> None:
        billed, is_exact = 0, True
        for id, entry in self.entries.items():
            request = self.model.requests[id]
            billed += sum(bill for leg, bill in zip(request.legs, entry.bills, strict=True) if account in leg.taken)
            is_exact = is_exact and account not in request.overstated
        limit, counted = LIMITS[account[0]], amounts(standing)
        if not limit.soft:
            assert sum(counted) >= billed, f"I1: {account} counts {counted} of a bill of {billed}"
            for most in limit.limits:
                assert most is None or billed <= most * self.unit, f"I2: {account} was billed {billed}"
        if is_quiet:
            assert counted[0] >= billed if not is_exact else counted == (billed, 0, 0), (
                f"I3: {account} {counted} {billed}"
            )

    def _choice(self, ask: Ask, accounts: tuple[str, ...]) -> HoldChoice:
        return choice(ask, accounts, int(self.clock()), self.unit)

    def _sent(self, entry: Entry, choice: HoldChoice, granted: int, end: Outcome) -> None:
        """Notes a leg, as it would be asserted without any limit: in the windows that admitted it."""
        taken = self.model.requests[entry.opening.id].legs[-1].taken
        windows = {account: (Window(name, start_s, 0),) for account, name, start_s in taken}
        claims = tuple(replace(one, limit_nanos=None, windows=windows[one.account]) for one in choice.claims)
        entry.legs.append(replace(choice, bound_nanos=granted, floor_nanos=granted, claims=claims, quotas=()))
        bill = min(end.units * self.unit, granted)
        entry.bills.append(bill)
        entry.attempts.append(an_attempt(cost_nanos=bill) if end.is_known else an_attempt(presumed_nanos=granted))

    def _reassert(self, entry: Entry) -> None:
        id = entry.opening.id
        is_alive = entry.process in self.processes
        by = self.processes.index(entry.process) if is_alive else 0
        if is_alive:
            self._hold(by, entry.opening, entry.legs[:1])
            for number, choice in enumerate(entry.legs[1:], start=1):
                self._extend(by, id, number, choice, entry.told[number - 1])
        if entry.settled:
            self._settle(by, entry.settled)

    def _living(self, by: int) -> int:
        return by if by not in self.lost else 1 - by

    def _hold(self, by: int, opening: Record, choices: list[HoldChoice]) -> Granted | Refused:
        self.touched = opening.id
        reply = self.run(self.stores[by].hold(opening, choices))
        assert reply == self.model.hold(self.processes[by], opening.id, choices)
        _check_refusals(reply)
        return reply

    def _extend(self, by: int, id: str, number: int, choice: HoldChoice, ended: Attempt | None) -> Granted | Refused:
        self.entries[id].process = self.processes[by]
        self.touched = id
        reply = self.run(self.stores[by].extend(id, number, choice, ended))
        assert reply == self.model.extend(self.processes[by], id, number, choice, ended)
        _check_refusals(reply)
        return reply

    def _settle(self, by: int, record: Record) -> None:
        self.touched = record.id
        self.run(self.stores[by].settle(record))
        self.model.settle(record)


def _check_refusals(reply: Granted | Refused) -> None:
    """I5: what is refused would not have fitted, by the numbers the refusal itself states."""
    for refusal in reply.refusals if isinstance(reply, Refused) else ():
        at = refusal.standing
        if isinstance(at, Standing):
            assert at.limit_nanos is not None
            assert sum(amounts(at)) + refusal.asked_nanos > at.limit_nanos, f"I5: {refusal}"


def live_through(open_world: OpenWorld, histories: int = HISTORIES, **changes: object) -> None:
    """Leads a store through histories, and fails with the shortest one in which it breaks its word."""
    fields: dict[str, Any] = {"max_examples": histories, "stateful_step_count": _STEPS, "deadline": None, **changes}
    machine = type("Machine", (LedgerMachine,), {"open_world": staticmethod(open_world)})
    checks = list(HealthCheck)  # those are about speed
    run_state_machine_as_test(
        machine, settings=settings(print_blob=True, report_multiple_bugs=False, suppress_health_check=checks, **fields)
    )


class HistoryContract:
    """Subclass it as `TestHistoriesOfMyStore` and say how to open a world of yours."""

    def open_world(self, clock: Callable[[], float]) -> AbstractAsyncContextManager[World]:
        """Opens an empty world by a clock of Unix seconds; leaving it ends all its processes."""
        raise NotImplementedError

    def test_keeps_its_word_in_any_history(self) -> None:
        live_through(self.open_world)
