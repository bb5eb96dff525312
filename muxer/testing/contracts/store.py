"""What every store must do, as tests to inherit (RELIABILITY section 1)."""
# ruff: noqa: D102  # a test's name is its sentence

import asyncio
import random
from pathlib import Path

import pytest
from msgspec.structs import replace

from muxer import Attempt, BudgetClaim, Granted, Resolves, Store
from muxer.testing.builders import ManualClock, a_record
from muxer.testing.contracts.holds import HoldContract
from muxer.testing.contracts.money import a_choice, a_claim, an_attempt, counted, spend
from muxer.testing.contracts.quotas import QuotaContract
from muxer.testing.contracts.records import RecordContract


class StoreContract(HoldContract, QuotaContract, RecordContract):
    """Subclass it as `TestMyStore` and say how to open yours. Amounts are nano-dollars."""

    async def test_each_attempt_settles_the_leg_of_its_number(self, tmp_path: Path) -> None:
        user, first, second = a_claim(), a_claim("model:m-1"), a_claim("model:m-2")
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(a_record(), [a_choice(40, user, first)])
            attempts = (an_attempt(presumed_nanos=40), an_attempt(cost_nanos=25))
            await store.extend("request-1", 1, a_choice(30, user, second), attempts[0])
            await store.settle(a_record(state="done", cost_nanos=25, presumed_nanos=40, attempts=attempts))
            assert [await counted(store, claim) for claim in (user, first, second)] == [
                (25, 0, 40), (0, 0, 40), (25, 0, 0),
            ]  # fmt: skip
            assert await store.held() == (0, 40)

    @pytest.mark.parametrize(
        ("attempts", "amounts"),
        [
            ((an_attempt(cost_nanos=13),), (13, 0, 0)),
            ((an_attempt(),), (0, 0, 0)),
            ((an_attempt(presumed_nanos=60),), (0, 0, 60)),
            ((an_attempt(cost_nanos=5, presumed_nanos=7),), (5, 0, 7)),
            ((an_attempt(cost_nanos=130),), (130, 0, 0)),  # billed past its hold: recorded in full (I2)
            ((), (0, 0, 0)),  # held and never sent
        ],
        ids=["exact", "none", "presumed", "both", "overrun", "never sent"],
    )
    async def test_a_settlement_replaces_the_hold(
        self, tmp_path: Path, attempts: tuple[Attempt, ...], amounts: tuple[int, int, int]
    ) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await spend(store, "request-1", *attempts)
            assert (await counted(store), await store.held()) == (amounts, (0, amounts[2]))

    async def test_after_the_settlement_nothing_changes_any_more(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await spend(store, "request-1", an_attempt(cost_nanos=30))
            settled = await store.record("request-1")
            await spend(store, "request-1", an_attempt(cost_nanos=70))
            await store.extend("request-1", 1, a_choice(20), an_attempt(cost_nanos=9))
            await store.settle(a_record(state="failed"))
            assert (await counted(store), await store.held()) == ((30, 0, 0), (0, 0))
            assert await store.record("request-1") == settled

    async def test_what_was_interrupted_may_be_settled_again_and_counts_once(self, tmp_path: Path) -> None:
        attempts = (an_attempt(cost_nanos=40), an_attempt(presumed_nanos=30))
        ended = a_record(state="interrupted", cost_nanos=40, presumed_nanos=30, attempts=attempts)
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(a_record(), [a_choice(50)])
            await store.extend("request-1", 1, a_choice(30), attempts[0])
            for settled in (ended, ended, ended, replace(ended, state="done")):
                await store.settle(settled)
                (line,) = await store.summary([], 0, {})
                assert (line.requests, line.cost_nanos, line.presumed_nanos) == (1, 40, 30)
                assert (await counted(store), await store.held()) == ((40, 0, 30), (0, 30))
                assert await store.record("request-1") == settled

    @pytest.mark.parametrize(
        ("cost", "user", "first", "second"),
        [(50, 50, 40, 30), (35, 35, 35, 30), (0, 0, 0, 0), (90, 90, 60, 50)],
        ids=["within the bounds", "within either", "nothing", "past them"],
    )
    async def test_what_presumed_attempts_cost_counts_wherever_it_may_have_been_spent(
        self, tmp_path: Path, cost: int, user: int, first: int, second: int
    ) -> None:
        claims = a_claim(), a_claim("model:m-1"), a_claim("model:m-2")
        async with self.open_store(tmp_path, ManualClock()) as store:
            assert isinstance(store, Resolves), "a store on another machine, or in a file, is no use without (S10)"
            await store.hold(a_record(), [a_choice(40, *claims[:2])])
            attempts = tuple(an_attempt(presumed_nanos=presumed) for presumed in (40, 30))
            await store.extend("request-1", 1, a_choice(30, claims[0], claims[2]), attempts[0])
            await store.settle(a_record(state="done", presumed_nanos=70, attempts=attempts))
            assert [await store.resolve("request-1", cost) for _ in range(2)] == [True, False]
            assert [await counted(store, claim) for claim in claims] == [(user, 0, 0), (first, 0, 0), (second, 0, 0)]
            record = await store.record("request-1")
            assert record is not None and (record.cost_nanos, record.presumed_nanos) == (cost, 0)
            assert await store.held() == (0, 0)

    async def test_nothing_is_resolved_where_nothing_is_presumed(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            assert isinstance(store, Resolves)
            await store.hold(a_record(id="open"), [a_choice(10)])
            await spend(store, "exact", an_attempt(cost_nanos=30))
            assert [await store.resolve(id, 5) for id in ("open", "exact", "never")] == [False] * 3
            assert await counted(store) == (30, 10, 0)

    async def test_the_cost_of_an_attempt_is_in_the_record_as_soon_as_it_has_ended(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(a_record(), [a_choice(40)])
            for _ in range(2):
                await store.extend("request-1", 1, a_choice(30), an_attempt(cost_nanos=25))
            record = await store.record("request-1")
            assert record is not None and (record.state, record.cost_nanos) == ("open", 25)
            assert await counted(store) == (25, 30, 0)

    async def test_an_attempt_that_is_under_way_stays_held_beside_its_hedge(self, tmp_path: Path) -> None:
        attempts = (an_attempt(presumed_nanos=40), an_attempt(cost_nanos=25))
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(a_record(), [a_choice(40)])
            for _ in range(2):
                assert isinstance(await store.extend("request-1", 1, a_choice(30), None), Granted)
                assert (await counted(store), await store.held()) == ((0, 70, 0), (70, 0))
            ended = a_record(state="done", cost_nanos=25, presumed_nanos=40, attempts=attempts)
            await store.settle(ended)
            assert (await counted(store), await store.held()) == ((25, 0, 40), (0, 40))

    async def test_a_request_that_was_never_held_is_ignored(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.settle(a_record(state="failed"))
            assert await store.record("request-1") is None

    async def test_spending_is_remembered(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await spend(store, "request-1", an_attempt(cost_nanos=30))
            settled = await store.record("request-1")
        async with self.open_store(tmp_path, ManualClock()) as store:
            assert await counted(store) == (30, 0, 0)
            assert await store.record("request-1") == settled

    async def test_what_was_in_flight_still_counts_until_it_is_settled(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(a_record(), [a_choice(60)])
        async with self.open_store(tmp_path, ManualClock()) as store:
            assert (sum(await counted(store)), sum(await store.held())) == (60, 60)
            await store.settle(a_record(state="done", attempts=(an_attempt(cost_nanos=20),)))
            assert (await counted(store), await store.held()) == ((20, 0, 0), (0, 0))

    async def test_what_was_in_flight_can_still_be_extended(self, tmp_path: Path) -> None:
        attempts = (an_attempt(cost_nanos=10), an_attempt(cost_nanos=20))
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(a_record(), [a_choice(60)])
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.extend("request-1", 1, a_choice(30), attempts[0])
            spent, held, presumed = await counted(store)
            assert (spent, held + presumed) == (10, 30)
            await store.settle(a_record(state="done", cost_nanos=30, attempts=attempts))
            assert (await counted(store), await store.held()) == ((30, 0, 0), (0, 0))

    async def test_whoever_extends_a_request_holds_it(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            async with self.open_store(tmp_path, ManualClock()) as first:
                await first.hold(a_record(), [a_choice(60)])
            async with self.open_store(tmp_path, ManualClock()) as second:
                await second.extend("request-1", 1, a_choice(30), an_attempt(cost_nanos=10))
                assert (await counted(store), await store.held()) == ((10, 30, 0), (30, 0))
            assert (await counted(store), await store.held()) == ((10, 0, 30), (0, 30))

    @pytest.mark.parametrize("seed", range(5))
    async def test_spending_never_passes_the_limit(self, tmp_path: Path, seed: int) -> None:
        claim = a_claim(limit_nanos=1_000)
        async with self.open_store(tmp_path, ManualClock()) as store:
            chance = random.Random(seed)  # noqa: S311  # the same each time is what a test wants
            tasks = [_live(store, claim, f"r-{number}", chance) for number in range(60)]
            costs = await asyncio.gather(*tasks)
            assert await counted(store, claim) == (sum(costs), 0, 0)
            assert await store.held() == (0, 0)
        assert 0 < sum(costs) <= 1_000


async def _live(store: Store, claim: BudgetClaim, id: str, chance: random.Random) -> int:
    """One request with retries at a vendor that never bills past its hold; returns its bill."""
    choice = a_choice(chance.randint(1, 200), claim, floor_nanos=1)
    answer = await store.hold(a_record(id=id), [choice])
    attempts: list[Attempt] = []
    while isinstance(answer, Granted):
        for _ in range(chance.randint(0, 5)):
            await asyncio.sleep(0)
        assert sum(await counted(store, claim)) <= 1_000
        attempts.append(an_attempt(cost_nanos=chance.randint(0, answer.granted_nanos)))
        if chance.random() < 0.6 or len(attempts) == 3:
            break
        answer = await store.extend(id, len(attempts), choice, attempts[-1])
    cost = sum(attempt.cost_nanos for attempt in attempts)
    await store.settle(a_record(id=id, state="done", cost_nanos=cost, attempts=tuple(attempts)))
    return cost
