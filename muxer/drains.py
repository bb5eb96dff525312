"""Answers that are read on after their callers left, so that the provider still says what they cost (S11)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from muxer import measurements
from muxer.errors import ClientGone
from muxer.interfaces import Meter

MOST_DRAINS = 256


class Drains:
    """All of them in this process, at most `most` at the same time."""

    def __init__(self, meter: Meter, most: int = MOST_DRAINS) -> None:
        self._meter = meter
        self.most = most
        self.count = 0

    @asynccontextmanager
    async def around(self, most_s: float) -> AsyncIterator["Drain"]:
        """Around an answer that is being written. Raises ClientGone when it was not read to its end after its caller
        left: for `most_s` in vain, or not at all, because too many others are being read on."""
        drain = Drain(self, most_s)
        try:
            async with asyncio.timeout(None) as drain.scope:
                yield drain
        except TimeoutError as error:
            raise ClientGone(drain.reason) from error
        finally:
            if drain.is_on:
                self.change(-1)

    def change(self, by: int) -> None:
        """Counts one that begins, or ends."""
        self.count += by
        self._meter.set(measurements.DRAINS, self.count)


class Drain:
    """One answer; see Drains."""

    def __init__(self, drains: Drains, most_s: float) -> None:
        self._drains = drains
        self._most_s = most_s
        self.scope = asyncio.timeout(None)
        self.is_on = False
        self.reason = ""

    def begin(self) -> None:
        """The caller has left; called once."""
        now = asyncio.get_running_loop().time()
        if self._drains.count >= self._drains.most:
            self.reason = f"the answer was not read on after its caller left: {self._drains.most} others were"
            self.scope.reschedule(now)
            return
        self.is_on = True
        self.reason = "the answer was read on for as long as we do after its caller left"
        self._drains.change(+1)
        self.scope.reschedule(now + self._most_s)
