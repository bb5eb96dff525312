"""Who is alive, told by a key that ends with its owner's heartbeat; what the dead held is presumed spent (S10)."""

import secrets
from collections.abc import Callable

import msgspec

from muxer import StoreUnavailable
from muxer_redis.calls import Calls

BEAT_EVERY_S = 5.0
# Dead is found at the next sweep: together at most 30 seconds (I11).
_ALIVE_S = 25
# After an outage the living must first be able to say that they are.
_SPARED_BEATS = 2
_MOST_AT_ONCE = 100  # as in interrupt.lua


class Owner:
    """This process's claim to be alive; `name` marks what it holds. `trouble` says why nothing may be held, if so."""

    def __init__(self, calls: Calls, keep_s: int, clock: Callable[[], str]) -> None:
        self.name = secrets.token_hex(8)
        self.trouble = ""
        self._sparing = 0
        self._calls = calls
        self._keep_s = str(keep_s)
        self._clock = clock

    async def beat(self) -> None:
        """Stays alive for a while, and buries who is not."""
        try:
            await self._calls.run("beat", self._clock(), self.name, str(_ALIVE_S))
        except StoreUnavailable:
            self._sparing = _SPARED_BEATS
            raise
        if self._sparing:
            self._sparing -= 1
            return
        await self._bury("")

    async def leave(self) -> None:
        """What is still held was given up: it counts and says so."""
        await self._bury(self.name)

    async def _bury(self, leaving: str) -> None:
        count = _MOST_AT_ONCE
        while count >= _MOST_AT_ONCE:
            reply = await self._calls.run("interrupt", self._clock(), leaving, self._keep_s)
            count = msgspec.convert(reply, int)
