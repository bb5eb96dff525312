"""Requests that their callers may send again: with an `Idempotency-Key` one is served, and charged, once (S13)."""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Protocol, runtime_checkable

from msgspec import Struct

from muxer.errors import InvalidRequest, MuxerError, StoreUnavailable, Unsupported
from muxer.inbound import IdempotencyKey
from muxer.interfaces import Log
from muxer.ledger import Ledger
from muxer.stores import Store
from muxer.types import Caller, Record

KEYED_S = 86_400
"""How long a request is remembered by its key, in seconds."""
_MOST_LEFT, _AT_ONCE = 1_000, 10
_BEGINS_WITHIN_S = 600.0  # one that has no record by then never began: its process died before
_HEADER = "Idempotency-Key"
_KEY = re.compile(r"[!-~]{1,255}")


class KeyedRequest(Struct, frozen=True, kw_only=True):
    """A request under a key: `digest` is of who sent it and their key, `body` of what was asked. Both are SHA-256 in
    hex. `at` is in Unix seconds."""

    digest: str
    body: str
    id: str
    at: float


@runtime_checkable
class RemembersKeyed(Protocol):
    """A store that remembers requests by the keys of their callers, for KEYED_S seconds. Raises StoreUnavailable as its
    other calls do; all are safe to repeat (I6)."""

    async def first_of(self, keyed: KeyedRequest, instead_of: str = "") -> KeyedRequest:
        """Remembers the request unless one with its digest is remembered, and gives the one that then is. In the place
        of the request `instead_of` it is remembered in any case."""

    async def forget_keyed(self, keyed: KeyedRequest) -> None:
        """Forgets this very request; another with its digest stays."""


class IdempotencyKeyInvalid(InvalidRequest):
    """The header is no key (B40)."""

    code = "invalid_idempotency_key"


class IdempotencyMismatch(InvalidRequest):
    """The key came with another body before."""

    status = 422
    code = "idempotency_mismatch"


class IdempotencyInProgress(MuxerError):
    """The same request is being answered."""

    status = 409
    type = "invalid_request_error"
    code = "idempotency_in_progress"

    @property
    def headers(self) -> dict[str, str]:
        """SDKs try again by themselves."""
        return {"Retry-After": "1"}


class IdempotencyDone(MuxerError):
    """The same request was answered before; its answer is not kept."""

    status = 409
    type = "invalid_request_error"
    code = "idempotency_done"

    @property
    def headers(self) -> dict[str, str]:
        """Asking again changes nothing."""
        return {"x-should-retry": "false"}


def idempotency_key(headers: Mapping[str, str], body: bytes) -> IdempotencyKey | None:
    """The key a request brings, if any. Raises IdempotencyKeyInvalid."""
    name = headers.get(_HEADER)
    if name is None:
        return None
    if not _KEY.fullmatch(name):
        raise IdempotencyKeyInvalid(f"{_HEADER} is 1 to 255 visible ASCII characters, such as a UUID")
    return IdempotencyKey(name, _sha256(body))


class Repeats:
    """Tells a first request from one that came before. What the store may remember of a request that came to nothing,
    because it did not answer, it is told to forget as soon as it does."""

    def __init__(self, store: Store, ledger: Ledger, log: Log, clock: Callable[[], float]) -> None:
        self._store = store
        self._ledger = ledger
        self._log = log
        self._clock = clock
        self._left: OrderedDict[str, KeyedRequest] = OrderedDict()

    async def begin(self, sent: IdempotencyKey, caller: Caller, id: str) -> KeyedRequest:
        """Call it before anything is held. Raises IdempotencyInProgress, IdempotencyDone and IdempotencyMismatch for a
        request that came before, Unsupported for a store that cannot tell, and StoreUnavailable."""
        whose = _sha256(f"{caller.key}\0{caller.user}\0{sent.name}".encode())
        keyed = KeyedRequest(digest=whose, body=sent.body, id=id, at=self._clock())
        for left in tuple(islice(self._left.values(), _AT_ONCE)):
            await self._forget(left)
        first = await self._first(keyed)
        if first.id == id:
            return keyed
        if first.body != keyed.body:
            raise IdempotencyMismatch(f"this {_HEADER} came with another body before, in {first.id}; use a new one")
        record = await self._ledger.ask("record", lambda: self._store.record(first.id))
        if _is_free(record) or (record is None and keyed.at - first.at > _BEGINS_WITHIN_S):
            first = await self._first(keyed, instead_of=first.id)
            if first.id == id:
                return keyed
            record = None  # another came in between
        if record is None or record.state == "open":
            raise IdempotencyInProgress(f"the same request is being answered as {first.id}; try again in a moment")
        words = "was answered" if record.state == "done" else "was sent, and may have been billed,"
        raise IdempotencyDone(f"the same request {words} as {first.id}; nothing is charged for this one")

    async def end(self, keyed: KeyedRequest, record: Record) -> None:
        """Call it when the request has ended: one that failed and cost nothing may be sent again."""
        if not _is_free(record):
            return
        try:
            await self._forget(keyed)
        except StoreUnavailable as error:
            self._log("warning", "idempotency_key_stays", id=keyed.id, reason=error.message)

    async def _first(self, keyed: KeyedRequest, instead_of: str = "") -> KeyedRequest:
        store = self._remembering()
        try:
            return await self._ledger.ask("first_of", lambda: store.first_of(keyed, instead_of))
        except BaseException:
            self._leave(keyed)  # the request ends here, and the store may have heard of it
            raise

    async def _forget(self, keyed: KeyedRequest) -> None:
        store = self._remembering()
        try:
            await self._ledger.ask("forget_keyed", lambda: store.forget_keyed(keyed))
        except BaseException:
            self._leave(keyed)
            raise
        self._left.pop(keyed.id, None)

    def _leave(self, keyed: KeyedRequest) -> None:
        self._left[keyed.id] = keyed
        if len(self._left) > _MOST_LEFT:
            self._left.popitem(last=False)

    def _remembering(self) -> RemembersKeyed:
        if not isinstance(self._store, RemembersKeyed):
            raise Unsupported(f"this store keeps no {_HEADER}; send the request without it")
        return self._store


def _is_free(record: Record | None) -> bool:
    """Whether it failed, and nothing was or may have been billed for it."""
    return record is not None and record.state == "failed" and not (record.cost_nanos or record.presumed_nanos)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
