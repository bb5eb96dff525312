"""The tables of the embedded store, and how a file of an older version gets what it lacks."""

import sqlite3
from collections.abc import Iterator

from muxer import Transactions
from muxer_sqlite import feedback, keyed, keys
from muxer_sqlite.rows import COLUMNS, Column
from muxer_sqlite.totals import INDEX, INDEX_NAME, TABLE, TRIGGERS, fill

VERSION = 3
_HAS_TOTALS = 2  # since that version
# While one process brings an old file up to date, its siblings wait for it.
_MIGRATION_S = 60.0

_DOLLARS = "printf('%d.%09d', {0} / 1000000000, {0} % 1000000000)"


def _declared(column: Column, *, has_default: bool) -> str:
    default = f" DEFAULT {column.default}" if has_default else ""
    return f"{column.name} {column.sql_type}{'' if column.may_be_null else ' NOT NULL'}{default}"


_STATEMENTS = (
    f"""
CREATE TABLE IF NOT EXISTS requests (
  {", ".join(_declared(column, has_default=not column.is_required) for column in COLUMNS)},
  cost_usd TEXT AS ({_DOLLARS.format("cost_nanos")}),
  presumed_usd TEXT AS ({_DOLLARS.format("presumed_nanos")}),
  owner TEXT NOT NULL,     -- the process that holds it
  held_nanos INTEGER NOT NULL,
  holds TEXT,              -- JSON of its legs while money is held or presumed for it
  drawn TEXT,              -- JSON of the rates and slots it took, while it is open
  PRIMARY KEY (id)
) WITHOUT ROWID""",
    """
CREATE TABLE IF NOT EXISTS quotas (
  account TEXT PRIMARY KEY,
  value INTEGER NOT NULL   -- slots taken, or the theoretical arrival time in Unix microseconds
) WITHOUT ROWID""",
    """
CREATE TABLE IF NOT EXISTS counters (
  account TEXT NOT NULL,   -- scope, subject and window: user:alice:day
  start INTEGER NOT NULL,  -- when the window began, Unix seconds
  spent INTEGER NOT NULL DEFAULT 0,
  held INTEGER NOT NULL DEFAULT 0,
  presumed INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (account, start)
) WITHOUT ROWID""",
    TABLE,
    INDEX,
    *keys.DDL,
    *keyed.DDL,
    "CREATE INDEX IF NOT EXISTS requests_by_time ON requests (at)",
    "CREATE INDEX IF NOT EXISTS requests_by_user ON requests (user, at)",
    "CREATE INDEX IF NOT EXISTS requests_open ON requests (owner) WHERE state = 'open'",
    "DROP INDEX IF EXISTS requests_presumed",
    "CREATE INDEX IF NOT EXISTS requests_unresolved ON requests (at, presumed_nanos) WHERE presumed_nanos > 0",
)


def prepare(connection: sqlite3.Connection) -> None:
    """Makes what is missing: the tables, or what a file of an older version lacks, all or nothing.

    Raises sqlite3.DatabaseError for a file of a later version.
    """
    if _version(connection) == VERSION and _has_index(connection) and not list(_missing(connection)):
        return
    Transactions(connection, patience_s=_MIGRATION_S).run([_bring_up_to_date])


def _bring_up_to_date(connection: sqlite3.Connection) -> None:
    found = _version(connection)
    for statement in _STATEMENTS:
        connection.execute(statement)
    for column in _missing(connection):
        connection.execute(f"ALTER TABLE requests ADD COLUMN {_declared(column, has_default=True)}")
    if found < _HAS_TOTALS:
        fill(connection)
    for statement in (*TRIGGERS, feedback.INDEX):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _version(connection: sqlite3.Connection) -> int:
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > VERSION:
        raise sqlite3.DatabaseError(
            f"the file was written by a later version (schema {found}, this one knows {VERSION})"
        )
    return int(found)


def _has_index(connection: sqlite3.Connection) -> bool:
    """Whether the file has what came last."""
    return connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (INDEX_NAME,)).fetchone() is not None


def _missing(connection: sqlite3.Connection) -> Iterator[Column]:
    """The columns of a record that the table does not have: fields that came after the file."""
    there = {name for _, name, *_ in connection.execute("PRAGMA table_info(requests)")}
    return (column for column in COLUMNS if column.name not in there)
