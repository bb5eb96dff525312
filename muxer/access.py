"""Who asks: from the headers of a request to a caller. Only digests of keys are kept."""

import asyncio
import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from msgspec import Struct

from muxer.errors import AuthenticatorUnavailable, InvalidAPIKey
from muxer.fence import ComponentFailed, Fence
from muxer.interfaces import Authenticator
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
    """The keys of a configuration."""

    def __init__(self, known: Iterable[Known]) -> None:
        self._by_digest = {key.digest: key for key in known}

    @property
    def is_open(self) -> bool:
        """Whether there is none."""
        return not self._by_digest

    def caller(self, headers: Mapping[str, str]) -> Caller:
        """Who sent these headers. Raises InvalidAPIKey; an unknown key takes as long as a known one (B42)."""
        secret = credential(headers)
        if not secret:
            raise InvalidAPIKey("no API key: send it as `Authorization: Bearer KEY` or `x-api-key: KEY`")
        asked = digest(secret)
        # The look-up is by digest, whose value an attacker cannot steer; the comparison is for the last doubt.
        found = self._by_digest.get(asked)
        if found is None or not hmac.compare_digest(found.digest, asked):
            raise InvalidAPIKey("the API key is not known; check it for a missing part, or ask who runs this proxy")
        return found.caller


AUTHENTICATOR_DEADLINE_S = 5.0


class Doorkeeper(Struct, frozen=True):
    """An authenticator behind its fence."""

    authenticator: Authenticator
    fence: Fence

    async def caller(self, headers: Mapping[str, str]) -> Caller | None:
        """Who sent these headers, or None. Raises InvalidAPIKey, and AuthenticatorUnavailable when it cannot tell."""
        name = self.fence.component
        if self.fence.is_closed:
            raise AuthenticatorUnavailable(f"the {name} fails; see the log of the proxy, or try again in a minute")
        try:
            with self.fence.around(InvalidAPIKey):
                async with asyncio.timeout(AUTHENTICATOR_DEADLINE_S):
                    found: object = await self.authenticator.caller(headers)
        except ComponentFailed as error:
            raise AuthenticatorUnavailable(f"the {name} failed; see the log of the proxy") from error
        if found is None or isinstance(found, Caller):
            self.fence.succeeded()
            return found
        self.fence.failed("junk", detail=f"it returned a {type(found).__name__}, no Caller")
        raise AuthenticatorUnavailable(f"the {name} failed; see the log of the proxy")


class Callers:
    """Everybody who may call: by the keys, then by the authenticators in the order of the file."""

    def __init__(self, keys: Keys, doorkeepers: Sequence[Doorkeeper] = ()) -> None:
        self._keys = keys
        self._doorkeepers = tuple(doorkeepers)

    @property
    def is_open(self) -> bool:
        """Whether nobody needs to say who it is."""
        return self._keys.is_open and not self._doorkeepers

    async def caller(self, headers: Mapping[str, str]) -> Caller:
        """Who sent these headers. Raises InvalidAPIKey, AuthenticatorUnavailable."""
        if self.is_open:
            return ANONYMOUS
        try:
            return self._keys.caller(headers)
        except InvalidAPIKey:
            for doorkeeper in self._doorkeepers:
                found = await doorkeeper.caller(headers)
                if found is not None:
                    return found
            raise


def may_use(caller: Caller, model: str) -> bool:
    """Whether the caller's key allows this model name."""
    return not caller.models or any(fnmatchcase(model, pattern) for pattern in caller.models)
