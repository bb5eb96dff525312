"""What every store must do with rates and slots, as tests to inherit (RELIABILITY I11)."""
# ruff: noqa: D102  # a test's name is its sentence

from pathlib import Path

from muxer import Granted, Quota, QuotaStanding, Refused, Usage
from muxer.testing.builders import ManualClock, a_record
from muxer.testing.contracts.money import StoreTests, a_choice, an_attempt


def a_quota(**changes: object) -> Quota:
    """Two requests at once, sixty a minute, for the user alice."""
    fields: dict[str, object] = {"unit": "requests", "capacity": 2, "per_minute": 60, **changes}
    return Quota(limit="limits[0]", per="user", subject="alice", account="user:alice", **fields)  # type: ignore[arg-type]


class QuotaContract(StoreTests):
    """The part of `StoreContract` about rates and slots."""

    async def test_a_burst_passes_and_then_the_rate_rules(self, tmp_path: Path) -> None:
        clock, choice = ManualClock(), a_choice(1, quotas=(a_quota(),))
        async with self.open_store(tmp_path, clock) as store:
            replies = [await store.hold(a_record(id=id), [choice]) for id in "abc"]
            assert [isinstance(reply, Granted) for reply in replies] == [True, True, False]
            clock.now_s += 1.0
            assert isinstance(await store.hold(a_record(id="d"), [choice]), Granted)
            assert isinstance(await store.hold(a_record(id="e"), [choice]), Refused)

    async def test_a_rate_refusal_says_when_to_come_back(self, tmp_path: Path) -> None:
        clock, choice = ManualClock(), a_choice(1, quotas=(a_quota(),))
        async with self.open_store(tmp_path, clock) as store:
            replies = [await store.hold(a_record(id=id), [choice]) for id in "abc"]
        refused = replies[-1]
        assert isinstance(refused, Refused)
        standing = refused.refusals[0].standing
        assert isinstance(standing, QuotaStanding)
        assert (standing.remaining, round(standing.retry_after_s, 3)) == (0, 1.0)

    async def test_admissions_never_pass_burst_and_rate_in_any_interval(self, tmp_path: Path) -> None:
        clock, choice, admitted = ManualClock(), a_choice(1, quotas=(a_quota(),)), []
        async with self.open_store(tmp_path, clock) as store:
            for number in range(100):
                clock.now_s += 0.13 if number % 7 else 0.9
                if isinstance(await store.hold(a_record(id=str(number)), [choice]), Granted):
                    admitted.append(clock.now_s)
        for first, begin in enumerate(admitted):
            for last, end in enumerate(admitted[first:], start=1):
                assert last <= 2 + (end - begin) + 1e-6

    async def test_tokens_are_corrected_by_the_answer(self, tmp_path: Path) -> None:
        quota = a_quota(unit="tokens", capacity=100, per_minute=60, amount=80)
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(a_record(), [a_choice(1, quotas=(quota,))])
            usage = Usage(input_tokens=10, output_tokens=20)
            await store.settle(a_record(state="done", usage=usage, attempts=(an_attempt(cost_nanos=1),)))
            (standing,) = await store.quotas([quota])
            assert standing.remaining == 70

    async def test_a_clock_that_was_set_back_lets_one_burst_pass_and_nobody_wait(self, tmp_path: Path) -> None:
        clock, choice = ManualClock(), a_choice(1, quotas=(a_quota(),))
        async with self.open_store(tmp_path, clock) as store:
            for jump_s in (0, -3_600, 86_400, -30 * 86_400):
                clock.now_s += jump_s
                replies = [await store.hold(a_record(id=f"{jump_s} {number}"), [choice]) for number in range(3)]
                assert [isinstance(reply, Granted) for reply in replies] == [True, True, False], jump_s

    async def test_a_long_answer_is_waited_for_at_most_ten_minutes(self, tmp_path: Path) -> None:
        clock, quota = ManualClock(), a_quota(unit="tokens", capacity=60, per_minute=60, amount=1)
        async with self.open_store(tmp_path, clock) as store:
            await store.hold(a_record(), [a_choice(1, quotas=(quota,))])
            usage = Usage(output_tokens=100_000)
            await store.settle(a_record(state="done", usage=usage, attempts=(an_attempt(cost_nanos=1),)))
            for waited_s, is_open in ((0, False), (599, False), (2, True)):
                clock.now_s += waited_s
                (standing,) = await store.quotas([quota])
                assert (standing.remaining > 0) is is_open

    async def test_slots_come_back_when_a_request_ends(self, tmp_path: Path) -> None:
        choice = a_choice(1, quotas=(a_quota(unit="slots", capacity=1, per_minute=0),))
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(a_record(id="a"), [choice])
            assert isinstance(await store.hold(a_record(id="b"), [choice]), Refused)
            await store.settle(a_record(id="a", state="done", attempts=(an_attempt(cost_nanos=1),)))
            assert isinstance(await store.hold(a_record(id="b"), [choice]), Granted)

    async def test_a_hold_repeated_takes_one_slot(self, tmp_path: Path) -> None:
        quota = a_quota(unit="slots", capacity=2, per_minute=0)
        async with self.open_store(tmp_path, ManualClock()) as store:
            for _ in range(3):
                await store.hold(a_record(id="a"), [a_choice(1, quotas=(quota,))])
            (standing,) = await store.quotas([quota])
            assert standing.remaining == 1

    async def test_slots_come_back_when_their_owner_is_gone(self, tmp_path: Path) -> None:
        choice = a_choice(1, quotas=(a_quota(unit="slots", capacity=1, per_minute=0),))
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(a_record(id="a"), [choice])
        async with self.open_store(tmp_path, ManualClock()) as store:
            assert isinstance(await store.hold(a_record(id="b"), [choice]), Granted)

    async def test_a_quota_refused_takes_no_money(self, tmp_path: Path) -> None:
        choice = a_choice(10, quotas=(a_quota(unit="slots", capacity=0, per_minute=0),))
        async with self.open_store(tmp_path, ManualClock()) as store:
            assert isinstance(await store.hold(a_record(), [choice]), Refused)
            assert await store.held() == (0, 0)

    async def test_money_refused_takes_no_quota(self, tmp_path: Path) -> None:
        quota = a_quota(unit="slots", capacity=1, per_minute=0)
        async with self.open_store(tmp_path, ManualClock()) as store:
            assert isinstance(await store.hold(a_record(), [a_choice(101, quotas=(quota,))]), Refused)
            (standing,) = await store.quotas([quota])
            assert standing.remaining == 1
