"""Deadlines of what almost always ends in time: told from a cancellation by somebody else, and gone when it ended."""

import asyncio

import pytest

from muxer.deadlines import Deadline, happens


async def test_what_is_not_over_in_time_ends_with_a_timeout() -> None:
    with pytest.raises(TimeoutError), Deadline(0.001):
        await asyncio.Event().wait()
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]  # a test is a task


async def test_a_cancellation_by_somebody_else_stays_one() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        with Deadline(60):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_ended_in_time_is_not_cancelled_later() -> None:
    with Deadline(0.001):
        pass
    async with asyncio.timeout(60):
        await asyncio.sleep(0.005)


async def test_an_error_of_the_block_is_not_replaced() -> None:
    with pytest.raises(ZeroDivisionError), Deadline(60):
        raise ZeroDivisionError


async def test_whether_an_event_happens_in_time_is_told() -> None:
    event = asyncio.Event()
    assert not await happens(event, 0.001)
    asyncio.get_running_loop().call_soon(event.set)
    assert await happens(event, 60)
