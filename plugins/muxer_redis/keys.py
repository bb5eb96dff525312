"""Keys as they are kept: JSON by digest, and beside it when they were revoked."""

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from muxer import StoredKey

encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(StoredKey).decode


class _Row(Struct, frozen=True, array_like=True):
    json: bytes
    revoked_at: bytes


def read(reply: object) -> list[StoredKey]:
    """The keys of a script's reply, the oldest first."""
    rows = msgspec.convert(reply, list[_Row])
    found = [replace(_decode(row.json), revoked_at=float(row.revoked_at) if row.revoked_at else None) for row in rows]
    return sorted(found, key=lambda key: (key.created_at, key.id))
