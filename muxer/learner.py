"""Keeps the estimates of what models do up to date with what was recorded last."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from muxer.background import beside
from muxer.errors import StoreUnavailable
from muxer.estimates import Estimates, Samples
from muxer.types import Record

LEARN_EVERY_S = 60.0
LATEST = 2_000
"""How many requests the tables are made of: reading them takes a store some hundredths of a second."""
_OLDEST_S = 7 * 86_400.0

Latest = Callable[[float, int, Callable[[Record], None]], Awaitable[None]]
"""Gives the records since then, the newest first, and so many at most, to the last. Raises StoreUnavailable."""


class Learner:
    """Has the tables of the moment; a decision takes them once."""

    def __init__(self, latest: Latest, clock: Callable[[], float]) -> None:
        self._latest = latest
        self._clock = clock
        self.estimates = Estimates()

    async def learn(self) -> None:
        """Makes the tables anew. Those there are stay while the store cannot be read."""
        with suppress(StoreUnavailable):
            # One by one: two thousand records at once are 4 MB, which the process would keep.
            samples = Samples()
            await self._latest(self._clock() - _OLDEST_S, LATEST, samples.add)
            # Some thousandths of a second, which requests should not have to wait for.
            self.estimates = await asyncio.to_thread(samples.estimates)


@asynccontextmanager
async def open_learner(latest: Latest, clock: Callable[[], float]) -> AsyncIterator[Learner]:
    """A learner that begins at once and goes on for as long as the context is open."""
    learner = Learner(latest, clock)
    async with beside(_learn_for_ever(learner)):
        yield learner


async def _learn_for_ever(learner: Learner) -> None:
    while True:
        await learner.learn()
        await asyncio.sleep(LEARN_EVERY_S)
