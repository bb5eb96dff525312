"""What a store misses is told it later, once, whatever it does meanwhile and whoever dies (S6, S9, S17, I6).

The store is that in memory, played as one on another machine: its data outlives the processes that use it, and it can
be away, lose a reply, break, or come back without what it knew.
"""

import asyncio
import copy
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from contextvars import ContextVar
from pathlib import Path

import pytest
from msgspec.structs import replace
from muxer_memory import Ledger as Data
from muxer_memory import MemoryStore

from muxer import (
    Attempt,
    BudgetClaim,
    BudgetExceeded,
    Granted,
    HoldChoice,
    Muxer,
    Record,
    Refused,
    Standing,
    StoreUnavailable,
)
from muxer.ledger import Ledger, open_ledger
from muxer.testing import ManualClock, a_choice, a_claim, a_record, an_attempt
from muxer.testing.contracts.money import amounts
from tests.plugins.redis_server import TOTAL
from tests.processes import until
from tests.proxy import Lines, Silent

SOON_S = 10.0
LIMIT = 1000
CLAIM = a_claim(limit_nanos=LIMIT, windows=(TOTAL,))
ASSERTING = ContextVar("asserting", default=False)
"""Whether this is a call of `reassert`, which may pass where others may not yet."""
ALLOWED = replace(CLAIM, on_store_error="allow")


class Remote(MemoryStore):
    """One process's connection; `play` is called before each call and after it ("held" and so on), and may raise."""

    def __init__(self, data: Data, journal: Path, owner: str) -> None:
        super().__init__(data, owner)
        self.journal = journal
        self.owner_name = owner
        self.is_away = False
        self.reassert: Callable[[], Awaitable[None]] | None = None

    async def play(self, call: str, id: str) -> None:
        if self.is_away and not ASSERTING.get():
            raise StoreUnavailable("away")

    def on_lost(self, reassert: Callable[[], Awaitable[None]]) -> None:
        self.reassert = reassert

    async def hold(self, opening: Record, choices: Sequence[HoldChoice]) -> Granted | Refused:
        await self.play("hold", opening.id)
        reply = await super().hold(opening, choices)
        await self.play("held", opening.id)
        return reply

    async def extend(self, id: str, leg: int, choice: HoldChoice, ended: Attempt) -> Granted | Refused:
        await self.play("extend", id)
        return await super().extend(id, leg, choice, ended)

    async def settle(self, record: Record) -> None:
        await self.play("settle", record.id)
        await super().settle(record)

    async def record(self, id: str) -> Record | None:
        await self.play("record", id)
        return await super().record(id)

    async def standings(self, claims: Sequence[BudgetClaim]) -> Sequence[Standing]:
        await self.play("standings", "")
        return await super().standings(claims)


