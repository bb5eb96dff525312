"""Work beside a context: it begins with it, and is over when the context is left."""

import asyncio

import pytest

from muxer.background import beside


async def test_runs_while_the_context_is_open_and_is_over_when_it_is_left() -> None:
    begun, ended = asyncio.Event(), list[str]()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("work")

    async with beside(work()):
        await begun.wait()
        assert not ended
    assert ended == ["work"]


async def test_what_one_of_them_raises_ends_neither_the_others_nor_the_context() -> None:
    heard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context["exception"]))
    failure, steps = LookupError("a defect"), list[int]()

    async def fail() -> None:
        raise failure

    async def go_on() -> None:
        while True:
            steps.append(1)
            await asyncio.sleep(0)

    async with beside(fail(), go_on()):
        while len(steps) < 3:
            await asyncio.sleep(0)
    assert heard == [failure]


async def test_who_is_cancelled_inside_stays_cancelled() -> None:
    is_open = asyncio.Event()

    async def serve() -> None:
        async with beside(asyncio.Event().wait()):
            is_open.set()
            await asyncio.Event().wait()

    serving = asyncio.create_task(serve())
    await is_open.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
