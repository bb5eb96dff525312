"""The load one process bears: what waits, what is refused at once, and that all places come back."""

import asyncio
from pathlib import Path

import pytest

from muxer import measurements
from muxer.admission import STEPS, Admission, Room, memory_bytes, room_bytes
from muxer.errors import Overloaded
from muxer.measurements import Metric
from tests.proxy import Lines, Silent


class Counted(Silent):
    def __init__(self) -> None:
        self.reasons: list[str] = []

    def add(self, metric: Metric, amount: float, *labels: str) -> None:
        assert metric is measurements.SHED
        self.reasons += labels


def gate(most: int = 1, queue_s: float = 10.0) -> Admission:
    return Admission(most, queue_s, Room(1, 0), Silent(), Lines())


def late(admission: Admission, seconds: float, times: int = 10) -> None:
    for _ in range(times):
        admission.late(seconds)


async def refusals(admission: Admission, count: int) -> int:
    found = 0
    for _ in range(count):
        try:
            await admission.enter()
        except Overloaded:
            found += 1
        else:
            admission.leave()
    return found


async def test_who_waits_is_let_in_in_turn_and_more_are_refused_at_once() -> None:
    admission = gate(most=2)
    for _ in range(2):
        await admission.enter()
    waiting = [asyncio.create_task(admission.enter()) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refused:
        await admission.enter()
    assert (refused.value.reason, refused.value.headers) == ("queue", {"Retry-After": "1"})
    admission.leave()
    await waiting[0]
    assert not waiting[1].done()
    admission.leave()
    await waiting[1]


async def test_a_wait_has_an_end_and_costs_no_place() -> None:
    admission = gate(queue_s=0.001)
    await admission.enter()
    with pytest.raises(Overloaded, match="no place among 1"):
        await admission.enter()
    admission.leave()
    await admission.enter()


async def test_who_leaves_the_queue_takes_no_place_with_it() -> None:
    admission = gate()
    await admission.enter()
    waiting = asyncio.create_task(admission.enter())
    await asyncio.sleep(0)
    admission.leave()
    waiting.cancel()  # as its turn has come
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(10):
        await admission.enter()


@pytest.mark.parametrize(("late_s", "share"), [(0.09, 0), *STEPS, (60, 0.9)])
async def test_the_later_the_loop_the_more_is_refused(late_s: float, share: float) -> None:
    admission = gate()
    late(admission, late_s)
    assert await refusals(admission, 1_000) == pytest.approx(1_000 * share, abs=1)


async def test_a_loop_that_was_blocked_once_refuses_nothing() -> None:
    admission = gate()
    late(admission, 5.0, times=9)
    assert not await refusals(admission, 100)
    admission.late(5.0)
    assert await refusals(admission, 100)
    admission.late(0.0)
    assert not await refusals(admission, 100)


def test_the_longest_delay_is_told_once() -> None:
    admission = gate()
    for seconds in (0.0, 2.0, 0.5):
        admission.late(seconds)
    assert [admission.lateness_s(), admission.lateness_s()] == [2.0, 0.0]


async def test_behind_a_late_loop_nobody_waits() -> None:
    admission = gate(most=1)
    await admission.enter()
    late(admission, 0.1)
    with pytest.raises(Overloaded):
        await admission.enter()


def test_refusals_are_all_counted_and_told_once_in_a_while() -> None:
    meter, log = Counted(), Lines()
    admission = Admission(1, 1, Room(1, 0), meter, log)
    for reason in ("queue", "late", "bodies"):
        admission.refused(Overloaded("too much", reason))
    assert meter.reasons == ["queue", "late", "bodies"]
    assert [line["event"] for line in log.lines] == ["overloaded"]


async def test_bodies_share_their_room_and_one_always_fits() -> None:
    room = Room(10, 10)
    await room.take(50)
    waiting = [asyncio.create_task(room.take(size)) for size in (6, 4, 1)]
    await asyncio.sleep(0)
    assert room.used == 50
    room.give(50)
    await asyncio.gather(*waiting[:2])
    assert room.used == 10 and not waiting[2].done()
    room.give(6)
    await waiting[2]
    room.give(4)
    room.give(1)
    assert room.used == 0


@pytest.mark.parametrize("turn_comes", [False, True])
async def test_a_body_that_stops_waiting_leaves_nothing_behind(turn_comes: bool) -> None:
    room = Room(10, 10)
    await room.take(10)
    first, second = (asyncio.create_task(room.take(size)) for size in (9, 1))
    await asyncio.sleep(0)
    if turn_comes:
        room.give(10)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    if not turn_comes:
        room.give(10)
    await second
    assert room.used == 1


async def test_a_body_without_room_is_refused_in_time() -> None:
    room = Room(10, 0.001)
    await room.take(10)
    with pytest.raises(Overloaded) as refused:
        await room.take(1)
    room.give(10)
    assert (refused.value.reason, room.used) == ("bodies", 0)


def test_the_memory_is_the_least_of_all_limits(tmp_path: Path) -> None:
    limit, none = tmp_path / "memory.max", tmp_path / "none"
    none.write_text("max\n")
    places = [str(none), str(tmp_path / "missing")]
    assert memory_bytes(places) > 256_000_000
    limit.write_text("256000000\n")
    assert memory_bytes([*places, str(limit)]) == 256_000_000
    assert room_bytes(256_000_000, 2) == 16_000_000
