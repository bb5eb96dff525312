"""Copies of finished records to whoever wants them: in batches, off the path of requests, each sink by itself."""

import asyncio
from collections import deque
from collections.abc import Sequence

from muxer import measurements
from muxer.background import given_up
from muxer.deadlines import happens
from muxer.fence import ComponentFailed, Fence
from muxer.interfaces import Meter, Sink
from muxer.types import Record

MOST_WAITING = 10_000
MOST_AT_ONCE = 500
WRITE_DEADLINE_S = 10.0
PAUSES_S = (0.2, 1.0, 5.0, 15.0)


class Outlet:
    """One sink and what waits for it. What it does not take after several tries, or cannot keep up with, is dropped,
    counted, and still in the store."""

    def __init__(self, name: str, sink: Sink, fence: Fence, meter: Meter) -> None:
        self._name = name
        self._sink = sink
        self._fence = fence
        self._meter = meter
        self._waiting: deque[Record] = deque()
        self._is_wanted = asyncio.Event()
        self._is_closing = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    def put(self, record: Record) -> None:
        """Hands over a record; returns at once."""
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self._dropped(1)
        self._waiting.append(record)
        self._is_wanted.set()

    async def close(self, grace_s: float) -> None:
        """Offers what still waits, at most for `grace_s`."""
        self._is_closing.set()
        self._is_wanted.set()
        await asyncio.wait([self._task], timeout=grace_s)
        await given_up(self._task)
        self._dropped(len(self._waiting))

    async def _run(self) -> None:
        while self._waiting or not self._is_closing.is_set():
            await self._is_wanted.wait()
            self._is_wanted.clear()
            while self._waiting:
                await self._offer([self._waiting[place] for place in range(min(MOST_AT_ONCE, len(self._waiting)))])

    async def _offer(self, batch: Sequence[Record]) -> None:
        """Offers a batch until it is taken, or the tries are over; then it no longer waits."""
        is_taken = await self._is_taken(batch)
        for pause_s in PAUSES_S:
            if is_taken:
                break
            # At the end there is no time left for patience.
            await happens(self._is_closing, pause_s)
            is_taken = await self._is_taken(batch)
        if not is_taken:
            self._dropped(len(batch))
        offered = {id(record) for record in batch}
        while self._waiting and id(self._waiting[0]) in offered:
            self._waiting.popleft()

    async def _is_taken(self, batch: Sequence[Record]) -> bool:
        try:
            with self._fence.around():
                async with asyncio.timeout(WRITE_DEADLINE_S):
                    await self._sink.write(batch)
        except ComponentFailed:
            return False
        self._fence.succeeded()
        return True

    def _dropped(self, count: int) -> None:
        if count:
            self._meter.add(measurements.DROPPED_RECORDS, count, self._name)


class Outlets:
    """All sinks of a configuration."""

    def __init__(self, outlets: Sequence[Outlet] = ()) -> None:
        self._outlets = tuple(outlets)

    def put(self, record: Record) -> None:
        """Hands a finished record to each sink."""
        for outlet in self._outlets:
            outlet.put(record)

    async def close(self, grace_s: float) -> None:
        """See Outlet."""
        await asyncio.gather(*(outlet.close(grace_s) for outlet in self._outlets))
