"""How long `muxer replay` takes over a large store and how much memory, each run in a process of its own.

    .venv/bin/python -m bench.replay [--rows 1000000] [--folder FOLDER]

The rows are spread over a week; signals, sizes and callers differ from row to row. Replayed are a file with other
thresholds against the records, and the same against the old file, each with the budgets that ship.
"""

import argparse
import asyncio
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from muxer_sqlite import SqliteSettings, open_sqlite
from muxer_sqlite.rows import NAMES, to_row

from muxer import Attempt, Needs, Record, Usage
from muxer.testing import open_context

WEEK_S = 7 * 86_400
KEYS = {"OPENAI_API_KEY": "sk-0123456789", "ANTHROPIC_API_KEY": "sk-0123456789", "MISTRAL_API_KEY": "sk-0123456789"}
SHIPPED = Path(__file__).parent.parent / "routing.yaml"
CHANGED = ('"code >= 0.2"', '"code >= 0.3"'), ("use: [gpt-terra]", "use: [claude-haiku, gpt-terra], order: cheapest")


def some_records(rows: int, begin_s: float) -> Iterator[Record]:
    """Requests as the file that ships would have recorded them, with random prompts of random people."""
    chance = random.Random(6)
    for number in range(rows):
        at = begin_s + WEEK_S * number / rows
        chars = int(chance.lognormvariate(5, 1.2))
        code, hard, simple = (max(0.0, chance.gauss(0.08, 0.15)) for _ in range(3))
        picos: tuple[float, float]
        if code >= 0.2 or hard >= 0.2:
            route, model, upstream, picos = "code" if code >= 0.2 else "complex", "gpt-sol", "gpt-6.1-sol", (2, 10)
        elif simple >= 0.2 and chars < 100:
            route, model, upstream, picos = "simple", "claude-haiku", "claude-haiku-5-5", (0.1, 0.5)
        else:
            route, model, upstream, picos = "default", "gpt-terra", "gpt-6.1-terra", (1, 5)
        usage = Usage(input_tokens=chars // 4 + 12, output_tokens=int(chance.lognormvariate(5, 0.8)))
        cost = int(1_000 * (usage.input_tokens * picos[0] + usage.output_tokens * picos[1]))
        user = f"user-{chance.randrange(500)}"
        yield Record(
            id=f"req_{int(at * 1000):011x}{number:020x}",
            at=at,
            api="openai.chat",
            state="done",
            user=user,
            key=user,
            team=f"team-{chance.randrange(8)}",
            conversation="0123456789abcdef",
            requested_model="auto",
            route=route,
            reason=f"rule {route}",
            signals={
                "tokens": chars // 4 + 30, "chars": chars, "turns": 1, "has_tools": False, "has_images": False,
                "wants_json": False, "stream": number % 2 == 0, "code": round(code, 3), "complexity": round(hard, 3),
                "simple": round(simple, 3),
            },
            needs=Needs(stream=number % 2 == 0),
            estimate_tokens=chars // 4 + 30,
            bound_tokens=chars + 140,
            model=model,
            provider="p",
            usage=usage,
            cost_nanos=cost,
            attempts=(Attempt(model=model, provider="p", upstream=upstream, outcome="exact", cost_nanos=cost),),
            status=200,
            ms=chance.lognormvariate(7, 0.6),
            config="c0ffee",
            prices="2026-11-25",
        )  # fmt: skip


async def fill(folder: Path, rows: int) -> Path:
    """A store with so many finished requests."""
    async with open_context(folder) as context, open_sqlite(SqliteSettings(retention_days=None), context):
        pass
    columns = (*NAMES, "owner", "held_nanos")
    insert = f"INSERT INTO requests ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    begin_s = time.time() - WEEK_S
    with closing(sqlite3.connect(folder / "muxer.db", isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("BEGIN")
        db.executemany(insert, ((*to_row(one), "", 0) for one in some_records(rows, begin_s)))
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder / "muxer.db"


def measure(title: str, words: list[str]) -> None:
    """Runs the command and prints what it took."""
    command = [sys.executable, "-m", "muxer", "replay", *words, "--json"]
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | KEYS) as process:
        assert process.stdout is not None
        found = json.loads(process.stdout.read())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = usage.ru_utime + usage.ru_stime
    print(
        f"{title:<28} {seconds:6.1f} s of one core, {time.perf_counter() - begun:6.1f} s, "
        f"{usage.ru_maxrss / 1024:5.0f} MB at most, {found['requests']:,} requests, {found['moved']:,} moved",
        flush=True,
    )


def main() -> None:
    """Fills, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the file is made, or found again; default: a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        log = folder / "muxer.db"
        if not log.exists():
            asyncio.run(fill(folder, arguments.rows))
        new, old = folder / "new.yaml", folder / "old.yaml"
        text = SHIPPED.read_text()
        old.write_text(text)
        for one, other in CHANGED:
            assert one in text
            text = text.replace(one, other)
        new.write_text(text)
        measure("new against the records", [str(new), "--log", str(log)])
        measure("new against old", [str(new), "--against", str(old), "--log", str(log)])
        measure("old against itself", [str(old), "--against", str(old), "--log", str(log)])


if __name__ == "__main__":
    main()
