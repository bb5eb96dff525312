"""What was recorded, read back: on a connection of its own, so that a long read never delays a request."""

import sqlite3
from collections.abc import Mapping

from muxer import Record
from muxer_sqlite.rows import NAMES, from_row

_SELECT = f"SELECT {', '.join(NAMES)} FROM requests"
_FILTERS = ("user", "team", "key", "route", "model", "provider", "state")
PAGE = 100  # five hundred records are 2 MB, which the process would keep


def record(db: sqlite3.Connection, id: str) -> Record | None:
    """One record by its id."""
    row = db.execute(f"{_SELECT} WHERE id = ?", (id,)).fetchone()
    return from_row(row) if row else None


def conditions(where: Mapping[str, str]) -> str:
    """The end of a WHERE for these values of fields. Raises KeyError for a field that cannot be filtered by."""
    unknown = set(where) - set(_FILTERS)
    if unknown:
        raise KeyError(f"records cannot be filtered by {', '.join(sorted(unknown))}")
    return "".join(f" AND {name} = ?" for name in where)


def page(
    db: sqlite3.Connection, since_s: float, where: Mapping[str, str], before: tuple[float, str], limit: int
) -> list[Record]:
    """Records older than `before` (time, id), newest first."""
    query = f"{_SELECT} WHERE at >= ? AND (at, id) < (?, ?){conditions(where)} ORDER BY at DESC, id DESC LIMIT ?"
    rows = db.execute(query, (since_s, *before, *where.values(), limit))
    return [from_row(row) for row in rows]


def presumed(db: sqlite3.Connection, limit: int) -> list[Record]:
    """Requests whose cost is not known, the newest first."""
    query = (
        f"{_SELECT} INDEXED BY requests_unresolved WHERE presumed_nanos > 0 AND state != 'open' "
        "ORDER BY at DESC LIMIT ?"
    )
    return [from_row(row) for row in db.execute(query, (limit,))]


def held(db: sqlite3.Connection) -> tuple[int, int]:
    """Nano-dollars held by open requests, and presumed by unresolved ones."""
    (open_nanos,) = db.execute("SELECT coalesce(sum(held_nanos), 0) FROM requests WHERE state = 'open'").fetchone()
    query = "SELECT coalesce(sum(presumed_nanos), 0) FROM requests WHERE presumed_nanos > 0"
    (presumed,) = db.execute(query).fetchone()
    return open_nanos, presumed
