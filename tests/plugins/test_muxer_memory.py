"""The store in memory against the published contract, and what is its own."""

import copy
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import Phase
from msgspec.structs import replace
from muxer_memory import Ledger, MemorySettings, MemoryStore, open_memory, open_over

from muxer import ConfigInvalid, KeepsKeys, Record, Store, Window
from muxer.testing import (
    FeedbackContract,
    HistoryContract,
    KeyedContract,
    ManualClock,
    StoreContract,
    a_record,
    live_through,
    open_context,
)
from muxer.testing.builders import START_S
from muxer.testing.contracts.money import DAY_S, a_choice, a_claim, an_attempt, counted, spend


class TestMemoryStore(StoreContract, KeyedContract, FeedbackContract):
    @pytest.fixture(autouse=True)
    def _nothing_yet(self) -> None:
        self._ledgers: dict[Path, Ledger] = {}

    @asynccontextmanager
    async def open_store(self, folder: Path, clock: Callable[[], float]) -> AsyncIterator[Store]:
        async with open_over(self._ledgers.setdefault(folder, Ledger(clock, keep_records=10_000))) as store:
            yield store


class MemoryWorld:
    """One ledger and those who work on it."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float], processes: AsyncExitStack) -> None:
        self._ledger = ledger
        self._clock = clock
        self._processes = processes
        self._lost: list[Store] = []
        self._copy = ledger

    async def start(self) -> Store:
        for store in self._lost:
            assert isinstance(store, MemoryStore)
            self._ledger.interrupt(store.owner)
        self._lost.clear()
        return await self._processes.enter_async_context(open_over(self._ledger))

    def lose(self, store: Store) -> None:
        self._lost.append(store)

    async def save(self) -> None:
        self._copy = self._copied(self._ledger)

    async def restore(self) -> None:
        vars(self._ledger).update(vars(self._copied(self._copy)))

    def _copied(self, ledger: Ledger) -> Ledger:
        return copy.deepcopy(ledger, {id(self._clock): self._clock})


class TestHistoriesOfMemory(HistoryContract):
    ledger: type[Ledger] = Ledger

    @asynccontextmanager
    async def open_world(self, clock: Callable[[], float]) -> AsyncIterator[MemoryWorld]:
        async with AsyncExitStack() as processes:
            yield MemoryWorld(self.ledger(clock, keep_records=10_000), clock, processes)


class ReleasesOnExpiry(Ledger):
    """Gives back what a dead process held, as most gateways do."""

    def interrupt(self, owner: str) -> None:
        for request in list(self.requests.values()):
            if request.owner == owner and request.record.state == "open":
                self.settle(replace(request.record, state="interrupted"))


class CountsInFloats(Ledger):
    """Keeps what is spent in a column of dollars."""

    def __init__(self, clock: Callable[[], float], keep_records: int) -> None:
        super().__init__(clock, keep_records)
        self._spent: dict[tuple[str, int], tuple[float, int]] = {}

    def settle(self, record: Record) -> None:
        super().settle(record)
        for key, counter in self._counters.items():
            dollars, read = self._spent.get(key, (0.0, 0))
            dollars += (counter.spent - read) / 1e9
            counter.spent = int(dollars * 1e9)
            self._spent[key] = dollars, counter.spent


@pytest.mark.parametrize("ledger", [ReleasesOnExpiry, CountsInFloats])
def test_the_histories_find_a_ledger_that_is_wrong(ledger: type[Ledger]) -> None:
    wrong = TestHistoriesOfMemory()
    wrong.ledger = ledger
    with pytest.raises(AssertionError):
        live_through(wrong.open_world, 200, phases=[Phase.generate], derandomize=True, database=None)


async def test_nothing_is_left_when_it_closes(tmp_path: Path) -> None:
    for _ in range(2):
        async with open_context(tmp_path) as context, open_memory(MemorySettings(), context) as store:
            assert (await counted(store), await store.record("a")) == ((0, 0, 0), None)
            await spend(store, "a", an_attempt(cost_nanos=5))
            assert await counted(store) == (5, 0, 0)
    assert list(tmp_path.iterdir()) == []


async def test_one_of_several_workers_is_refused_with_the_remedy() -> None:
    async with open_context(worker=2) as context:
        with pytest.raises(ConfigInvalid, match=r"belongs to one process.*'sqlite', which workers share"):
            async with open_memory(MemorySettings(), context):
                pass


async def test_old_records_go_but_not_what_is_open_or_presumed() -> None:
    async with open_over(Ledger(ManualClock(), keep_records=2)) as store:
        await store.hold(a_record(id="open"), [a_choice(1)])
        await spend(store, "presumed", an_attempt(presumed_nanos=1))
        for id in "abcd":
            await spend(store, id, an_attempt(cost_nanos=1))
        assert {record.id async for record in store.records(0, {}, 10)} == {"open", "presumed", "c", "d"}
        assert await counted(store) == (4, 1, 1)
        assert await store.resolve("presumed", 1)
        assert {record.id async for record in store.records(0, {}, 10)} == {"open", "d", "presumed"}


async def test_counters_of_windows_long_over_go() -> None:
    clock = ManualClock()
    ledger = Ledger(clock, keep_records=1)
    async with open_over(ledger) as store:
        for day in range(3_000):
            clock.now_s = START_S + day * DAY_S
            window = Window("day", int(clock.now_s), int(clock.now_s) + DAY_S)
            await store.hold(a_record(id=f"r-{day}"), [a_choice(1, a_claim(windows=(window,)))])
            await store.settle(a_record(id=f"r-{day}", state="done", attempts=(an_attempt(cost_nanos=1),)))
        assert await counted(store, a_claim(windows=(window,))) == (1, 0, 0)
    assert len(ledger._counters) < 1_200


async def test_it_keeps_no_keys_that_would_end_with_it() -> None:
    async with open_over(Ledger(ManualClock(), keep_records=1)) as store:
        assert not isinstance(store, KeepsKeys)
