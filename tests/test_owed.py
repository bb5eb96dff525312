"""What a store misses is told it later, once, whatever it does meanwhile and whoever dies (S6, S9, S17, I6)."""

import asyncio
import copy
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace
from muxer_memory import Ledger as Data

from muxer import BudgetClaim, BudgetExceeded, Muxer, Standing, StoreUnavailable
from muxer.testing import a_choice, a_record, an_attempt
from tests.house import ALLOWED, ASSERTING, CLAIM, LIMIT, SOON_S, House, Remote, asserted, hold, settle
from tests.processes import until


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


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
        house.lose()
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


async def test_a_lost_reply_lets_no_other_model_in_as_the_next_attempt(house: House) -> None:
    async def loses(call: str, id: str) -> None:
        if call == "extended":
            raise StoreUnavailable("the reply is lost")

    dear, cheap = a_choice(800, CLAIM), a_choice(10, CLAIM)
    async with house.process() as (ledger, store):
        await hold(ledger, "r", 100)
        store.play = loses  # type: ignore[method-assign]  # the fault of this test
        assert await ledger.extend("r", 1, cheap, an_attempt(cost_nanos=100)) is None
        store.play = lambda call, id: asyncio.sleep(0)  # type: ignore[method-assign]  # it answers again
        granted = await ledger.extend("r", 1, dear, an_attempt(cost_nanos=100))
        assert granted is None or house.counted() == (100, 800, 0), "what is not held must not be sent (I7)"
        again = await ledger.extend("r", 1, cheap, an_attempt(cost_nanos=100))
        assert again is not None and house.counted() == (100, 10, 0)


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


@pytest.mark.parametrize("is_locked", [False, True], ids=["at once", "when it can be written again"])
async def test_a_refused_request_leaves_the_journal(house: House, is_locked: bool) -> None:
    fault = ExitStack()

    async def is_noted(call: str, id: str) -> None:
        if id == "refused" and call == "hold":
            await until(lambda: house.journaled() == {("refused", "open")}, SOON_S)
            if is_locked:
                fault.enter_context(house.locked())

    async with house.process() as (ledger, store):
        store.play = is_noted  # type: ignore[method-assign]  # what this test waits for
        with pytest.raises(BudgetExceeded):
            await hold(ledger, "refused", LIMIT + 1)
        if is_locked:
            await house.log.wait_for("journal_unavailable")
            fault.close()
            await house.log.wait_for("journal_available")
            await hold(ledger, "next", 10)
        await until(lambda: "refused" not in dict(house.journaled()), SOON_S)


async def test_a_settlement_that_only_the_journal_knows_survives_the_store_s_loss(house: House) -> None:
    async with house.process() as (ledger, _):
        await hold(ledger, "r", 900)
        before = copy.deepcopy(house.data, {id(house.clock): house.clock})
        await settle(ledger, "r", 10)
    house.data = before
    async with house.process("second"):
        await until(lambda: house.counted() == (10, 0, 0), SOON_S)


@pytest.mark.parametrize("call", ["standings", "settle"])
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
    said = [line["call"] for line in house.log.lines if line["event"] == "store_broke"]
    assert said and len(said) == len(set(said)), "once for each call"


class Unreadable(Remote):
    """Some of its rows cannot be read."""

    async def play(self, call: str, id: str) -> None:
        await super().play(call, id)
        if call == "record":
            raise ValueError("a row of another shape")


async def test_what_cannot_be_looked_up_keeps_nothing_owed_waiting(house: House) -> None:
    async with house.process() as (ledger, _):
        await hold(ledger, "left", 10)
        journal = house.copied()
    async with house.process("second", journal, Unreadable) as (ledger, store):
        store.is_away = True
        await hold(ledger, "r", 10, ALLOWED)
        await settle(ledger, "r", 10)
        store.is_away = False
        await until(lambda: house.counted() == (10, 10, 0), SOON_S)
        await house.log.wait_for("store_broke")
    assert [line["call"] for line in house.log.lines if line["event"] == "store_broke"] == ["record"]
    assert ("left", "open") in house.journaled(journal)


