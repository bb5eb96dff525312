"""Work that goes on beside what a context does, for as long as it is open."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def beside(*work: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Runs each in a task of its own; leaving the context cancels them and waits for their end. What one of them raises
    ends that one alone, and is told to the event loop, whose words are in the log."""
    tasks = [asyncio.create_task(one) for one in work]
    for task in tasks:
        task.add_done_callback(_tell)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _tell(task: asyncio.Task[object]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        words = "work in the background has ended for good"
        task.get_loop().call_exception_handler({"message": words, "exception": error, "task": task})
