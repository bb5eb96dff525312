"""Attempts side by side: each in a task of its own, the first that answers serves, the others are given up."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from muxer.background import given_up
from muxer.types import Chunk

T = TypeVar("T")


class Race(Generic[T]):
    """Work that runs side by side, each giving something or None. Leaving it cancels what still runs and waits for
    its end."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[T | None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            await given_up(task)

    def enter(self, work: Coroutine[Any, Any, T | None]) -> None:
        """Begins one more."""
        self._tasks.append(asyncio.create_task(work))

    async def wait(self, seconds: float) -> bool:
        """Waits for so long at most; whether all is over by then."""
        await asyncio.wait(self._tasks, timeout=seconds)
        return all(task.done() for task in self._tasks)

    @property
    def won(self) -> T | None:
        """What was given first, if anything was."""
        done = (task for task in self._tasks if task.done() and not task.cancelled() and task.exception() is None)
        return next((result for task in done if (result := task.result()) is not None), None)

    @property
    def is_decided(self) -> bool:
        """Whether something was given, or something was raised."""
        has_raised = any(task.done() and (task.cancelled() or task.exception()) for task in self._tasks)
        return self.won is not None or has_raised

    async def first(self) -> T | None:
        """What is given first. When all is over and nothing was, None, or the first exception there was is raised."""
        while (won := self.won) is None:
            running = [task for task in self._tasks if not task.done()]
            if not running:
                return next((task.result() for task in self._tasks if task.exception()), None)
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        return won


class Piped:
    """A stream that is read in one task from its begin to its close, whoever takes its chunks: the code of a provider
    may have a deadline or a task group open from one chunk to the next. It reads one chunk ahead."""

    def __init__(self, chunks: AsyncGenerator[Chunk, None]) -> None:
        self._chunks = chunks
        self._next: Chunk | None = None
        self._news, self._has_room = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._read())
        self._task.add_done_callback(lambda _: self._news.set())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        while self._next is None:
            if self._task.done():
                self._task.result()
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        chunk, self._next = self._next, None
        self._has_room.set()
        return chunk

    async def aclose(self) -> None:
        """Closes the stream, and with it the call to the upstream."""
        await given_up(self._task)

    async def _read(self) -> None:
        async with aclosing(self._chunks):
            async for chunk in self._chunks:
                self._next = chunk
                self._news.set()
                self._has_room.clear()
                await self._has_room.wait()
