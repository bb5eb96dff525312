"""What a key in the store is: who it stands for, and how a store keeps it. The secret itself is never kept."""

from datetime import UTC, datetime
from typing import Protocol, runtime_checkable

from msgspec import Struct

from muxer.limits import Amounts
from muxer.types import Role

PREFIX = "mux_"
"""How every key that was made here begins: `mux_ID_SECRET`."""


class StoredKey(Struct, frozen=True, kw_only=True):
    """One key: its public `id`, the SHA-256 of the whole key in hex, and who it stands for. Times are Unix seconds."""

    id: str
    digest: str
    name: str
    user: str
    team: str = ""
    tags: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    role: Role = "user"
    limits: tuple[Amounts, ...] = ()
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None


@runtime_checkable
class KeepsKeys(Protocol):
    """A store that also keeps keys, for as long as it keeps anything. Raises StoreUnavailable as its other calls do."""

    async def add_key(self, key: StoredKey) -> bool:
        """Keeps a new key; False, and nothing is kept, while another that is not revoked has its name. The same id
        again changes nothing and is True (I6)."""

    async def key(self, digest: str) -> StoredKey | None:
        """The key of that digest, revoked or not."""

    async def keys(self) -> list[StoredKey]:
        """Every key ever made, the oldest first."""

    async def revoke_key(self, id: str, at: float) -> StoredKey | None:
        """Marks a key as revoked and gives it as it then is; None when there is none. The first revocation stands."""


def instant(words: str) -> float:
    """The Unix seconds of an ISO time. Raises ValueError, which says how to write one."""
    try:
        time = datetime.fromisoformat(words)
        if time.tzinfo is not None:
            return time.timestamp()
    except (ValueError, OverflowError):
        pass
    raise ValueError("write it with its zone, such as 2027-01-31T00:00:00Z")


def moment(at: float) -> str:
    """Unix seconds as an ISO time in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
