"""What every store must do with rates and slots, as tests to inherit (RELIABILITY I11)."""
# ruff: noqa: D102  # a test's name is its sentence

from pathlib import Path

from msgspec.structs import replace

from muxer import Granted, Quota, QuotaStanding, Refused, Store, Usage
from muxer.testing.builders import ManualClock, a_record
from muxer.testing.contracts.money import StoreTests, a_choice, an_attempt


def a_quota(**changes: object) -> Quota:
    """Two requests at once, sixty a minute, for the user alice."""
    fields: dict[str, object] = {"unit": "requests", "capacity": 2, "per_minute": 60, **changes}
    return Quota(limit="limits[0]", per="user", subject="alice", account="user:alice", **fields)  # type: ignore[arg-type]


def by_model(name: str, **changes: object) -> Quota:
    """Two requests at once, sixty a minute, for a model."""
    return replace(a_quota(**changes), per="model", subject=name, account=f"model:{name}", by_model=True)


async def left(store: Store, *quotas: Quota) -> list[int]:
    """What is left of each."""
    return [standing.remaining for standing in await store.quotas(quotas)]


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

    async def test_by_model_each_attempt_takes_its_own(self, tmp_path: Path) -> None:
        slow, quick = (by_model(name, unit="slots", capacity=1, per_minute=0) for name in ("slow", "quick"))
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(a_record(id="a"), [a_choice(1, quotas=(slow,))])
            for _ in range(2):  # a reply may be lost
                await store.extend("a", 1, a_choice(1, quotas=(quick,)), an_attempt())
            assert await left(store, slow, quick) == [1, 0]
            await store.settle(a_record(id="a", state="done", attempts=(an_attempt(), an_attempt(1))))
            assert await left(store, slow, quick) == [1, 1]

    async def test_by_model_an_attempt_under_way_keeps_what_it_took(self, tmp_path: Path) -> None:
        slow, quick = (by_model(name, unit="slots", capacity=1, per_minute=0) for name in ("slow", "quick"))
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(a_record(id="a"), [a_choice(1, quotas=(slow,))])
            await store.extend("a", 1, a_choice(1, quotas=(quick,)), None)
            assert await left(store, slow, quick) == [0, 0]
            await store.settle(a_record(id="a", state="done", attempts=(an_attempt(), an_attempt(1))))
            assert await left(store, slow, quick) == [1, 1]

    async def test_by_model_an_attempt_that_does_not_fit_is_refused_and_takes_nothing(self, tmp_path: Path) -> None:
        slow, full = by_model("slow"), by_model("full", unit="slots", capacity=0, per_minute=0)
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(a_record(id="a"), [a_choice(1, quotas=(slow,))])
            reply = await store.extend("a", 1, a_choice(1, quotas=(slow, full)), an_attempt())
            assert isinstance(reply, Refused)
            assert [refusal.standing.subject for refusal in reply.refusals] == ["full"]
            assert (await left(store, slow), await store.held()) == ([1], (0, 0))
            for number, is_there in ((1, True), (2, False)):  # a second request a minute, and no third
                reply = await store.extend("a", number, a_choice(1, quotas=(slow,)), an_attempt())
                assert isinstance(reply, Granted) is is_there

    async def test_by_model_tokens_are_corrected_by_the_answer_of_that_model(self, tmp_path: Path) -> None:
        failed, served, unknown = (
            by_model(name, unit="tokens", capacity=100, per_minute=60, amount=80)
            for name in ("failed", "served", "unknown")
        )
        mine = a_quota(unit="tokens", capacity=100, per_minute=60, amount=80)
        ended = an_attempt(model="failed"), an_attempt(1, model="unknown"), an_attempt(1, model="served")
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(a_record(), [a_choice(1, quotas=(mine, failed))])
            await store.extend("request-1", 1, a_choice(1, quotas=(unknown,)), ended[0])
            await store.extend("request-1", 2, a_choice(1, quotas=(served,)), ended[1])
            usage = Usage(input_tokens=10, output_tokens=20)
            await store.settle(a_record(state="done", model="served", usage=usage, attempts=ended))
            assert await left(store, mine, failed, unknown, served) == [70, 100, 20, 70]

    async def test_by_model_slots_of_all_attempts_come_back_when_their_owner_is_gone(self, tmp_path: Path) -> None:
        slow, quick = (by_model(name, unit="slots", capacity=1, per_minute=0) for name in ("slow", "quick"))
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(a_record(id="a"), [a_choice(1, quotas=(slow,))])
            await store.extend("a", 1, a_choice(1, quotas=(quick,)), None)
        async with self.open_store(tmp_path, ManualClock()) as store:
            assert await left(store, slow, quick) == [1, 1]
