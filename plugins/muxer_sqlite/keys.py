"""Keys as rows: found by digest, never removed."""

import sqlite3

import msgspec
from msgspec.structs import replace

from muxer import StoredKey

DDL = (
    """
CREATE TABLE IF NOT EXISTS keys (
  id TEXT PRIMARY KEY,
  digest TEXT NOT NULL UNIQUE,  -- the SHA-256 of the key; the key itself is nowhere
  name TEXT NOT NULL,
  created_at REAL NOT NULL,
  revoked_at REAL,
  json TEXT NOT NULL
) WITHOUT ROWID""",
    "CREATE UNIQUE INDEX IF NOT EXISTS keys_in_force ON keys (name) WHERE revoked_at IS NULL",
)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(StoredKey).decode


def add(db: sqlite3.Connection, key: StoredKey) -> bool:
    """See KeepsKeys."""
    query = "INSERT OR IGNORE INTO keys (id, digest, name, created_at, revoked_at, json) VALUES (?, ?, ?, ?, ?, ?)"
    row = (key.id, key.digest, key.name, key.created_at, key.revoked_at, _encode(key).decode())
    is_new = db.execute(query, row).rowcount == 1
    return is_new or db.execute("SELECT 1 FROM keys WHERE id = ?", (key.id,)).fetchone() is not None


def find(db: sqlite3.Connection, digest: str) -> StoredKey | None:
    """See KeepsKeys."""
    row = db.execute("SELECT json, revoked_at FROM keys WHERE digest = ?", (digest,)).fetchone()
    return _key(row) if row else None


def every(db: sqlite3.Connection) -> list[StoredKey]:
    """See KeepsKeys."""
    return [_key(row) for row in db.execute("SELECT json, revoked_at FROM keys ORDER BY created_at, id")]


def has_any(db: sqlite3.Connection) -> bool:
    """See KeepsKeys."""
    return db.execute("SELECT 1 FROM keys LIMIT 1").fetchone() is not None


def revoke(db: sqlite3.Connection, id: str, at: float) -> StoredKey | None:
    """See KeepsKeys."""
    db.execute("UPDATE keys SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?", (at, id))
    row = db.execute("SELECT json, revoked_at FROM keys WHERE id = ?", (id,)).fetchone()
    return _key(row) if row else None


def _key(row: tuple[str, float | None]) -> StoredKey:
    return replace(_decode(row[0]), revoked_at=row[1])
