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

from muxer_sqlite import SqliteSettings, open_sqlite
from muxer_sqlite.rows import NAMES, to_row

from bench.stores import _worker
from muxer import Attempt, Excluded, Needs, Store, Usage
from muxer.testing import a_record, open_context

ROUNDS = 5
OPEN = 200  # requests in flight when the process died
# Row number i: 90 days up to now, 600 combinations of 200 users, 12 models and 5 routes.
VARIED = {
    "at": ":begin_s - 7776000.0 * (1 - 1.0 * i / :rows)",
    "id": "printf('req_%011x%020x', 1000 * :begin_s - 7776000000.0 * (1 - 1.0 * i / :rows), i)",
    "state": "iif(i % 50 = 0, 'failed', 'done')",
    "user": "'user-' || (i * 7919 % 200)",
    "key": "'key-' || (i * 7919 % 200)",
    "team": "'team-' || (i * 7919 % 200 % 10)",
    "model": "'m-' || (i * 31 % 12)",
    "provider": "'p-' || (i * 31 % 12 % 3)",
    "route": "'r-' || (i * 17 % 5)",
}
LEG = '[[0,1000,[["all::total",0,1000],["user:alice:total",0,1000]],false,0]]'


def fill(path: Path, rows: int, begin_s: float) -> None:
    """Finished records spread over the days before `begin_s`, and some open ones of a process that is dead."""
    attempt = Attempt(model="m", provider="p", upstream="u", outcome="exact", status=200, cost_nanos=700, ms=900.0)
    record = a_record(
        tags=("a", "b"),
        conversation="0123456789abcdef",
        requested_model="auto",
        reason="complexity >= 0.2",
        signals={"code": 0.1, "complexity": 0.25, "simple": 0.0, "tokens": 812, "language": "en"},
        needs=Needs(stream=True, cap_tokens=1_000),
        excluded=(Excluded("m-9", "context"),),
        usage=Usage(input_tokens=800, output_tokens=120, cached_input_tokens=64),
        cost_nanos=700,
        expected_nanos=650,
        attempts=(attempt,),
        status=200,
        ms=900.0,
        first_byte_ms=300.0,
        config="c0ffee",
        prices="2026-11-25",
    )
    row = dict(zip(NAMES, to_row(record), strict=True)) | {
        "owner": "dead",
        "held_nanos": 0,
        "holds": None,
        "drawn": None,
    }
    columns = (*NAMES, "owner", "held_nanos", "holds", "drawn")
    names = ", ".join(columns)
    values = ", ".join(VARIED.get(name, f":{name}") for name in columns)
    numbers = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :rows)"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA cache_size = -200000")
        scale = {"rows": rows, "begin_s": begin_s}
        db.execute(f"INSERT INTO requests ({names}) {numbers} SELECT {values} FROM n", row | scale)
        held = {"state": "open", "held_nanos": 1_000, "cost_nanos": 0, "holds": LEG, "at": begin_s}
        insert = f"INSERT INTO requests ({names}) VALUES ({', '.join(f':{name}' for name in columns)})"
        db.executemany(insert, [row | held | {"id": f"open-{number}"} for number in range(OPEN)])
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def _us(store: Store, round_: int, at_once: int, requests: int) -> float:
    numbers = iter(range(round_ * requests, (round_ + 1) * requests))
    times: list[float] = []
    begun = time.perf_counter()
    await asyncio.gather(*(_worker(store, numbers, times) for _ in range(at_once)))
    return (time.perf_counter() - begun) / requests * 1e6


async def compare(folders: dict[str, Path], requests: int) -> None:
    """Prints hold and settle on each file, the best of some rounds in turns."""
    async with AsyncExitStack() as stack:
        stores: dict[str, Store] = {}
        for name, folder in folders.items():
            context = await stack.enter_async_context(open_context(folder))
            begun = time.perf_counter()
            stores[name] = await stack.enter_async_context(open_sqlite(SqliteSettings(), context))
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
    _scan(folders["full"] / "muxer.db")


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
            async with open_context(folder) as context, open_sqlite(SqliteSettings(), context):
                pass
        begun = time.perf_counter()
        fill(folders["full"] / "muxer.db", arguments.rows, time.time())
        size = (folders["full"] / "muxer.db").stat().st_size
        print(
            f"{arguments.rows} records filled in {time.perf_counter() - begun:.0f} s: {size / 2**20:.0f} MB", flush=True
        )
        await compare(folders, arguments.requests)


if __name__ == "__main__":
    asyncio.run(main())
