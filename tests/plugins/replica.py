"""A replica of the tests of the shared store: it keeps a journal of what it told, and tells it again (S17)."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from muxer_redis import RedisStore

from muxer import Granted, Refused, StoreUnavailable
from muxer.testing import a_record
from muxer.testing.contracts.money import a_choice, an_attempt
from tests.plugins.redis_server import CLAIM

Call = Callable[[], Awaitable[object]]


class Replica:
    """A store and a journal of what it was told, as short as one can be."""

    def __init__(self, store: RedisStore) -> None:
        self.store = store
        self.told: list[Call] = []
        self.may_tell = asyncio.Event()
        self.may_tell.set()
        store.on_lost(self._tell)

    async def hold(self, id: str, bound: int) -> Granted | Refused:
        choices = [a_choice(bound, CLAIM)]
        reply = await self.store.hold(a_record(id=id), choices)
        if isinstance(reply, Granted):
            self.told.append(lambda: self.store.hold(a_record(id=id), choices))
        return reply

    async def extend(self, id: str, bound: int, cost: int) -> None:
        choice, ended = a_choice(bound, CLAIM), an_attempt(cost_nanos=cost)
        assert isinstance(await self.store.extend(id, 1, choice, ended), Granted)
        self.told.append(lambda: self.store.extend(id, 1, choice, ended))

    async def settle(self, id: str, *costs: int) -> None:
        attempts = tuple(an_attempt(cost_nanos=cost) for cost in costs)
        record = a_record(id=id, state="done", cost_nanos=sum(costs), attempts=attempts)
        await self.store.settle(record)
        self.told.append(lambda: self.store.settle(record))

    async def _tell(self) -> None:
        await self.may_tell.wait()
        await asyncio.gather(*(call() for call in self.told[:1]))  # tasks of its own may tell as well
        for call in self.told:
            await call()


async def until(call: Callable[[], Awaitable[object]], within_s: float = 20) -> float:
    """Asks until the store takes it; how long that was."""
    begun = time.monotonic()
    while True:
        try:
            await call()
        except StoreUnavailable:
            assert time.monotonic() - begun < within_s
            await asyncio.sleep(0.01)
        else:
            return time.monotonic() - begun
