"""When the store is given up, and when it is asked again: by a clock that stands until it is moved."""

import asyncio

import pytest

from muxer import StoreUnavailable
from muxer.outage import ASK_EVERY_S, GIVEN_UP_AFTER, Outage
from muxer.testing import ManualClock
from tests.proxy import Lines, Silent


async def fails() -> None:
    raise StoreUnavailable("it is away")


async def works() -> int:
    return 1


class Watched:
    """An outage under test, its clock and its log."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.log = Lines()
        self.outage = Outage(Silent(), self.log, self.clock)

    async def fail(self) -> None:
        self.clock.now_s += 0.01
        with pytest.raises(StoreUnavailable):
            await self.outage.watch("hold", fails)


async def test_it_is_given_up_after_some_failures_in_a_row_and_asked_now_and_then() -> None:
    watched = Watched()
    for _ in range(GIVEN_UP_AFTER):
        assert watched.outage.may_ask()
        await watched.fail()
    assert not watched.outage.may_ask()
    watched.clock.now_s += ASK_EVERY_S
    assert [watched.outage.may_ask() for _ in range(3)] == [True, False, False]


async def test_one_answer_makes_good_all_failures() -> None:
    watched = Watched()
    for _ in range(GIVEN_UP_AFTER + 1):
        await watched.fail()
    assert await watched.outage.watch("hold", works) == 1
    assert watched.outage.may_ask() and watched.outage.is_answering
    assert watched.outage.is_on, "until it has been told what it missed"


async def test_calls_under_way_together_fail_as_one() -> None:
    watched, gate = Watched(), asyncio.Event()

    async def slow() -> None:
        await gate.wait()
        raise StoreUnavailable("it is away")

    calls = [asyncio.create_task(watched.outage.watch("hold", slow)) for _ in range(50)]
    await asyncio.sleep(0)
    watched.clock.now_s += 1
    gate.set()
    assert {type(one) for one in await asyncio.gather(*calls, return_exceptions=True)} == {StoreUnavailable}
    assert watched.outage.may_ask()
    assert [line["event"] for line in watched.log.lines] == ["store_outage"]