class Forgetful(Remote):
    """Leaves out what it was asked."""

    async def standings(self, claims: Sequence[BudgetClaim]) -> Sequence[Standing]:
        return []


def is_settled(house: House, id: str) -> bool:
    return id in house.data.requests and house.data.requests[id].record.state == "done"


async def test_a_senseless_answer_does_not_end_the_telling(house: House) -> None:
    async with house.process(kind=Forgetful) as (ledger, store):
        for id in ("a", "b"):
            store.is_away = True
            await hold(ledger, id, 10, ALLOWED)
            await settle(ledger, id, 10)
            store.is_away = False
            await until(partial(is_settled, house, id), SOON_S)
            assert (await house.log.wait_for("store_broke"))["call"] == "tell"


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
    async with house.process(grace_s=SOON_S) as (ledger, store):
        await hold(ledger, "r", 900)
        with house.locked():
            store.is_away = True
            await settle(ledger, "r", 10)
        house.lose()
        await asserted(store)
        assert house.counted() == (10, 0, 0)
        store.is_away = False
    assert house.journaled() == {("r", "settled")}


async def test_what_the_journal_could_not_take_is_in_it_at_the_end(house: House) -> None:
    async with house.process() as (ledger, store):
        await hold(ledger, "r", 900)
        with house.locked():
            store.is_away = True
            await settle(ledger, "r", 10)
        await house.log.wait_for("journal_available")
    assert house.journaled() == {("r", "owed")}


async def test_a_store_that_lost_its_data_is_not_kept_closed_by_one_request_that_it_refuses(house: House) -> None:
    async def refuses(call: str, id: str) -> None:
        if id == "a-poison":
            raise StoreUnavailable("not this one")

    async with house.process() as (ledger, store):
        store.is_away = True
        await hold(ledger, "a-poison", 10, ALLOWED)
        await settle(ledger, "a-poison", 10)
        store.play, store.is_away = refuses, False  # type: ignore[method-assign]  # the fault of this test
        await hold(ledger, "r", 10, ALLOWED)
        house.lose()
        await asserted(store)
        assert house.counted(ALLOWED) == (0, 10, 0)


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
        with house.locked():
            assert await ledger.extend("r", 1, a_choice(200, CLAIM), an_attempt(cost_nanos=50)) is None
        house.lose()
        await asserted(store)
        assert house.counted() == (50, 200, 0)


async def test_the_journal_of_an_ended_process_is_taken_over_and_removed(house: House) -> None:
    async with house.process("second", "j.2.db") as (ledger, store):
        store.is_away = True
        await hold(ledger, "r", 10, ALLOWED)
        await settle(ledger, "r", 10)
    for name in ("j.3.db", "j.3.db-wal"):
        (house.folder / name).write_bytes(b"no database at all, but the name of one" * 100)
    async with house.process():
        await until(lambda: house.counted(ALLOWED) == (10, 0, 0), SOON_S)
    assert {path.name for path in house.folder.iterdir()} == {
        "j.db",
        "j.db.lock",
        "j.3.db.damaged",
        "j.3.db.damaged-wal",
    }
    assert (await house.log.wait_for("journal_damaged"))["file"] == "j.3.db.damaged"


async def test_money_that_is_being_set_aside_at_the_end_is_given_back(house: House) -> None:
    claim = replace(CLAIM, on_store_error="escrow")
    async with house.process() as (ledger, store):
        is_taken = asyncio.Event()

        async def hangs(call: str, id: str) -> None:
            if call == "held" and id.startswith("escrow"):
                is_taken.set()
                await asyncio.sleep(1000)

        store.play = hangs  # type: ignore[method-assign]  # the fault of this test
        await hold(ledger, "r", 10, claim)
        await settle(ledger, "r", 10)
        await is_taken.wait()
        assert house.counted(claim)[1] > 0
        await ledger.close(grace_s=SOON_S)
        assert house.counted(claim) == (10, 0, 0)
