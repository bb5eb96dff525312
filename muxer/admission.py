"""The load one process bears: who is served now, who waits for a place, who is sent away at once, and how many bytes of
large bodies it keeps."""

import asyncio
import os
import resource
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from muxer import measurements
from muxer.background import beside
from muxer.errors import Overloaded
from muxer.interfaces import Log, Meter

TICK_S = 0.1
_TICKS = 10  # how many looks in a row must find the event loop late: one that a plugin blocked once is not overloaded
STEPS = ((0.1, 0.25), (0.25, 0.5), (0.5, 0.75), (1.0, 0.9))
"""From how many seconds of lateness on which share of new requests is refused."""
TOLD_EVERY_S = 10.0
_OF_MEMORY = 8  # a body is there up to five times: as it came, decoded, rewritten, and in two buffers on its way out
_ADDRESSES = 512 << 20  # threads reserve stacks and arenas that they never use: 455 MB are taken before a request
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Admission:
    """Lets requests in, `most` at a time. More of them wait for up to `queue_s`, as many as are served; those after
    them are refused at once. While the event loop is late, nobody waits, and the later it is the more are refused.
    """

    def __init__(self, most: int, queue_s: float, room: "Room", meter: Meter, log: Log) -> None:
        self.room = room
        self._most = most
        self._queue_s = queue_s
        self._places = asyncio.Semaphore(most)
        self._waiting = 0
        self._late = deque([0.0], _TICKS)
        self._most_late_s = 0.0
        self._share = self._owed = 0.0
        self._meter = meter
        self._log = log
        self._told_at = -TOLD_EVERY_S

    async def enter(self) -> None:
        """Takes a place, which `leave` gives back. Raises Overloaded."""
        if self._share:
            self._owed += self._share
            if self._owed >= 1:
                self._owed -= 1
                raise Overloaded("this process is behind with its work; try again in a moment", "late")
        if not self._places.locked():
            await self._places.acquire()
            return
        if self._share or self._waiting >= self._most or not self._queue_s:
            raise Overloaded(f"{self._most} requests are being served; try again in a moment", "queue")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._queue_s):
                await self._places.acquire()
        except TimeoutError:
            raise Overloaded(f"no place among {self._most} in {self._queue_s:g} s; try again", "queue") from None
        finally:
            self._waiting -= 1

    def leave(self) -> None:
        """Gives a place back."""
        self._places.release()

    def late(self, seconds: float) -> None:
        """Takes in by how much the event loop was late, once every tick."""
        self._late.append(seconds)
        self._most_late_s = max(self._most_late_s, seconds)
        least = min(self._late) if len(self._late) == _TICKS else 0.0
        self._share = max((share for late_s, share in STEPS if least >= late_s), default=0.0)

    def lateness_s(self) -> float:
        """How late the event loop was at most since this was last asked: a plugin may block it at any time (F23)."""
        most_s, self._most_late_s = self._most_late_s, 0.0
        return most_s

    def refused(self, error: Overloaded) -> None:
        """Counts a refusal, also of a connection. The log has the first, and one now and then while it goes on."""
        self._meter.add(measurements.SHED, 1, error.reason)
        now = time.monotonic()
        if now - self._told_at >= TOLD_EVERY_S:
            self._told_at = now
            late_ms = round(self._late[-1] * 1000)
            self._log("warning", "overloaded", reason=error.reason, waiting=self._waiting, late_ms=late_ms)


class Room:
    """The bytes of large bodies that may be there at once. One body always fits, when no other is there."""

    def __init__(self, most_bytes: int, wait_s: float) -> None:
        self._most_bytes = most_bytes
        self._wait_s = wait_s
        self._waiters = deque[tuple[int, asyncio.Future[None]]]()
        self.used = 0

    async def take(self, size: int) -> None:
        """Waits its turn for so many bytes. Raises Overloaded. Who has some must not ask for more."""
        if not self._waiters and self._fits(size):
            self.used += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((size, turn))
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.give(size)  # it came together with the end of the wait
            else:
                with suppress(ValueError):  # it was passed over already
                    self._waiters.remove((size, turn))
                self._let_in()  # the next may be smaller
            if isinstance(error, TimeoutError):
                raise Overloaded("too many large bodies at once; try again in a moment", "bodies") from None
            raise

    def give(self, size: int) -> None:
        """Gives bytes back."""
        self.used -= size
        self._let_in()

    def _fits(self, size: int) -> bool:
        return not self.used or self.used + size <= self._most_bytes

    def _let_in(self) -> None:
        while self._waiters and self._fits(self._waiters[0][0]):
            size, turn = self._waiters.popleft()
            if not turn.done():
                self.used += size
                turn.set_result(None)


def room_bytes(memory_bytes: int, workers: int) -> int:
    """How many bytes of bodies one of several processes may keep of that memory."""
    return memory_bytes // _OF_MEMORY // workers


def memory_bytes(places: Iterable[str] = _LIMITS) -> int:
    """The memory this process may have: of its container, of its limit, or all there is."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed != resource.RLIM_INFINITY:
        found.append(max(0, allowed - _ADDRESSES))
    for place in places:
        with suppress(OSError, ValueError):  # there is no such limit, or it says `max`
            found.append(int(Path(place).read_text()))
    return min(found)


@asynccontextmanager
async def open_admission(admission: Admission, now: Callable[[], float] = time.monotonic) -> AsyncIterator[Admission]:
    """Looks how late the event loop is, for as long as the context is open."""
    async with beside(_watch(admission, now)):
        yield admission


async def _watch(admission: Admission, now: Callable[[], float]) -> None:
    while True:
        due = now() + TICK_S
        await asyncio.sleep(TICK_S)
        admission.late(max(0.0, now() - due))
