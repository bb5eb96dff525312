"""The keys of the store as requests meet them: found by digest, each answer remembered for a few seconds."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec import Struct

from muxer import measurements
from muxer.budgets import key_lines
from muxer.errors import StoreUnavailable
from muxer.interfaces import Meter
from muxer.keys import KeepsKeys, StoredKey
from muxer.types import Caller

T = TypeVar("T")
TTL_S = 5.0
"""How long an answer of the store is believed: by then a revoked key is refused by every replica."""

DEADLINE_S = 2.0
_MOST_KNOWN = 10_000
_MOST_UNKNOWN = 1_000


class Known(Struct, frozen=True, kw_only=True):
    """One key: its digest, who it stands for, and until when (Unix seconds; None: for ever)."""

    digest: str
    caller: Caller
    expires_at: float | None = None
    is_revoked: bool = False


class _Remembered:
    """Answers by digest, each until it is too old; of more than `most` those unused for longest are forgotten."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._answers: OrderedDict[str, tuple[float, Known | None]] = OrderedDict()

    def get(self, digest: str, now: float) -> tuple[Known | None] | None:
        """The answer, in a tuple since it may be None itself; None when there is none any more."""
        until, known = self._answers.get(digest, (now, None))
        if until <= now:
            return None
        self._answers.move_to_end(digest)
        return (known,)

    def put(self, digest: str, known: Known | None, until: float) -> None:
        self._answers[digest] = (until, known)
        self._answers.move_to_end(digest)
        if len(self._answers) > self._most:
            self._answers.popitem(last=False)

    def drop(self, digest: str) -> None:
        self._answers.pop(digest, None)


class Keyring:
    """Looks keys up in a store, if it keeps any. `now` is a monotonic clock in seconds.

    Digests that nobody has are remembered apart, so that guesses push no key out and cannot grow memory.
    """

    def __init__(
        self,
        store: KeepsKeys | None,
        meter: Meter,
        now: Callable[[], float] = time.monotonic,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._store = store
        self._meter = meter
        self._now = now
        self._deadline_s = deadline_s
        self._known = _Remembered(_MOST_KNOWN)
        self._unknown = _Remembered(_MOST_UNKNOWN)
        self._revocations = 0
        self._has_keys = False
        self._look_again_at = 0.0

    async def is_empty(self) -> bool:
        """Whether no key was ever made in the store; once one was, a revoked one included, that never changes back.
        Raises StoreUnavailable."""
        if self._store is None:
            return True
        now = self._now()
        if not self._has_keys and now >= self._look_again_at:
            self._has_keys = await self._asked(self._store.has_keys())
            self._look_again_at = now + TTL_S
        return not self._has_keys

    async def find(self, digest: str) -> Known | None:
        """The key of that digest, expired and revoked ones too. Raises StoreUnavailable when it is not remembered and
        the store does not answer."""
        if self._store is None:
            return None
        now = self._now()
        remembered = self._known.get(digest, now) or self._unknown.get(digest, now)
        if remembered is not None:
            return remembered[0]
        revocations = self._revocations
        stored = await self._asked(self._store.key(digest))
        found = None if stored is None else known(stored)
        if revocations == self._revocations:  # else this answer may be from before the revocation
            (self._unknown if found is None else self._known).put(digest, found, now + TTL_S)
        return found

    def forget(self, digest: str) -> None:
        """Asks the store anew about this key: it has just been revoked or made."""
        self._revocations += 1
        self._known.drop(digest)
        self._unknown.drop(digest)

    async def _asked(self, work: Awaitable[T]) -> T:
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(self._deadline_s):
                return await work
        except TimeoutError as error:
            self._meter.add(measurements.STORE_ERRORS, 1, "timeout")
            raise StoreUnavailable("API keys cannot be checked: the store did not answer in time") from error
        except StoreUnavailable:
            self._meter.add(measurements.STORE_ERRORS, 1, "unavailable")
            raise
        finally:
            self._meter.observe(measurements.STORE_SECONDS, time.perf_counter() - begun, "key")


def known(key: StoredKey) -> Known:
    """A key of the store as requests meet it."""
    caller = Caller(
        key=key.name,
        user=key.user,
        team=key.team,
        tags=key.tags,
        models=key.models,
        role=key.role,
        # Limits of all stored keys share names, since names are labels of metrics (B73); accounts are each key's own.
        limits=key_lines(key.limits, "*", f"key_id:{key.id}"),
    )
    return Known(digest=key.digest, caller=caller, expires_at=key.expires_at, is_revoked=key.revoked_at is not None)
