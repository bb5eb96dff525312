"""What a store that keeps feedback must do besides, as tests to inherit beside StoreContract."""
# ruff: noqa: D102  # a test's name is its sentence

import asyncio
from pathlib import Path

import pytest

from muxer import KeepsFeedback, QuotaStanding, Refused, Store
from muxer.testing.builders import ManualClock, a_record
from muxer.testing.contracts.money import StoreTests, a_choice, an_attempt, counted, spend
from muxer.testing.contracts.quotas import a_quota


def scored(store: Store) -> KeepsFeedback:
    """The store as one that keeps feedback."""
    assert isinstance(store, KeepsFeedback), "the store has not the method of KeepsFeedback"
    return store


class FeedbackContract(StoreTests):
    """Inherit it too where your store keeps feedback (KeepsFeedback)."""

    @pytest.mark.parametrize("score", [0.0, 1.0, 0.1 + 0.2, 5e-324])
    async def test_a_score_is_kept_with_its_record_to_the_last_bit(self, tmp_path: Path, score: float) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await spend(store, "request-1", an_attempt(cost_nanos=30))
            assert await scored(store).feedback("request-1", score) is True
            assert await _score(store) == score
            assert [record.feedback async for record in store.records(0, {}, 9)] == [score]
        async with self.open_store(tmp_path, ManualClock()) as store:
            assert await _score(store) == score

    async def test_a_score_of_an_open_request_outlives_its_settlement(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(a_record(), [a_choice(60)])
            assert await scored(store).feedback("request-1", 0.25) is True
            assert await _score(store) == 0.25
            await store.settle(a_record(state="done", cost_nanos=30, attempts=(an_attempt(cost_nanos=30),)))
            record = await store.record("request-1")
            assert record is not None
            assert (record.state, record.cost_nanos, record.feedback) == ("done", 30, 0.25)

    async def test_a_score_outlives_what_happens_to_what_is_presumed(self, tmp_path: Path) -> None:
        attempts = (an_attempt(presumed_nanos=20),)
        ended = a_record(state="interrupted", presumed_nanos=20, attempts=attempts)
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(a_record(), [a_choice(60)])
            await store.settle(ended)
            await scored(store).feedback("request-1", 0.5)
            await store.hold(a_record(), [a_choice(60)])
            await store.settle(ended)
            assert await _score(store) == 0.5

    async def test_the_last_score_counts(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await spend(store, "request-1", an_attempt(cost_nanos=30))
            for score in (0.0, 1.0, 0.75):
                await scored(store).feedback("request-1", score)
            assert await _score(store) == 0.75

    async def test_of_many_at_once_one_is_kept_and_each_is_answered(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(a_record(), [a_choice(60)])
            calls = [scored(store).feedback("request-1", number / 20) for number in range(20)]
            assert await asyncio.gather(*calls) == [True] * 20
            assert await _score(store) in {number / 20 for number in range(20)}

    async def test_a_record_that_is_not_there_or_of_somebody_else_is_neither_told_nor_changed(
        self, tmp_path: Path
    ) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await spend(store, "request-1", an_attempt(cost_nanos=30))
            asked = [
                ("request-2", None),
                ("request-1", "bob"),
                ("request-1", "ALICE"),
                ("request-1", ""),
                ("", "alice"),
                ("*", None),
            ]
            assert [await scored(store).feedback(id, 1.0, user) for id, user in asked] == [False] * len(asked)
            assert await _score(store) is None and await store.record("request-2") is None
            assert await scored(store).feedback("request-1", 1.0, "alice") is True

    async def test_a_score_changes_no_money_and_no_sum(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await spend(store, "request-1", an_attempt(cost_nanos=30))
            await store.hold(a_record(id="request-2"), [a_choice(20)])
            before = await counted(store), await store.held(), await store.summary(["model", "state"], 0, {})
            for id in ("request-1", "request-2"):
                await scored(store).feedback(id, 0.5)
            assert (await counted(store), await store.held(), await store.summary(["model", "state"], 0, {})) == before

    async def test_quotas_are_taken_for_each_score_wherever_it_leads(self, tmp_path: Path) -> None:
        clock, quota = ManualClock(), a_quota()  # two at once, one more a second
        async with self.open_store(tmp_path, clock) as store:
            await spend(store, "request-1", an_attempt(cost_nanos=30))
            assert await scored(store).feedback("request-1", 0.1, "alice", [quota]) is True
            assert await scored(store).feedback("nobody", 0.2, "alice", [quota]) is False
            refused = await scored(store).feedback("request-1", 0.3, "alice", [quota])
            assert isinstance(refused, Refused)
            (refusal,) = refused.refusals
            assert isinstance(refusal.standing, QuotaStanding)
            assert (refusal.standing.remaining, round(refusal.standing.retry_after_s, 3)) == (0, 1.0)
            assert await _score(store) == 0.1
            clock.now_s += 1.0
            assert await scored(store).feedback("request-1", 0.4, "alice", [quota, quota]) is True


async def _score(store: Store) -> float | None:
    record = await store.record("request-1")
    assert record is not None
    return record.feedback
