"""How the embedded store's work grows with finished requests and with keys.

It has no command; bench/growth.py uses it. Files of growing size are open at once and measured in turns; the cost
is CPU of the process with all of its threads, so that what else the machine does is not counted.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from muxer_sqlite import SqliteStore, open_at
from muxer_sqlite.bounds import Bounds

from bench.filled import DAYS, STORE, key_of, make
from muxer import StoredKey, Window
from muxer.access import digest
from muxer.testing import a_choice, a_claim, a_record, open_context
from muxer.testing.contracts.money import an_attempt

AT_ONCE, REQUESTS = 32, 1_000
USER = "user-7"
_TOTAL = (Window("total", 0, 0),)
_CHOICE = a_choice(
    1_000, *(a_claim(account, limit_nanos=2**50, windows=_TOTAL) for account in ("all:", f"user:{USER}", "model:m-1"))
)
Grown = dict[str, dict[int, float]]
"""What is measured, and its figure at each number of records: the best of the rounds."""


async def measured(folder: Path, sizes: list[int], users: int, rounds: int, note: Callable[[str], None]) -> Grown:
    """All of it. Files that are in the folder already are used as they are."""
    best: Grown = {}
    async with AsyncExitStack() as stack:
        stores: dict[int, SqliteStore] = {}
        for rows in sizes:
            of = folder / f"{rows}"
            if not of.exists():
                note(f"makes {rows:,} records of {users:,} users")
                of.mkdir(parents=True)
                await make(of, rows, users, time.time())
            begun = time.process_time()
            context = await stack.enter_async_context(open_context(of))
            stores[rows] = await stack.enter_async_context(open_at(STORE, context, Bounds(tidy_every_s=3_600)))
            best.setdefault("start, ms", {})[rows] = (time.process_time() - begun) * 1e3
        for number in range(rounds):
            note(f"round {number + 1} of {rounds} at {', '.join(f'{rows:,}' for rows in sizes)} records")
            for rows, store in stores.items():
                for what, work in _work(store, number, users).items():
                    known = best.setdefault(what, {})
                    known[rows] = min(known.get(rows, float("inf")), await work())
    return best


def _work(store: SqliteStore, number: int, users: int) -> dict[str, Callable[[], Awaitable[float]]]:
    now = time.time()
    day = now - 86_400.0
    return {
        "hold and settle, us of CPU": lambda: _requests(store, number),
        "find a key, us": lambda: _keys(store, number, users),
        "GET /readyz, ms": lambda: _ms(store.held()),
        "GET /user/stats, ms": lambda: _ms(store.summary(["model", "provider"], 0, {"user": USER})),
        "GET /stats, by model, ms": lambda: _ms(store.summary(["model", "provider"], 0, {})),
        "GET /stats, by user, ms": lambda: _ms(store.summary(["user"], 0, {})),
        "muxer usage --since 1d, ms": lambda: _ms(store.summary(["model"], day, {})),
        "100 newest records, ms": lambda: _ms(_newest(store, {})),
        "100 newest of a user, ms": lambda: _ms(_newest(store, {"user": USER})),
    }


async def _requests(store: SqliteStore, number: int) -> float:
    at = time.time()
    begun = time.process_time()

    async def some(worker: int) -> None:
        for place in range(worker, REQUESTS, AT_ONCE):
            id = f"req_{int(at * 1000):011x}{number:010x}{place:010x}"
            await store.hold(a_record(id=id, at=at, user=USER), [_CHOICE])
            attempt = an_attempt(cost_nanos=700)
            await store.settle(
                a_record(id=id, at=at, user=USER, state="done", cost_nanos=700, attempts=(attempt,), model="m-1")
            )

    await asyncio.gather(*(some(worker) for worker in range(AT_ONCE)))
    return (time.process_time() - begun) / REQUESTS * 1e6


async def _keys(store: SqliteStore, number: int, users: int) -> float:
    digests = [digest(key_of((number * REQUESTS + place) * 7919 % users)) for place in range(REQUESTS)]
    begun = time.process_time()
    for one in digests:
        found: StoredKey | None = await store.key(one)
        assert found is not None
    return (time.process_time() - begun) / REQUESTS * 1e6


async def _ms(work: Awaitable[object]) -> float:
    begun = time.process_time()
    await work
    return (time.process_time() - begun) * 1e3


async def _newest(store: SqliteStore, where: dict[str, str]) -> int:
    return len([one async for one in store.records(time.time() - 86_400.0 * DAYS, where, 100)])