class House:
    """The data of a store, and processes with a journal each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.data = Data(self.clock, keep_records=1000)
        self.log = Lines()

    @asynccontextmanager
    async def process(
        self, owner: str = "first", journal: str = "j.db", kind: type[Remote] = Remote
    ) -> AsyncIterator[tuple[Ledger, Remote]]:
        store = kind(self.data, self.folder / journal, owner)
        async with open_ledger(store, Silent(), self.log, self.clock) as ledger:
            yield ledger, store

    def copied(self, journal: str = "j.db", to: str = "copy.db") -> str:
        """What a process that is killed now leaves."""
        with closing(sqlite3.connect(self.folder / journal)) as db, closing(sqlite3.connect(self.folder / to)) as other:
            db.backup(other)
        return to

    def journaled(self, journal: str = "j.db") -> set[tuple[str, str]]:
        with closing(sqlite3.connect(self.folder / journal)) as db:
            return set(db.execute("SELECT id, state FROM entries").fetchall())

    def counted(self, claim: BudgetClaim = CLAIM) -> tuple[int, int, int]:
        return amounts(self.data.standing(claim))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def hold(ledger: Ledger, id: str, bound: int, claim: BudgetClaim = CLAIM) -> None:
    await ledger.hold(a_record(id=id), [a_choice(bound, claim)])


async def settle(ledger: Ledger, id: str, cost: int) -> None:
    await ledger.settle(a_record(id=id, state="done", cost_nanos=cost, attempts=(an_attempt(cost_nanos=cost),)))


async def asserted(store: Remote) -> None:
    """What a store does that lost data, again where the journal cannot be read just now."""
    assert store.reassert is not None
    ASSERTING.set(True)
    async with asyncio.timeout(SOON_S):
        while True:
            try:
                await store.reassert()
                break
            except StoreUnavailable:
                await asyncio.sleep(0.01)
    ASSERTING.set(False)


@pytest.mark.parametrize("when", ["owed", "on its way"])
async def test_a_store_that_lost_its_data_is_told_of_settlements_it_never_had(house: House, when: str) -> None:
    async with house.process() as (ledger, store):
        await hold(ledger, "r", 900)
        on_its_way, may_go_on = asyncio.Event(), asyncio.Event()

        async def waits(call: str, id: str) -> None:
            if call == "settle" and not ASSERTING.get():
                on_its_way.set()
                await may_go_on.wait()

        store.is_away = when == "owed"
        if when == "on its way":
            store.play = waits  # type: ignore[method-assign]  # the fault of this test
        settling = asyncio.create_task(settle(ledger, "r", 900))
        await (settling if when == "owed" else on_its_way.wait())
        empty = Data(house.clock, keep_records=1000)
        vars(house.data).update(vars(empty))
        await asserted(store)  # before this returns nobody is admitted, and no other call passes
        assert house.counted() == (900, 0, 0)
        may_go_on.set()
        store.is_away = False
        await settling


async def test_what_a_dead_process_owed_unfinished_is_ended_before_it_is_told(house: House) -> None:
    async with house.process() as (ledger, store):
        store.is_away = True
        await hold(ledger, "r", 10, ALLOWED)
        journal = house.copied()
        store.is_away = False
    house.data = Data(house.clock, keep_records=1000)
    async with house.process("second", journal):
        await until(lambda: "r" in house.data.requests, SOON_S)
        assert (house.data.requests["r"].record.state, house.counted(ALLOWED)) == ("interrupted", (0, 0, 10))


async def test_a_lost_reply_lets_no_other_model_in_on_the_account_of_the_first(house: House) -> None:
    dear, cheap = (replace(ALLOWED, account=f"model:{name}", limit_nanos=100) for name in ("dear", "cheap"))

    async def loses(call: str, id: str) -> None:
        if call == "held":
            raise StoreUnavailable("the reply is lost")

    async with house.process() as (ledger, store):
        store.play = loses  # type: ignore[method-assign]  # the fault of this test
        with pytest.raises(StoreUnavailable):
            await ledger.hold(a_record(id="r"), [a_choice(200, dear), a_choice(50, cheap)])
        await ledger.settle(a_record(id="r", state="failed"))
        store.play = lambda call, id: asyncio.sleep(0)  # type: ignore[method-assign]  # it answers again
        await until(lambda: house.counted(cheap) == (0, 0, 0), SOON_S)
        assert house.counted(dear) == (0, 0, 0)


async def test_a_settlement_after_the_ledger_was_closed_ends(house: House) -> None:
    async with house.process() as (ledger, store):
        await hold(ledger, "r", 10)
    store.is_away = True
    async with asyncio.timeout(SOON_S):
        await settle(ledger, "r", 10)


async def test_a_stream_may_outlive_its_muxer(tmp_path: Path) -> None:
    (tmp_path / "routing.yaml").write_text(
        "version: 1\nplugins: [demo, sqlite]\nproviders: {d: {kind: demo}}\nmodels: {m: {provider: d, price: free}}\n"
        "routes: [{name: all, use: [m]}]\n"
    )
    async with Muxer.from_yaml(tmp_path / "routing.yaml") as mux:
        stream = await mux.acompletion(messages=[{"role": "user", "content": "Hi"}], stream=True)
        await anext(stream)
    async with asyncio.timeout(SOON_S):
        await stream.aclose()


async def test_a_refused_request_leaves_the_journal_at_once(house: House) -> None:
    async with house.process() as (ledger, _):
        with pytest.raises(BudgetExceeded):
            await hold(ledger, "refused", LIMIT + 1)
        await ledger.settle(a_record(id="refused", state="failed"))
        await until(lambda: house.journaled() == set(), SOON_S)


async def test_a_settlement_that_only_the_journal_knows_survives_the_store_s_loss(house: House) -> None:
    async with house.process() as (ledger, _):
        await hold(ledger, "r", 900)
        before = copy.deepcopy(house.data, {id(house.clock): house.clock})
        await settle(ledger, "r", 10)
    house.data = before
    async with house.process("second"):
        await until(lambda: house.counted() == (10, 0, 0), SOON_S)


@pytest.mark.parametrize("call", ["standings", "settle", "record"])
async def test_a_store_that_breaks_is_away_and_loses_nothing(house: House, call: str) -> None:
    async with house.process() as (ledger, store):
        store.is_away = True
        await hold(ledger, "a", 10, ALLOWED)
        await settle(ledger, "a", 10)
        store.is_away = False
        times = 0

        async def breaks(called: str, id: str) -> None:
            nonlocal times
            times += called == call
            if called == call and times <= 3:
                raise ValueError("a defect of the store")

        store.play = breaks  # type: ignore[method-assign,assignment]  # the fault of this test
        await hold(ledger, "b", 10, ALLOWED)
        await settle(ledger, "b", 10)
        await until(lambda: house.counted(ALLOWED) == (20, 0, 0), SOON_S)
    assert call == "record" or any(line["event"] == "store_broke" for line in house.log.lines)


async def test_a_cancelled_settlement_is_in_the_journal_when_the_process_ends(house: House) -> None:
    async with house.process() as (ledger, store):
        await hold(ledger, "r", 900)
        on_its_way = asyncio.Event()

        async def hangs(call: str, id: str) -> None:
            if call == "settle":
                on_its_way.set()
                await asyncio.sleep(1000)
            store.is_away = True

        store.play = hangs  # type: ignore[method-assign]  # the fault of this test
        settling = asyncio.create_task(settle(ledger, "r", 10))
        await on_its_way.wait()
        settling.cancel()
        await asyncio.gather(settling, return_exceptions=True)
    assert house.journaled() == {("r", "owed")}
    assert [line["then"] for line in house.log.lines if line["event"] == "store_owed"] == ["the journal keeps it"]
    house.data.interrupt("first")
    async with house.process("second"):
        await until(lambda: house.counted() == (10, 0, 0), SOON_S)


async def test_what_the_journal_cannot_take_is_told_from_memory_and_remembered(house: House) -> None:
    async with house.process() as (ledger, store):
        await hold(ledger, "r", 900)
        with closing(sqlite3.connect(house.folder / "j.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            store.is_away = True
            await settle(ledger, "r", 10)
            other.execute("ROLLBACK")
        store.is_away = False
        await until(lambda: house.counted() == (10, 0, 0), SOON_S)
        vars(house.data).update(vars(Data(house.clock, keep_records=1000)))
        await asserted(store)
        assert house.counted() == (10, 0, 0)


async def test_one_request_that_the_store_refuses_keeps_no_other_waiting(house: House) -> None:
    async def refuses(call: str, id: str) -> None:
        if id == "a-poison":
            raise StoreUnavailable("not this one")

    ids = ["a-poison", *(f"b{number}" for number in range(100))]
    async with house.process() as (ledger, store):
        store.is_away = True
        for id in ids:
            await hold(ledger, id, 10, ALLOWED)
            await settle(ledger, id, 10)
        store.play, store.is_away = refuses, False  # type: ignore[method-assign]  # the fault of this test
        await until(lambda: house.counted(ALLOWED) == (1000, 0, 0), SOON_S)
        async with asyncio.timeout(SOON_S):
            while "store_outage_over" not in [line["event"] for line in house.log.lines]:
                await ledger.measure()  # as it does every few seconds: the store answers that
                await asyncio.sleep(0.05)
    assert [line["request"] for line in house.log.lines if line["event"] == "settlement_refused"] == ["a-poison"]
    assert house.journaled() >= {("a-poison", "owed")}


async def test_an_extension_the_store_took_is_asserted_though_the_journal_has_it_not(house: House) -> None:
    async with house.process() as (ledger, store):
        await hold(ledger, "r", 100)
        with closing(sqlite3.connect(house.folder / "j.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            assert await ledger.extend("r", 1, a_choice(200, CLAIM), an_attempt(cost_nanos=50)) is None
            other.execute("ROLLBACK")
        vars(house.data).update(vars(Data(house.clock, keep_records=1000)))
        await asserted(store)
        assert house.counted() == (50, 200, 0)


async def test_the_journal_of_an_ended_process_is_taken_over_and_removed(house: House) -> None:
    async with house.process("second", "j.2.db") as (ledger, store):
        store.is_away = True
        await hold(ledger, "r", 10, ALLOWED)
        await settle(ledger, "r", 10)
    (house.folder / "j.3.db").write_bytes(b"no database at all, but the name of one" * 100)
    async with house.process():
        await until(lambda: house.counted(ALLOWED) == (10, 0, 0), SOON_S)
    assert {path.name for path in house.folder.iterdir()} == {"j.db", "j.db.lock", "j.3.db.damaged"}
    assert (await house.log.wait_for("journal_damaged"))["file"] == "j.3.db.damaged"
