"""What a million finished records cost the embedded store: hold and settle, start, sums over all time.

    .venv/bin/python -m bench.rows [--rows 1000000] [--requests 3000] [--folder FOLDER]

Hold and settle are measured on an empty and on the full file in turns, so that the ratio is of one run; the rest on the
full file: the start with some requests of a dead process to bury (F15), the sums behind /stats, and a page of records.
"""

import argparse
import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack, closing
from pathlib import Path

from muxer_sqlite import open_sqlite

from bench.filled import STORE, make
from bench.stores import worker
from muxer import Store
from muxer.testing import open_context

ROUNDS = 5
OPEN = 200  # requests in flight when the process died
USERS = 200
_LEFT_OPEN = {
    "id": "'open-' || i",
    "state": "'open'",
    "owner": "'dead'",
    "cost_nanos": "0",
    "held_nanos": "1000",
    "holds": """'[[0,1000,[["all::total",0,1000],["user:alice:total",0,1000]],false,0]]'""",
}


def leave_open(path: Path) -> None:
    """Adds requests that a process was serving when it died: copies of a finished one."""
    with closing(sqlite3.connect(path)) as db, db:
        names = [name for _, name, *_ in db.execute("PRAGMA table_info(requests)")]
        values = ", ".join(_LEFT_OPEN.get(name, name) for name in names)
        numbers = f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {OPEN})"
        finished = "(SELECT * FROM requests WHERE state = 'done' LIMIT 1)"
        db.execute(f"INSERT INTO requests ({', '.join(names)}) {numbers} SELECT {values} FROM n, {finished}")


async def _us(store: Store, round_: int, at_once: int, requests: int) -> float:
    numbers = iter(range(round_ * requests, (round_ + 1) * requests))
    times: list[float] = []
    begun = time.perf_counter()
    await asyncio.gather(*(worker(store, numbers, times) for _ in range(at_once)))
    return (time.perf_counter() - begun) / requests * 1e6


async def compare(folders: dict[str, Path], requests: int) -> None:
    """Prints hold and settle on each file, the best of some rounds in turns."""
    async with AsyncExitStack() as stack:
        stores: dict[str, Store] = {}
        for name, folder in folders.items():
            context = await stack.enter_async_context(open_context(folder))
            begun = time.perf_counter()
            stores[name] = await stack.enter_async_context(open_sqlite(STORE, context))
            print(f"start, {name} file{time.perf_counter() - begun:>21.3f} s", flush=True)
        round_ = 0
        for at_once in (1, 32):
            best = dict.fromkeys(stores, float("inf"))
            for _ in range(ROUNDS):
                for name, store in stores.items():
                    best[name] = min(best[name], await _us(store, round_, at_once, requests))
                round_ += 1
            ratio = best["full"] / best["empty"]
            both = f"{best['empty']:.0f} us empty, {best['full']:.0f} us full"
            print(f"hold and settle, {at_once:>2} at once: {both}, ratio {ratio:.2f}", flush=True)
        await _reading(stores["full"])
    _scan(folders["full"] / STORE.path)


async def _reading(store: Store) -> None:
    for by, where in (
        ([], {}),
        (["model", "provider"], {}),
        (["user"], {}),
        (["model", "provider"], {"user": "user-7"}),
    ):
        await _timed(f"summary by {by or 'nothing'} {where or ''}", store.summary(by, 0, where))
    now = time.time()
    await _timed("summary by ['model'] of 7 days", store.summary(["model"], now - 7 * 86_400, {}))
    await _timed("held and presumed", store.held())


def _scan(path: Path) -> None:
    """The sum by model as one that reads all rows."""
    with closing(sqlite3.connect(path)) as db:
        begun = time.perf_counter()
        db.execute("SELECT model, provider, count(*), sum(cost_nanos) FROM requests GROUP BY 1, 2").fetchall()
        print(f"{'the same by reading every row':<55} {(time.perf_counter() - begun) * 1e3:>8.1f} ms", flush=True)


async def _timed(what: str, work: Awaitable[object]) -> None:
    begun = time.perf_counter()
    await work
    print(f"{what:<55} {(time.perf_counter() - begun) * 1e3:>8.1f} ms", flush=True)


async def main() -> None:
    """Fills, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=3_000)
    parser.add_argument("--folder", type=Path, help="where to make the files; default: a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folders = {kind: Path(name) / kind for kind in ("empty", "full")}
        for folder in folders.values():
            folder.mkdir()
        begun = time.perf_counter()
        file = await make(folders["full"], arguments.rows, USERS, time.time())
        leave_open(file)
        words = f"{arguments.rows} records filled in {time.perf_counter() - begun:.0f} s"
        print(f"{words}: {file.stat().st_size / 2**20:.0f} MB", flush=True)
        await compare(folders, arguments.requests)


if __name__ == "__main__":
    asyncio.run(main())
