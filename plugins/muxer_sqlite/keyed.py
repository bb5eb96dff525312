"""Requests by the keys of their callers, as rows."""

import sqlite3

from muxer import KEYED_S, KeyedRequest

DDL = (
    """
CREATE TABLE IF NOT EXISTS keyed (
  digest TEXT PRIMARY KEY,  -- of the caller and their Idempotency-Key
  body TEXT NOT NULL,       -- the SHA-256 of what was asked
  id TEXT NOT NULL,
  at REAL NOT NULL
) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS keyed_by_time ON keyed (at)",
)
_MOST_REMOVED = 10  # by each new one, so that none waits long


def first_of(db: sqlite3.Connection, keyed: KeyedRequest, instead_of: str) -> KeyedRequest:
    """See RemembersKeyed."""
    old = "SELECT digest FROM keyed WHERE at <= ? ORDER BY at LIMIT ?"
    db.execute(f"DELETE FROM keyed WHERE digest IN ({old})", (keyed.at - KEYED_S, _MOST_REMOVED))
    db.execute(
        "INSERT INTO keyed (digest, body, id, at) VALUES (?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET "
        "body = excluded.body, id = excluded.id, at = excluded.at WHERE id = ? OR at <= ?",
        (keyed.digest, keyed.body, keyed.id, keyed.at, instead_of, keyed.at - KEYED_S),
    )
    body, id, at = db.execute("SELECT body, id, at FROM keyed WHERE digest = ?", (keyed.digest,)).fetchone()
    return KeyedRequest(digest=keyed.digest, body=body, id=id, at=at)


def forget(db: sqlite3.Connection, keyed: KeyedRequest) -> None:
    """See RemembersKeyed."""
    db.execute("DELETE FROM keyed WHERE digest = ? AND id = ?", (keyed.digest, keyed.id))
