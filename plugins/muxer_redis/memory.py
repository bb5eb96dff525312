"""Whether the server still knows what this process told it; if not, it is told again before anything new (S17)."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

from muxer import Log, StoreUnavailable

Reassert = Callable[[], Awaitable[None]]

LOST = (
    "the Redis server restarted or lost data, and is told again what it may have lost; requests are taken once all "
    "proxies have done so, at the latest after 5 s"
)
_AGAIN_AFTER_S = 0.2
# Set in the task that tells it again, and in the tasks that one starts: their calls pass while all others are refused.
_telling: ContextVar[str] = ContextVar("telling", default="")


class Memory:
    """The epoch of the server's data to which this process has told everything, and the telling when there is another.

    `doubtful` is set when a script met data it cannot rely on; whoever beats then asks at once.
    """

    def __init__(self) -> None:
        self.told = ""
        self.doubtful = asyncio.Event()
        self._epoch = ""
        self._changed = asyncio.Event()
        self._reassert: Reassert | None = None

    def on_lost(self, reassert: Reassert) -> None:
        """See IsRemote."""
        self._reassert = reassert

    @property
    def stamp(self) -> str:
        """The epoch a call relies on, as the scripts take it."""
        telling = _telling.get()
        return f"+{telling}" if telling else self.told

    def doubt(self) -> StoreUnavailable:
        """The error of a call that was refused since data may be lost."""
        self.doubtful.set()
        return StoreUnavailable(LOST)

    def heard(self, epoch: str) -> bool:
        """Takes note of the server's epoch; True when it is news and means that data may be lost."""
        if not self.told:
            self.told = self._epoch = epoch
        if epoch == self._epoch:
            return False
        self._epoch = epoch
        self._changed.set()
        return True

    async def keep(self, beat: Callable[[], Awaitable[None]], log: Log) -> None:
        """Tells everything again whenever the epoch has changed, for ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self.told == self._epoch:
                continue
            log("warning", "store_may_have_lost_data", reason=LOST)
            while self.told != self._epoch:
                if await self._tell(self._epoch, beat, log):
                    continue
                await asyncio.sleep(_AGAIN_AFTER_S)
            log("info", "store_told_again")

    async def _tell(self, epoch: str, beat: Callable[[], Awaitable[None]], log: Log) -> bool:
        before = _telling.set(epoch)
        try:
            if self._reassert is not None:
                await self._reassert()
        except StoreUnavailable:
            return False
        except Exception as error:  # noqa: BLE001  # the core's: until it succeeds nothing may be held, so it must go on
            log("error", "store_tell_failed", reason=f"{type(error).__name__}: {error}")
            return False
        finally:
            _telling.reset(before)
        self.told = epoch
        try:
            await beat()
        except StoreUnavailable:
            self.doubtful.set()  # it is said with the next beat
        return True
