"""Fills a store of the embedded kind with millions of finished requests and thousands of keys, in seconds a million.

It has no command; bench/growth.py and bench/rows.py use it. One request is lived through the store; the others are
copies of its row, made by SQL, that differ in time, caller, model and route. Indexes, triggers and totals are made anew
behind them, which takes a tenth of the time of keeping them up to date on the way.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from msgspec.structs import replace
from muxer_sqlite import SqliteSettings, keys, open_sqlite, totals

from muxer import Excluded, Needs, StoredKey, Usage
from muxer.access import digest
from muxer.testing import a_choice, a_record, open_context
from muxer.testing.contracts.money import an_attempt

DAYS = 90
STORE = SqliteSettings(retention_days=None)
_TEMPLATE = "req_template"
_STEP = 250_000
# Row number i: over 90 days up to now, of as many users as there are keys, 12 models and 5 routes.
_VARIED = {
    "at": ":begin_s + 86400.0 * :days * i / :rows",
    "id": "printf('req_%011x%020x', 1000 * (:begin_s + 86400.0 * :days * i / :rows), i)",
    "user": "'user-' || (i * 7919 % :users)",
    "key": "'key-' || (i * 7919 % :users)",
    "team": "'team-' || (i * 7919 % :users % 10)",
    "model": "'m-' || (i * 31 % 12)",
    "provider": "'p-' || (i * 31 % 12 % 3)",
    "route": "'r-' || (i * 17 % 5)",
}


def key_of(number: int) -> str:
    """The secret of a key that was made here."""
    return f"mux_{number:08x}_filled"


async def make(folder: Path, rows: int, users: int, now: float) -> Path:
    """A store's file with so many finished requests of so many users, each of whom has a key."""
    async with open_context(folder) as context, open_sqlite(STORE, context) as store:
        record = a_record(
            id=_TEMPLATE,
            at=now - 86_400.0 * DAYS,
            state="done",
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
            attempts=(an_attempt(cost_nanos=700, status=200, ms=900.0),),
            status=200,
            ms=900.0,
            config="c0ffee",
            prices="2026-11-25",
        )
        await store.hold(replace(record, state="open", cost_nanos=0, attempts=()), [a_choice(0)])
        await store.settle(record)
    path = folder / STORE.path
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for pragma in ("synchronous = OFF", "cache_size = -200000", "temp_store = FILE"):
            db.execute(f"PRAGMA {pragma}")
        _add_keys(db, users, now)
        _copy(db, rows, users, now - 86_400.0 * DAYS)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def _add_keys(db: sqlite3.Connection, count: int, now: float) -> None:
    db.execute("BEGIN")
    for number in range(count):
        key = StoredKey(
            id=f"{number:08x}",
            digest=digest(key_of(number)),
            name=f"key-{number}",
            user=f"user-{number}",
            team=f"team-{number % 10}",
            created_at=now - 86_400.0 * DAYS,
        )
        keys.add(db, key)
    db.execute("COMMIT")


def _copy(db: sqlite3.Connection, rows: int, users: int, begin_s: float) -> None:
    query = "SELECT type, name, sql FROM sqlite_schema WHERE tbl_name = 'requests' AND sql IS NOT NULL"
    beside = [one for one in db.execute(query).fetchall() if one[0] != "table"]
    for kind, name, _ in beside:
        db.execute(f"DROP {kind} {name}")
    names = [name for _, name, *_ in db.execute("PRAGMA table_info(requests)")]
    values = ", ".join(_VARIED.get(name, name) for name in names)
    numbers = "WITH RECURSIVE n (i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :end)"
    insert = (
        f"INSERT INTO requests ({', '.join(names)}) {numbers} SELECT {values} FROM n, requests WHERE id = :template"
    )
    scale = {"rows": rows, "users": users, "begin_s": begin_s, "days": DAYS, "template": _TEMPLATE}
    for first in range(0, rows, _STEP):  # one statement would keep all of it in the log
        db.execute(insert, scale | {"first": first, "end": min(rows, first + _STEP)})
    db.execute("DELETE FROM requests WHERE id = ?", (_TEMPLATE,))
    db.execute("DELETE FROM totals")
    totals.fill(db)
    for _, _, sql in beside:
        db.execute(sql)
