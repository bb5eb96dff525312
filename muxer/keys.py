"""What a key in the store is: who it stands for, and how a store keeps it. The secret itself is never kept."""

from datetime import UTC, datetime
from typing import Annotated, Protocol, runtime_checkable

from msgspec import Meta, Struct

from muxer.limits import Amounts
from muxer.types import Role

PREFIX = "mux_"
"""How every key that was made here begins: `mux_ID_SECRET`."""


_Text = Annotated[str, Meta(max_length=256)]
_Texts = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...], Meta(max_length=100)]


class NewKey(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All that can be said of a key when it is made; nothing can be changed later (B48). `metadata` is the maker's own:
    kept and shown, and acted on by nobody."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    user: _Text = ""
    team: _Text = ""
    tags: _Texts = ()
    models: _Texts = ()
    role: Role = "user"
    expires: str | None = None
    limits: Annotated[tuple[Amounts, ...], Meta(max_length=20)] = ()
    metadata: dict[str, object] = {}


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
    metadata: dict[str, object] = {}
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

    async def has_keys(self) -> bool:
        """Whether a key was ever made, without reading them."""

    async def revoke_key(self, id: str, at: float) -> StoredKey | None:
        """Marks a key as revoked and gives it as it then is; None when there is none. The first revocation stands."""


def instant(words: str) -> float:
    """The Unix seconds of an ISO time. Raises ValueError, which says how to write one."""
    try:
        time = datetime.fromisoformat(words)
        if time.tzinfo is not None:
            return time.astimezone(UTC).timestamp()  # in UTC it may fall out of the years there are
    except (ValueError, OverflowError):
        pass
    raise ValueError("write it with its zone, such as 2027-01-31T00:00:00Z")


def moment(at: float) -> str:
    """Unix seconds as an ISO time in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
