"""Removing what is old and giving its room back, in steps so small that no request notices one."""

import sqlite3

from muxer_sqlite.totals import DAY_S

# A month, and 35 days for a clock that was wrong or an operator who looks back.
_COUNTERS_S = 67 * DAY_S
_STEP_PAGES = 64
_SLACK_PAGES = 1_000

Place = tuple[float | str, int | str]
BEGIN_RECORDS: Place = (-1.0, "")
BEGIN_COUNTERS: Place = ("", 0)


def remove_records(db: sqlite3.Connection, now: float, days: int, after: Place, most: int) -> Place | None:
    """Looks at the next `most` records older than so many whole days in UTC and removes those that are finished and
    whose cost is known; returns where to go on, None at the end."""
    before = (now // DAY_S - days) * DAY_S
    rows = db.execute(
        "SELECT at, id, state != 'open' AND presumed_nanos = 0 FROM requests INDEXED BY requests_by_time "
        "WHERE (at, id) > (?, ?) AND at < ? ORDER BY at, id LIMIT ?",
        (*after, before, most),
    ).fetchall()
    db.executemany("DELETE FROM requests WHERE id = ?", [(id,) for _, id, may_go in rows if may_go])
    return None if len(rows) < most else (rows[-1][0], rows[-1][1])


def remove_counters(db: sqlite3.Connection, now: float, after: Place, most: int) -> Place | None:
    """The same for counters whose window is long over and in which nothing is held or presumed. One without end (it
    begins at 0) stays."""
    query = "SELECT account, start, spent FROM counters WHERE (account, start) > (?, ?) ORDER BY account, start LIMIT ?"
    rows = db.execute(query, (*after, most)).fetchall()
    old = [(account, start) for account, start, _ in rows if 0 < start < now - _COUNTERS_S]
    db.executemany("DELETE FROM counters WHERE account = ? AND start = ? AND held = 0 AND presumed = 0", old)
    return None if len(rows) < most else (rows[-1][0], rows[-1][1])


def give_back(db: sqlite3.Connection) -> bool:
    """Cuts some free pages off the end of a file that has many; whether there is more to cut. A file made before this
    was possible keeps its free pages for what comes."""
    (mode,), (free,), (pages,) = (
        db.execute(f"PRAGMA {name}").fetchone() for name in ("auto_vacuum", "freelist_count", "page_count")
    )
    if mode != 2 or free <= max(_SLACK_PAGES, pages // 10):
        return False
    db.execute(f"PRAGMA incremental_vacuum({_STEP_PAGES})").fetchall()  # a row per page: unread, it stops at the first
    return True
