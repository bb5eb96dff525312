"""Deadlines: for what almost always ends in time, and for an event that may not come."""

import asyncio
from contextlib import suppress
from types import TracebackType


async def happens(event: asyncio.Event, within_s: float) -> bool:
    """Whether it does in that time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            return await event.wait()
    return False


class Deadline:
    """`asyncio.timeout` as a plain context, at a third of its cost: a request has several. Raises TimeoutError where
    the block is not over in `seconds`."""

    __slots__ = ("_cancelling", "_is_over", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._is_over = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "only a task can be cancelled"
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = task.get_loop().call_later(self._seconds, self._end)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        # Whoever else cancels the task is not answered with a TimeoutError.
        if self._is_over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _end(self) -> None:
        self._is_over = True
        self._task.cancel()
