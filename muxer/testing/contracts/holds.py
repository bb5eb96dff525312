"""What every store must do before money is spent: hold, refuse, extend (RELIABILITY S2-S7)."""
# ruff: noqa: D102  # a test's name is its sentence

from pathlib import Path

from muxer import Granted, Refused, Standing
from muxer.testing.builders import ManualClock, a_record
from muxer.testing.contracts.money import StoreTests, a_choice, a_claim, amounts, an_attempt, counted, plain, spend


class HoldContract(StoreTests):
    """The part of `StoreContract` about holds. Amounts are nano-dollars."""

    async def test_a_hold_counts_until_it_is_settled(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            assert plain(await store.hold(a_record(), [a_choice(60)])) == Granted(choice=0, granted_nanos=60)
            assert await counted(store) == (0, 60, 0)
            assert await store.held() == (60, 0)

    async def test_a_hold_repeated_takes_nothing_more(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            first = await store.hold(a_record(), [a_choice(60)])
            assert await store.hold(a_record(), [a_choice(60)]) == first
            assert await store.hold(a_record(), [a_choice(20)]) == first
            assert await counted(store) == (0, 60, 0)

    async def test_a_hold_repeated_with_other_choices_gets_the_same_answer(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(a_record(), [a_choice(300), a_choice(200), a_choice(60)])
            again = await store.hold(a_record(), [a_choice(20, claims=()), a_choice(20, a_claim("all:", 9))])
            assert plain(again) == Granted(choice=2, granted_nanos=60)
            assert isinstance(again, Granted)
            assert [standing.limit_nanos for standing in again.budgets] == [9]

    async def test_a_hold_may_use_the_last_nano_dollar(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(a_record(id="a"), [a_choice(99)])
            assert isinstance(await store.hold(a_record(id="b"), [a_choice(1)]), Granted)
            assert isinstance(await store.hold(a_record(id="c"), [a_choice(1)]), Refused)

    async def test_a_refusal_states_its_numbers(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await spend(store, "a", an_attempt(cost_nanos=30))
            await spend(store, "b", an_attempt(presumed_nanos=20))
            await store.hold(a_record(id="c"), [a_choice(10)])
            refused = await store.hold(a_record(id="d"), [a_choice(41, model="m-2")])
        assert isinstance(refused, Refused)
        (refusal,) = refused.refusals
        assert isinstance(refusal.standing, Standing)
        assert (refusal.model, refusal.asked_nanos, amounts(refusal.standing)) == ("m-2", 41, (30, 10, 20))
        assert (refusal.standing.limit_nanos, refusal.standing.resets_at_s) == (100, a_claim().windows[0].end_s)

    async def test_a_refused_request_leaves_nothing(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            assert isinstance(await store.hold(a_record(), [a_choice(101)]), Refused)
            assert await store.record("request-1") is None
            assert (await counted(store), await store.held()) == ((0, 0, 0), (0, 0))

    async def test_takes_the_first_choice_that_fits(self, tmp_path: Path) -> None:
        choices = [a_choice(300), a_choice(101), a_choice(40), a_choice(20)]
        async with self.open_store(tmp_path, ManualClock()) as store:
            assert plain(await store.hold(a_record(), choices)) == Granted(choice=2, granted_nanos=40)
            refused = await store.hold(a_record(id="b"), choices[:2])
        assert isinstance(refused, Refused)
        assert [refusal.asked_nanos for refusal in refused.refusals] == [300, 101]

    async def test_takes_from_all_limits_or_from_none(self, tmp_path: Path) -> None:
        roomy, tight = a_claim("all:", 100), a_claim("team:red", 50)
        async with self.open_store(tmp_path, ManualClock()) as store:
            refused = await store.hold(a_record(), [a_choice(51, roomy, tight)])
            assert isinstance(refused, Refused)
            assert refused.refusals[0].standing.subject == "red"
            assert await counted(store, roomy) == (0, 0, 0)
            await store.hold(a_record(), [a_choice(50, roomy, tight)])
            assert (await counted(store, roomy), await counted(store, tight)) == ((0, 50, 0), (0, 50, 0))
            assert await store.held() == (50, 0)

    async def test_grants_what_fits_between_floor_and_bound(self, tmp_path: Path) -> None:
        claims = (a_claim("all:", 90), a_claim("team:red", 70), a_claim("user:alice", 80))
        async with self.open_store(tmp_path, ManualClock()) as store:
            granted = await store.hold(a_record(id="a"), [a_choice(95, *claims, floor_nanos=60)])
            assert plain(granted) == Granted(choice=0, granted_nanos=70)
            refused = await store.hold(a_record(id="b"), [a_choice(95, a_claim("all:", 90), floor_nanos=21)])
        assert isinstance(refused, Refused)
        assert refused.refusals[0].asked_nanos == 21

    async def test_a_soft_limit_holds_what_is_expected(self, tmp_path: Path) -> None:
        soft = a_claim(soft=True)
        async with self.open_store(tmp_path, ManualClock()) as store:
            granted = await store.hold(a_record(id="a"), [a_choice(500, soft, expected_nanos=60)])
            assert plain(granted) == Granted(choice=0, granted_nanos=500)
            assert await counted(store) == (0, 60, 0)
            assert isinstance(await store.hold(a_record(id="b"), [a_choice(500, soft, expected_nanos=41)]), Refused)
            await store.settle(a_record(id="a", state="done", attempts=(an_attempt(cost_nanos=90),)))
            assert await counted(store) == (90, 0, 0)

    async def test_a_claim_without_limit_only_counts(self, tmp_path: Path) -> None:
        claim = a_claim(limit_nanos=None)
        async with self.open_store(tmp_path, ManualClock()) as store:
            assert isinstance(await store.hold(a_record(), [a_choice(10**15, claim)]), Granted)
            assert await counted(store, claim) == (0, 10**15, 0)

    async def test_what_is_free_passes_a_spent_limit(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await spend(store, "a", an_attempt(cost_nanos=100))
            assert isinstance(await store.hold(a_record(id="b"), [a_choice(0)]), Granted)
            lowered = a_claim(limit_nanos=50)
            assert isinstance(await store.hold(a_record(id="c"), [a_choice(0, lowered)]), Granted)
            assert isinstance(await store.hold(a_record(id="d"), [a_choice(1, lowered)]), Refused)

    async def test_its_own_clock_picks_the_window(self, tmp_path: Path) -> None:
        clock = ManualClock()
        async with self.open_store(tmp_path, clock) as store:
            await store.hold(a_record(id="a"), [a_choice(100)])
            clock.now_s = a_claim().windows[1].start_s
            assert await counted(store) == (0, 0, 0)
            assert isinstance(await store.hold(a_record(id="b"), [a_choice(100)]), Granted)

    async def test_a_request_belongs_to_the_window_that_admitted_it(self, tmp_path: Path) -> None:
        clock = ManualClock()
        async with self.open_store(tmp_path, clock) as store:
            await store.hold(a_record(), [a_choice(100)])
            clock.now_s = a_claim().windows[1].start_s
            await store.settle(a_record(state="done", attempts=(an_attempt(cost_nanos=70),)))
            assert await counted(store) == (0, 0, 0)
            clock.now_s -= 1
            assert await counted(store) == (70, 0, 0)

    async def test_an_extension_settles_one_leg_and_holds_the_next(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(a_record(), [a_choice(60)])
            granted = await store.extend("request-1", 1, a_choice(50), an_attempt(presumed_nanos=40))
            assert plain(granted) == Granted(choice=0, granted_nanos=50)
            assert (await counted(store), await store.held()) == ((0, 50, 40), (50, 40))

    async def test_an_extension_repeated_takes_nothing_more(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(a_record(), [a_choice(60)])
            extension = ("request-1", 1, a_choice(30, floor_nanos=10), an_attempt(cost_nanos=25))
            first = await store.extend(*extension)
            assert await store.extend(*extension) == first
            assert await counted(store) == (25, 30, 0)
            assert isinstance(await store.extend("request-1", 2, a_choice(30), an_attempt()), Granted)
            assert await counted(store) == (25, 30, 0)

    async def test_a_refused_extension_still_settles_the_leg_before(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(a_record(), [a_choice(60)])
            failed = an_attempt(presumed_nanos=60)
            for _ in range(2):
                assert isinstance(await store.extend("request-1", 1, a_choice(41), failed), Refused)
            assert (await counted(store), await store.held()) == ((0, 0, 60), (0, 60))
            await store.settle(a_record(state="failed", presumed_nanos=60, attempts=(failed,)))
            assert (await counted(store), await store.held()) == ((0, 0, 60), (0, 60))
