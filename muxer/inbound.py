"""A request as it came in, whichever format its caller speaks."""

from collections.abc import Mapping

from msgspec import Struct, field

from muxer.types import ChatRequest


class IdempotencyKey(Struct, frozen=True):
    """A caller's name for one request that they may send again (S13), and the SHA-256 of the body it came with."""

    name: str
    body: str


class Inbound(Struct, frozen=True, kw_only=True):
    """Its format, its bytes, what they say, and the headers that matter.

    `untranslated` names fields that `request` has no place for: they are lost unless the bytes are passed on. Without
    `is_priced` something in the bytes costs more than the price table says, or nobody knows what (S3). `headers` may
    go upstream, to a provider that speaks `api`. `raw_api` is the format of `raw` where a guard's change has made it
    another than `api`. `wants_debug`: the answer is to tell how it was decided."""

    api: str
    raw: bytes
    request: ChatRequest
    tags: tuple[str, ...] = ()
    conversation: str = ""
    untranslated: tuple[str, ...] = ()
    is_priced: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    raw_api: str = ""
    wants_debug: bool = False
    idempotency: IdempotencyKey | None = None

    @property
    def sent_api(self) -> str:
        """The format `raw` is in."""
        return self.raw_api or self.api
