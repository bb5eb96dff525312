"""Open components, each in a task of its own, so that one can be closed while the others go on."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from itertools import groupby
from typing import Generic, TypeVar

from muxer.fence import Fence
from muxer.interfaces import Log
from muxer.log import frames

T = TypeVar("T")
OpenComponent = Callable[[], AbstractAsyncContextManager[T]]


class Holding(Generic[T]):
    """One component from its opening to its close; both happen in one task, as task groups and deadlines need it.

    `what` and `identity` say which component it is: the same identity means that there is nothing to open anew. It is
    closed once, when the last configuration that has it lets go of it.
    """

    def __init__(
        self, what: str, identity: object, open: OpenComponent[T], fence: Fence, log: Log, close_s: float
    ) -> None:
        self.what = what
        self.identity = identity
        self.fence = fence
        self._open = open
        self._log = log
        self._close_s = close_s
        self._users = 0
        self._opened: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._is_over = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    async def opened(self) -> T:
        """The component, once it is open. Raises what its opening raised."""
        return await asyncio.shield(self._opened)

    @property
    def component(self) -> T:
        """The component, which has been opened."""
        return self._opened.result()

    def keep(self) -> None:
        """One more configuration has it."""
        self._users += 1

    def let_go(self) -> None:
        """One configuration less; with the last one it is closed."""
        self._users -= 1
        if self._users <= 0:
            self.close()

    def close(self) -> None:
        """Closes it now, or gives up opening it; its task ends when that is done."""
        if not self._opened.done():
            self.task.cancel()
        self._is_over.set()

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(None) as deadline, self._open() as component:
                self._opened.set_result(component)
                await self._is_over.wait()
                deadline.reschedule(asyncio.get_running_loop().time() + self._close_s)
        except asyncio.CancelledError:
            self._opened.cancel()
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001  # foreign code; nobody waits for a close
            if not self._opened.done():
                self._opened.set_exception(error)
                return
            self._log("error", "close_failed", component=self.what, error=type(error).__name__, trace=frames(error))


class Holdings:
    """All that is open."""

    def __init__(self) -> None:
        self._all: list[Holding[object]] = []

    def add(self, holding: Holding[T]) -> None:
        """Begins to look after it, until it is closed."""
        self._all.append(holding)  # type: ignore[arg-type]  # what it holds does not matter here
        holding.task.add_done_callback(lambda _: self._all.remove(holding))  # type: ignore[arg-type]  # as above

    def __len__(self) -> int:
        return len(self._all)

    async def close(self) -> None:
        """Closes everything, what was opened last first; what is of one sort at the same time."""
        for _, alike in groupby(reversed(list(self._all)), key=lambda holding: holding.what.partition(" ")[0]):
            closing = list(alike)
            for holding in closing:
                holding.close()
            await asyncio.wait([holding.task for holding in closing])
