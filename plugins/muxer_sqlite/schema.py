"""The tables of the embedded store, and how a record becomes a row and back."""

import sqlite3
from collections.abc import Iterable
from typing import Any

import msgspec

from muxer import Record, Usage
from muxer_sqlite import keys

VERSION = 1

_TEXT = (
    "id", "api", "state", "user", "key", "team", "end_user", "conversation", "requested_model", "route", "reason",
    "model", "provider", "error", "config", "prices",
)  # fmt: skip
_INTEGERS = (
    "estimate_tokens", "bound_tokens", "cost_nanos", "presumed_nanos", "expected_nanos", "saved_nanos",
    "status", "client_gone", "schema",
)  # fmt: skip
_REALS = ("at", "ms", "first_byte_ms")
_JSON = ("tags", "signals", "needs", "excluded", "attempts", "notes")
_TOKENS = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens")
COLUMNS = (*_TEXT, *_INTEGERS, *_REALS, *_JSON, *_TOKENS)

_DOLLARS = "printf('%d.%09d', {0} / 1000000000, {0} % 1000000000)"
_DDL = f"""
CREATE TABLE IF NOT EXISTS requests (
  {", ".join(f"{name} TEXT NOT NULL" for name in (*_TEXT, *_JSON))},
  {", ".join(f"{name} INTEGER NOT NULL" for name in (*_INTEGERS, *_TOKENS))},
  {", ".join(f"{name} REAL NOT NULL" for name in _REALS)},
  cost_usd TEXT AS ({_DOLLARS.format("cost_nanos")}),
  presumed_usd TEXT AS ({_DOLLARS.format("presumed_nanos")}),
  owner TEXT NOT NULL,     -- the process that holds it
  held_nanos INTEGER NOT NULL,
  holds TEXT,              -- JSON of its legs while money is held or presumed for it
  drawn TEXT,              -- JSON of the rates and slots it took, while it is open
  PRIMARY KEY (id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS requests_by_time ON requests (at);
CREATE INDEX IF NOT EXISTS requests_by_user ON requests (user, at);
CREATE INDEX IF NOT EXISTS requests_open ON requests (owner) WHERE state = 'open';
CREATE INDEX IF NOT EXISTS requests_presumed ON requests (presumed_nanos) WHERE presumed_nanos > 0;
CREATE TABLE IF NOT EXISTS quotas (
  account TEXT PRIMARY KEY,
  value INTEGER NOT NULL   -- slots taken, or the theoretical arrival time in Unix microseconds
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (
  account TEXT NOT NULL,   -- scope, subject and window: user:alice:day
  start INTEGER NOT NULL,  -- when the window began, Unix seconds
  spent INTEGER NOT NULL DEFAULT 0,
  held INTEGER NOT NULL DEFAULT 0,
  presumed INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (account, start)
) WITHOUT ROWID;
"""


def create(connection: sqlite3.Connection) -> None:
    """Makes the tables where they are missing. Raises sqlite3.DatabaseError for a file of a later version."""
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > VERSION:
        raise sqlite3.DatabaseError(
            f"the file was written by a later version (schema {found}, this one knows {VERSION})"
        )
    connection.executescript(_DDL + keys.DDL)
    connection.execute(f"PRAGMA user_version = {VERSION}")


_encode = msgspec.json.Encoder().encode
_DECODERS = {
    name: msgspec.json.Decoder(field.type)
    for field in msgspec.structs.fields(Record)
    for name in [field.name]
    if name in _JSON
}


def to_row(record: Record) -> dict[str, Any]:
    """The columns of a record."""
    row: dict[str, Any] = {name: getattr(record, name) for name in (*_TEXT, *_INTEGERS, *_REALS)}
    for name in _JSON:
        row[name] = _encode(getattr(record, name)).decode()
    for name in _TOKENS:
        row[name] = getattr(record.usage, name)
    return row


def from_row(row: Iterable[Any]) -> Record:
    """The record of a row selected as COLUMNS."""
    fields: dict[str, Any] = dict(zip(COLUMNS, row, strict=True))
    usage = Usage(**{name: fields.pop(name) for name in _TOKENS})
    for name, decoder in _DECODERS.items():
        fields[name] = decoder.decode(fields[name])
    fields["client_gone"] = bool(fields["client_gone"])
    return Record(usage=usage, **fields)
