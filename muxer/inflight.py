"""How many requests are being served, and when none is."""

import asyncio

from muxer import measurements
from muxer.interfaces import Meter


class InFlight:
    """How many requests are being served."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self.count = 0

    def __enter__(self) -> None:
        self._count(1)

    def __exit__(self, *_: object) -> None:
        self._count(-1)

    async def idle(self) -> None:
        """Waits until nothing is being served."""
        await self._is_idle.wait()

    def _count(self, change: int) -> None:
        self.count += change
        if self.count:
            self._is_idle.clear()
        else:
            self._is_idle.set()
        self._meter.set(measurements.IN_FLIGHT, self.count)
