"""What every store must do with records, as tests to inherit."""
# ruff: noqa: D102  # a test's name is its sentence

from pathlib import Path

from msgspec.structs import replace

from muxer import Excluded, Needs, Record, Store, Usage
from muxer.testing.builders import START_S, ManualClock, a_record
from muxer.testing.contracts.money import DAY_S, StoreTests, a_choice, an_attempt

FULL = a_record(
    state="done",
    team="research",
    tags=("a", "b,c"),
    end_user="bob \x00 'quoted' é",
    conversation="c-1",
    requested_model="auto",
    route="code",
    reason="code >= 0.2",
    signals={"code": 0.25, "turns": 3, "is_long": True, "language": "en"},
    needs=Needs(tools=True, stream=True, n=2, cap_tokens=100),
    estimate_tokens=10,
    bound_tokens=40,
    excluded=(Excluded("m-2", "context"),),
    features={"difficulty": "1AbC+/=="},
    model="m-1",
    provider="p-1",
    usage=Usage(input_tokens=10, output_tokens=5, cached_input_tokens=4, cache_write_tokens=3, reasoning_tokens=2),
    cost_nanos=30,
    presumed_nanos=20,
    expected_nanos=25,
    attempts=(an_attempt(presumed_nanos=20, error="upstream_timeout", ms=1.5), an_attempt(cost_nanos=30, status=200)),
    status=200,
    ms=12.5,
    first_byte_ms=3.25,
    client_gone=True,
    config="c0ffee",
    prices="2026-11-25",
)


class RecordContract(StoreTests):
    """The part of `StoreContract` about records."""

    async def test_an_open_record_is_written_with_the_hold(self, tmp_path: Path) -> None:
        opening = replace(FULL, state="open", attempts=(), cost_nanos=0, presumed_nanos=0)
        async with self.open_store(tmp_path, ManualClock()) as store:
            await store.hold(opening, [a_choice(60)])
            assert await store.record(opening.id) == opening
            assert await store.record("another") is None

    async def test_a_settled_record_comes_back_whole(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await _write(store, FULL)
            assert await store.record(FULL.id) == FULL
            assert [record async for record in store.records(0, {}, 10)] == [FULL]

    async def test_records_come_newest_first_and_no_more_than_asked(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            for number in (2, 0, 3, 1):
                await _write(store, _row(number))
            assert await _ids(store, 0, {}, 3) == ["r-3", "r-2", "r-1"]
            assert await _ids(store, START_S + 2, {}, 10) == ["r-3", "r-2"]
            assert await _ids(store, 0, {}, 0) == []

    async def test_records_are_found_by_their_fields(self, tmp_path: Path) -> None:
        fields = {"team": "red", "key": "k-9", "route": "code", "model": "m-9", "provider": "p-9", "user": "eve"}
        async with self.open_store(tmp_path, ManualClock()) as store:
            await _write(store, _row(0))
            await _write(store, _row(1, **fields))
            for name, value in fields.items():
                assert await _ids(store, 0, {name: value}, 10) == ["r-1"]
            assert await _ids(store, 0, {"user": "eve", "state": "done"}, 10) == ["r-1"]
            assert await _ids(store, 0, {"user": "eve", "state": "open"}, 10) == []
            assert await _ids(store, 0, {"user": "eve' OR 1=1 --"}, 10) == []

    async def test_many_records_come_each_once(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            for number in range(1_203):
                await store.hold(_row(number // 3, id=f"r-{number:04}"), [a_choice(0)])
            found = await _ids(store, 0, {}, 2_000)
        assert len(found) == 1_203
        assert len(set(found)) == 1_203

    async def test_a_summary_adds_up_by_group(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            for number, user in enumerate(("alice", "bob", "alice")):
                await _write(store, _row(number, user=user, cost_nanos=10 + number, usage=FULL.usage))
            groups = {line.group["user"]: line for line in await store.summary(["user"], 0, {})}
            assert {user: line.cost_nanos for user, line in groups.items()} == {"alice": 22, "bob": 11}
            alice = groups["alice"]
            tokens = (alice.input_tokens, alice.cached_input_tokens, alice.output_tokens)
            assert (alice.requests, tokens, alice.presumed_nanos) == (2, (20, 8, 10), 0)

    async def test_a_summary_may_be_one_line_of_everything(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await _write(store, _row(0, cost_nanos=10))
            await _write(store, _row(1, cost_nanos=5))
            (line,) = await store.summary([], 0, {})
            assert (line.group, line.requests, line.cost_nanos) == ({}, 2, 15)
            (line,) = await store.summary([], START_S + 1, {"state": "done"})
            assert (line.requests, line.cost_nanos) == (1, 5)

    async def test_a_summary_can_group_by_day_and_model(self, tmp_path: Path) -> None:
        rows = [_row(0, model="m-1"), _row(1, model="m-2"), _row(2, model="m-2"), _row(DAY_S, model="m-2")]
        async with self.open_store(tmp_path, ManualClock()) as store:
            for row in rows:
                await _write(store, row)
            lines = await store.summary(["day", "model"], 0, {})
        found = sorted((line.group["day"], line.group["model"], line.requests) for line in lines)
        assert found == [("2026-09-22", "m-1", 1), ("2026-09-22", "m-2", 2), ("2026-09-23", "m-2", 1)]


def _row(seconds: int, **changes: object) -> Record:
    return a_record(**{"id": f"r-{seconds}", "at": float(START_S + seconds), "state": "done", **changes})


async def _write(store: Store, record: Record) -> None:
    opening = replace(record, state="open", attempts=(), cost_nanos=0, presumed_nanos=0)
    await store.hold(opening, [a_choice(60, floor_nanos=0)])
    await store.settle(record)


async def _ids(store: Store, since_s: float, where: dict[str, str], limit: int) -> list[str]:
    return [record.id async for record in store.records(since_s, where, limit)]
