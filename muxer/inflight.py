"""How many requests are being served, when none is, and the end of those that are served for too long."""

import asyncio
from types import TracebackType

from muxer import measurements
from muxer.drains import Drains
from muxer.errors import ClientGone, MuxerError, ShuttingDown
from muxer.interfaces import Meter

STOPPED = "the proxy stopped before the answer was over"


class InFlight:
    """The requests that are being served; of them `drains` those whose answers are read on without a caller."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._serving: set[Serving] = set()
        self.drains = Drains(meter)
        self.is_over = False

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self._serving)

    def serving(self, id: str) -> "Serving":
        """A context around the request of that id. It raises ShuttingDown when `end` ends it, or has ended all."""
        return Serving(self, id)

    def end(self) -> None:
        """Cancels what is still being served; nothing more is from now on."""
        self.is_over = True
        for one in self._serving:
            one.end()

    async def idle(self) -> None:
        """Waits until nothing is being served."""
        await self._is_idle.wait()

    def change(self, serving: "Serving", *, has_begun: bool) -> None:
        """Counts one that has begun, or ended."""
        if has_begun:
            self._serving.add(serving)
            self._is_idle.clear()
        else:
            self._serving.discard(serving)
        if not self._serving:
            self._is_idle.set()
        self._meter.set(measurements.IN_FLIGHT, self.count)


class Serving:
    """See InFlight."""

    def __init__(self, in_flight: InFlight, id: str) -> None:
        self._in_flight = in_flight
        self._id = id
        self._is_ended = False

    async def __aenter__(self) -> None:
        if self._in_flight.is_over:
            raise ShuttingDown("the proxy is about to end; ask another one, or again")
        task = asyncio.current_task()
        assert task is not None, "a request is served by a task"
        self._task = task
        self._cancelling = task.cancelling()
        self._in_flight.change(self, has_begun=True)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._in_flight.change(self, has_begun=False)
        if self._is_ended and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            stopped = ShuttingDown(STOPPED)
            stopped.request_id = self._id
            raise stopped from error

    def end(self) -> None:
        """Cancels it, once."""
        if not self._is_ended:
            self._is_ended = True
            self._task.cancel()


def ended_by(error: BaseException) -> MuxerError:
    """The error of our tree for whatever ended a request."""
    if isinstance(error, MuxerError):
        return error
    if isinstance(error, GeneratorExit):
        return ClientGone("the caller closed the stream")
    if isinstance(error, asyncio.CancelledError):
        return ShuttingDown(STOPPED)
    return MuxerError("an unforeseen error; it is in the log of the proxy")
