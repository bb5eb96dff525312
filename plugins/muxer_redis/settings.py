"""What can be set for the store."""

from typing import Annotated

from msgspec import Meta, Struct

from muxer import Secret


class RedisSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`url` holds user and password; all replicas that share budgets name the same server and `domain`."""

    url: Secret
    domain: Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]+$")] = "default"
    require_persistence: bool = False
    timeout_s: Annotated[float, Meta(gt=0, le=5)] = 0.25
    sentinels: tuple[Annotated[str, Meta(pattern=r"^.+:\d+$")], ...] = ()
    sentinel_master: str = "mymaster"
    cluster: bool = False
    journal: str = "muxer.journal.db"
    ca_file: str | None = None
    record_days: Annotated[int, Meta(ge=1)] = 30

    @property
    def prefix(self) -> str:
        """What the keys of the domain begin with; the braces keep them in one slot of a cluster."""
        return f"{{muxer:{self.domain}}}:"
