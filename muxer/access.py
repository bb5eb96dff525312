"""Who asks: from the headers of a request to a caller. Only digests of keys are kept."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from msgspec import Struct

from muxer.errors import InvalidAPIKey
from muxer.types import Caller

ANONYMOUS = Caller(key="anonymous", user="anonymous")


def digest(secret: str) -> str:
    """The SHA-256 of a key in hex. Keys are long random words, so a slow hash would add nothing (RELIABILITY 4)."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def credential(headers: Mapping[str, str]) -> str:
    """The key a request brings, from `Authorization: Bearer` or `x-api-key`; empty when it brings none."""
    authorization = headers.get("Authorization", "")
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    return headers.get("x-api-key", "").strip()


class Known(Struct, frozen=True):
    """One key: its digest and who it stands for."""

    digest: str
    caller: Caller


class Keys:
    """The keys of a configuration. With none, everybody is `anonymous`."""

    def __init__(self, known: Iterable[Known]) -> None:
        self._by_digest = {key.digest: key for key in known}

    @property
    def is_open(self) -> bool:
        """Whether nobody needs a key."""
        return not self._by_digest

    def caller(self, headers: Mapping[str, str]) -> Caller:
        """Who sent these headers. Raises InvalidAPIKey; an unknown key takes as long as a known one (B42)."""
        if self.is_open:
            return ANONYMOUS
        secret = credential(headers)
        if not secret:
            raise InvalidAPIKey("no API key: send it as `Authorization: Bearer KEY` or `x-api-key: KEY`")
        asked = digest(secret)
        # The look-up is by digest, whose value an attacker cannot steer; the comparison is for the last doubt.
        found = self._by_digest.get(asked)
        if found is None or not hmac.compare_digest(found.digest, asked):
            raise InvalidAPIKey("the API key is not known; check it for a missing part, or ask who runs this proxy")
        return found.caller


def may_use(caller: Caller, model: str) -> bool:
    """Whether the caller's key allows this model name."""
    return not caller.models or any(fnmatchcase(model, pattern) for pattern in caller.models)
