"""Who is alive, told by a key that ends with its owner's heartbeat; what the dead held is presumed spent (S10)."""

import asyncio
import secrets
from collections.abc import Callable

import msgspec
from msgspec import Struct

from muxer import StoreUnavailable
from muxer_redis.calls import Calls
from muxer_redis.memory import Memory
from muxer_redis.replies import pack

BEAT_EVERY_S = 1.0
BEAT_IN_OUTAGE_S = 0.5  # soon enough for a replica without requests to hold up nobody when the server is back
# Dead is found at the next sweep: together at most 30 seconds (I11).
_ALIVE_S = 25
# After an outage the living must first be able to say that they are.
_SPARED_BEATS = 2
_MOST_AT_ONCE = 100  # as in interrupt.lua


class _Beaten(Struct, frozen=True, array_like=True):
    epoch: bytes
    owners: tuple[bytes, ...]


class Owner:
    """This process's claim to be alive; `name` marks what it holds. `trouble` says why nothing may be held, if so."""

    def __init__(self, calls: Calls, keep_s: int, clock: Callable[[], str]) -> None:
        self.name = secrets.token_hex(8)
        self.trouble = ""
        self.memory = Memory()
        self._owners: tuple[str, ...] = ()
        self._sparing = 0
        self._calls = calls
        self._keep_s = str(keep_s)
        self._clock = clock

    def beating(self) -> tuple[str | bytes, ...]:
        """The arguments of a heartbeat as it would be now."""
        return (
            self._clock(), self.name, str(_ALIVE_S), self.memory.told, secrets.token_hex(8), pack(self._owners),
        )  # fmt: skip

    def heard(self, reply: object) -> None:
        """Takes note of what the server said to a heartbeat. Data it lost may be the heartbeats of others."""
        found = msgspec.convert(reply, _Beaten)
        self._owners = tuple(name.decode() for name in found.owners)
        if self.memory.heard(found.epoch.decode()):
            self._sparing = _SPARED_BEATS

    async def begin(self, patience_s: float) -> None:
        """The first heartbeat. A server that is busy is given so long, since no request waits for it. Raises
        StoreUnavailable."""
        loop = asyncio.get_running_loop()
        until = loop.time() + patience_s
        while True:
            try:
                return await self.beat()
            except StoreUnavailable:
                if loop.time() >= until:
                    raise
            await asyncio.sleep(BEAT_IN_OUTAGE_S)

    async def say(self) -> None:
        """Stays alive for a while."""
        self.heard(await self._calls.run("beat", *self.beating()))

    async def beat(self) -> None:
        """Stays alive for a while, and buries who is not."""
        try:
            await self.say()
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
