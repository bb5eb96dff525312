"""The store in memory against the published contract, and what is its own."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from muxer_memory import Ledger, MemorySettings, open_memory, open_over

from muxer import ConfigInvalid, Store, Window
from muxer.testing import ManualClock, StoreContract, a_record, open_context
from muxer.testing.builders import START_S
from muxer.testing.contracts.money import DAY_S, a_choice, a_claim, an_attempt, counted, spend


class TestMemoryStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _nothing_yet(self) -> None:
        self._ledgers: dict[Path, Ledger] = {}

    @asynccontextmanager
    async def open_store(self, folder: Path, clock: Callable[[], float]) -> AsyncIterator[Store]:
        async with open_over(self._ledgers.setdefault(folder, Ledger(clock, keep_records=10_000))) as store:
            yield store


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
