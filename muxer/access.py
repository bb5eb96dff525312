"""Who asks: from the headers of a request to a caller. Only digests of keys are kept."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from msgspec import Struct

from muxer.errors import AuthenticatorUnavailable, InvalidAPIKey, KeyDisabled
from muxer.fence import ComponentFailed, Fence
from muxer.interfaces import Authenticator
from muxer.keyring import Keyring, Known
from muxer.keys import PREFIX, moment
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


class Keys:
    """The keys of a configuration, and those of its store. `now` gives Unix seconds."""

    def __init__(self, known: Iterable[Known], stored: Keyring, now: Callable[[], float] = time.time) -> None:
        self._by_digest = {key.digest: key for key in known}
        self._stored = stored
        self._now = now

    async def is_empty(self) -> bool:
        """Whether none is in the file, and none was ever made in the store. Raises StoreUnavailable when that cannot
        be known."""
        return not self._by_digest and await self._stored.is_empty()

    async def caller(self, headers: Mapping[str, str]) -> Caller:
        """Who sent these headers. Raises InvalidAPIKey, KeyDisabled (B44), or StoreUnavailable when only the store
        could tell. How long it takes says nothing of how much of a key was right (B42)."""
        secret = credential(headers)
        if not secret:
            raise InvalidAPIKey("no API key: send it as `Authorization: Bearer KEY` or `x-api-key: KEY`")
        asked = digest(secret)
        found = self._by_digest.get(asked)
        if found is None and secret.startswith(PREFIX):
            found = await self._stored.find(asked)
        # The look-up is by digest, whose value an attacker cannot steer; the comparison is for the last doubt.
        if found is None or not hmac.compare_digest(found.digest, asked):
            raise InvalidAPIKey("the API key is not known; check it for a missing part, or ask who runs this proxy")
        return admitted(found, self._now())


def admitted(known: Known, now: float) -> Caller:
    """The caller of a key that works at that time, in Unix seconds. Raises KeyDisabled (B44)."""
    if known.is_revoked:
        raise KeyDisabled("the API key was revoked; ask who runs this proxy for another")
    if known.expires_at is not None and now >= known.expires_at:
        raise KeyDisabled(f"the API key expired at {moment(known.expires_at)}; ask who runs this proxy for another")
    return known.caller


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

    async def is_open(self) -> bool:
        """Whether nobody needs to say who it is. Raises StoreUnavailable when that cannot be known."""
        return not self._doorkeepers and await self._keys.is_empty()

    async def caller(self, headers: Mapping[str, str]) -> Caller:
        """Who sent these headers. Raises InvalidAPIKey, KeyDisabled, AuthenticatorUnavailable, StoreUnavailable."""
        if await self.is_open():
            return ANONYMOUS
        try:
            return await self._keys.caller(headers)
        except KeyDisabled:
            raise  # nobody else may let in again who was shut out
        except InvalidAPIKey:
            for doorkeeper in self._doorkeepers:
                found = await doorkeeper.caller(headers)
                if found is not None:
                    return found
            raise


def may_use(caller: Caller, model: str) -> bool:
    """Whether the caller's key allows this model name."""
    return not caller.models or any(fnmatchcase(model, pattern) for pattern in caller.models)
