"""Keys as they are kept: JSON by digest, and beside it when they were revoked."""

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from muxer import StoredKey
from muxer_redis.calls import Calls

_PAGE = "200"
encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(StoredKey).decode


class _Row(Struct, frozen=True, array_like=True):
    json: bytes
    revoked_at: bytes


class _Page(Struct, frozen=True, array_like=True):
    cursor: bytes
    rows: list[_Row]


def read(reply: object) -> list[StoredKey]:
    """The keys of a script's reply."""
    return [_key(row) for row in msgspec.convert(reply, list[_Row])]


async def every(calls: Calls, now: str) -> list[StoredKey]:
    """All keys, the oldest first; asked for in pages, since a server does one thing at a time."""
    found: dict[str, StoredKey] = {}
    cursor = b"0"
    while True:
        page = msgspec.convert(await calls.run("keys", now, cursor, _PAGE), _Page)
        found |= {key.id: key for key in map(_key, page.rows)}
        cursor = page.cursor
        if cursor == b"0":
            return sorted(found.values(), key=lambda key: (key.created_at, key.id))


def _key(row: _Row) -> StoredKey:
    return replace(_decode(row.json), revoked_at=float(row.revoked_at) if row.revoked_at else None)
