"""Limits over recorded time: each request is held when it began and settled when it ended, by a store's own ledger."""

import heapq
from collections.abc import Sequence

from muxer.plans import Candidate
from muxer.stores import Granted, Standing, Store
from muxer.types import Attempt, Record


class Clock:
    """The time of the record that is being replayed, in Unix seconds."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Unix seconds."""
        return self.now_s


class Limits:
    """What a file's limits would have said. `store` is an empty one in memory that goes by `clock`.

    Records come in the order in which they began; those under way are what is kept.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._under_way: list[tuple[float, str, Record]] = []

    async def hold(self, record: Record, offered: Sequence[Candidate]) -> int | str:
        """The place of the candidate that is granted; or the limit that refuses the first."""
        if not any(candidate.claims or candidate.quotas for candidate in offered):
            return 0
        await self._settle_until(record.at)
        self._clock.now_s = record.at
        choices = [candidate.choice for candidate in offered]
        opening = Record(id=record.id, at=record.at, api=record.api, state="open", user=record.user, key=record.key)
        reply = await self._store.hold(opening, choices)
        if not isinstance(reply, Granted):
            standing = reply.refusals[0].standing
            return standing.limit if isinstance(standing, Standing) else f"{standing.limit} ({standing.unit})"
        chosen = offered[reply.choice].model
        cost = chosen.price.cost_nanos(record.usage) if chosen.price else 0
        attempt = Attempt(model=chosen.name, provider="", upstream="", outcome="exact", cost_nanos=cost)
        ended = Record(
            id=record.id,
            at=record.at,
            api=record.api,
            state="done",
            user=record.user,
            key=record.key,
            model=chosen.name,
            usage=record.usage,
            attempts=(attempt,),
        )
        heapq.heappush(self._under_way, (record.at + record.ms / 1000, record.id, ended))
        return reply.choice

    async def _settle_until(self, now_s: float) -> None:
        while self._under_way and self._under_way[0][0] <= now_s:
            self._clock.now_s, _, ended = heapq.heappop(self._under_way)
            await self._store.settle(ended)
