"""What each day cost, by who and what: kept by triggers, so that no sum over all time reads the rows again.

Triggers, since whatever changes a finished row (a settlement, an operator's SQL, an older version on the same file)
then changes its day in the same transaction. Removing a row changes nothing: the totals outlive it.
"""

import math
import sqlite3
from collections.abc import Mapping, Sequence

from muxer import Summary

DAY_S = 86_400
FIELDS = ("user", "team", "key", "route", "model", "provider", "state", "config")
_SUMS = ("input_tokens", "cached_input_tokens", "output_tokens", "cost_nanos", "presumed_nanos")
_DAY = f"CAST({{0}}at AS INTEGER) / {DAY_S}"

TABLE = f"""
CREATE TABLE IF NOT EXISTS totals (
  day INTEGER NOT NULL,    -- days since 1970 in UTC
  {", ".join(f"{name} TEXT NOT NULL" for name in FIELDS)},
  requests INTEGER NOT NULL,
  {", ".join(f"{name} INTEGER NOT NULL" for name in _SUMS)},
  PRIMARY KEY (day, {", ".join(FIELDS)})
) WITHOUT ROWID"""

INDEX_NAME = "totals_by_user"
# What one user spent is read without everybody's. A settlement pays for it only where it begins a new line.
INDEX = f"CREATE INDEX IF NOT EXISTS {INDEX_NAME} ON totals (user)"


def _add(row: str, sign: str) -> str:
    values = (_DAY.format(f"{row}."), *(f"{row}.{name}" for name in FIELDS), f"{sign}1")
    sums = (f"{sign}{row}.{name}" for name in _SUMS)
    return (
        f"INSERT INTO totals VALUES ({', '.join((*values, *sums))}) ON CONFLICT DO UPDATE SET "
        + ", ".join(f"{name} = {name} + excluded.{name}" for name in ("requests", *_SUMS))
        + ";"
    )


TRIGGERS = tuple(
    f"CREATE TRIGGER IF NOT EXISTS totals_{name} AFTER {event} ON requests WHEN {row}.state != 'open' "
    f"BEGIN {_add(row, sign)} END"
    for name, event, row, sign in (
        ("born", "INSERT", "NEW", "+"),
        ("left", "UPDATE", "OLD", "-"),
        ("entered", "UPDATE", "NEW", "+"),
    )
)


def fill(db: sqlite3.Connection) -> None:
    """Adds up the finished rows of a file that has no totals yet."""
    sums = ", ".join(f"sum({name})" for name in _SUMS)
    db.execute(
        f"INSERT INTO totals SELECT {_DAY.format('')} AS day, {', '.join(FIELDS)}, count(*), {sums} FROM requests "
        f"WHERE state != 'open' GROUP BY day, {', '.join(FIELDS)}"
    )


def wrong_days(db: sqlite3.Connection) -> list[tuple[str, int, int]]:
    """The days whose rows and totals disagree: the date, nano-dollars by the rows and by the totals.

    A day of which rows were removed is left out: its totals alone still know it.
    """
    sums = ", ".join(f"sum({name}) AS {name}" for name in ("requests", *_SUMS))
    ours = ", ".join(f"sum({name}) AS {name}" for name in _SUMS)
    differs = " OR ".join(f"r.{name} != t.{name}" for name in ("requests", *_SUMS))
    query = (
        f"WITH r AS (SELECT {_DAY.format('')} AS day, count(*) AS requests, {ours} FROM requests "
        f"WHERE state != 'open' GROUP BY 1), t AS (SELECT day, {sums} FROM totals GROUP BY 1) "
        f"SELECT date(r.day * {DAY_S}, 'unixepoch'), r.cost_nanos, coalesce(t.cost_nanos, 0) FROM r LEFT JOIN t "
        f"ON r.day = t.day WHERE t.day IS NULL OR (r.requests >= t.requests AND ({differs}))"
    )
    return db.execute(query).fetchall()


def summary(db: sqlite3.Connection, by: Sequence[str], since_s: float, where: Mapping[str, str]) -> list[Summary]:
    """Spend by groups, dearest first: whole days from the totals, what is left of the first day and what is open from
    the rows. `by` may have `day` besides FIELDS, `where` has FIELDS only. Raises KeyError for another name."""
    for name in (*by, *where):
        if name not in FIELDS and not (name == "day" and name in by):
            raise KeyError(f"records cannot be grouped or filtered by {name}")
    conditions = "".join(f" AND {name} = ?" for name in where)
    first_day = max(0, math.ceil(since_s / DAY_S))
    columns = ", ".join((*FIELDS, *_SUMS))
    rows = f"SELECT {_DAY.format('')} AS day, {columns}, 1 AS requests, held_nanos FROM requests"
    groups = [f"date(day * {DAY_S}, 'unixepoch') AS day_" if name == "day" else name for name in by]
    query = (
        f"WITH lines AS (SELECT day, {columns}, requests, 0 AS held_nanos FROM totals WHERE day >= ?{conditions} "
        f"UNION ALL {rows} INDEXED BY requests_by_time WHERE at >= ? AND at < ? AND state != 'open'{conditions} "
        f"UNION ALL {rows} INDEXED BY requests_open WHERE state = 'open' AND at >= ?{conditions}) "
        f"SELECT {''.join(group + ', ' for group in groups)}coalesce(sum(requests), 0) AS count_, "
        f"{', '.join(f'coalesce(sum({name}), 0) AS {name}_' for name in (*_SUMS, 'held_nanos'))} FROM lines"
    )
    if groups:
        names = ", ".join("day_" if name == "day" else name for name in by)
        query += f" GROUP BY {names} HAVING count_ != 0 ORDER BY cost_nanos_ DESC"
    given = tuple(where.values())
    found = db.execute(query, (first_day, *given, since_s, first_day * DAY_S, *given, since_s, *given))
    return [_line(by, row) for row in found]


def _line(by: Sequence[str], row: Sequence[str | int]) -> Summary:
    numbers = [int(value) for value in row[len(by) :]]
    requests, input_tokens, cached, output_tokens, cost, presumed, held = numbers
    group = dict(zip(by, map(str, row), strict=False))
    return Summary(group, requests, input_tokens, cached, output_tokens, cost, held, presumed)
