"""What was recorded, read back: on a connection of its own, so that a long read never delays a request."""

import sqlite3
from collections.abc import Mapping, Sequence

from muxer import Record, Summary
from muxer_sqlite.schema import COLUMNS, from_row

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM requests"
_GROUPS = {name: name for name in ("user", "team", "key", "route", "model", "provider", "state", "config")} | {
    "day": "strftime('%Y-%m-%d', at, 'unixepoch')"
}
_FILTERS = ("user", "team", "key", "route", "model", "provider", "state")
PAGE = 500


def record(db: sqlite3.Connection, id: str) -> Record | None:
    """One record by its id."""
    row = db.execute(f"{_SELECT} WHERE id = ?", (id,)).fetchone()
    return from_row(row) if row else None


def page(
    db: sqlite3.Connection, since_s: float, where: Mapping[str, str], before: tuple[float, str], limit: int
) -> list[Record]:
    """Records older than `before` (time, id), newest first."""
    conditions, values = _conditions(where)
    query = f"{_SELECT} WHERE at >= ? AND (at, id) < (?, ?){conditions} ORDER BY at DESC, id DESC LIMIT ?"
    rows = db.execute(query, (since_s, *before, *values, limit))
    return [from_row(row) for row in rows]


def summary(db: sqlite3.Connection, by: Sequence[str], since_s: float, where: Mapping[str, str]) -> list[Summary]:
    """Spend by groups, dearest first. Raises KeyError for a field that cannot be grouped by."""
    groups = [_GROUPS[name] for name in by]
    conditions, values = _conditions(where)
    query = (
        f"SELECT {''.join(group + ', ' for group in groups)}count(*), "
        "coalesce(sum(input_tokens), 0), coalesce(sum(cached_input_tokens), 0), "
        "coalesce(sum(output_tokens), 0), coalesce(sum(cost_nanos), 0), coalesce(sum(held_nanos), 0), "
        "coalesce(sum(presumed_nanos), 0) FROM requests "
        f"WHERE at >= ?{conditions}"
        + (f" GROUP BY {', '.join(groups)} ORDER BY sum(cost_nanos) DESC" if groups else "")
    )
    return [_summary(by, row) for row in db.execute(query, (since_s, *values))]


def presumed(db: sqlite3.Connection, limit: int) -> list[Record]:
    """Requests whose cost is not known, the newest first."""
    query = f"{_SELECT} WHERE presumed_nanos > 0 AND state != 'open' ORDER BY at DESC LIMIT ?"
    return [from_row(row) for row in db.execute(query, (limit,))]


def held(db: sqlite3.Connection) -> tuple[int, int]:
    """Nano-dollars held by open requests, and presumed by unresolved ones."""
    (open_nanos,) = db.execute("SELECT coalesce(sum(held_nanos), 0) FROM requests WHERE state = 'open'").fetchone()
    query = "SELECT coalesce(sum(presumed_nanos), 0) FROM requests WHERE presumed_nanos > 0"
    (presumed,) = db.execute(query).fetchone()
    return open_nanos, presumed


def _conditions(where: Mapping[str, str]) -> tuple[str, list[str]]:
    unknown = set(where) - set(_FILTERS)
    if unknown:
        raise KeyError(f"records cannot be filtered by {', '.join(sorted(unknown))}")
    return "".join(f" AND {name} = ?" for name in where), list(where.values())


def _summary(by: Sequence[str], row: tuple[object, ...]) -> Summary:
    group = dict(zip(by, map(str, row), strict=False))
    requests, input_tokens, cached, output_tokens, cost, held, presumed = (int(str(value)) for value in row[len(by) :])
    return Summary(
        group=group,
        requests=requests,
        input_tokens=input_tokens,
        cached_input_tokens=cached,
        output_tokens=output_tokens,
        cost_nanos=cost,
        held_nanos=held,
        presumed_nanos=presumed,
    )
