"""Keys in the store, made, listed and revoked: the same for `muxer keys`, for `/admin/keys` and for extensions."""

import secrets
from collections.abc import Callable, Collection, Sequence

import msgspec

from muxer.access import digest
from muxer.budgets import Calendar, Target, claims
from muxer.config.scalars import LARGEST_USD
from muxer.edge import decode_json
from muxer.errors import InvalidRequest, NotFound, Unsupported
from muxer.interfaces import Log
from muxer.keyring import Keyring, known
from muxer.keys import PREFIX, KeepsKeys, NewKey, StoredKey, instant, moment
from muxer.limits import AMOUNTS, Amounts
from muxer.stores import Standing, Store

_LARGEST = 2**53 - 1  # a store in Lua counts in doubles
_MOST_PLACES = 100  # keys are shown with all of them


_MOST_METADATA_BYTES = 16_384


def decode(body: bytes) -> NewKey:
    """Reads and checks what is said of a new key. Raises InvalidRequest, which names the field."""
    asked = decode_json(body, NewKey)
    for field in ("name", "user", "team", "tags", "models"):
        value = getattr(asked, field)
        for text in (value,) if isinstance(value, str) else value:
            if not text.isprintable() or text != text.strip():
                raise InvalidRequest(
                    f"{field}: has a character that cannot be printed, or space around it", param=field
                )
    if len(msgspec.json.encode(asked.metadata)) > _MOST_METADATA_BYTES:
        raise InvalidRequest(f"metadata: is over {_MOST_METADATA_BYTES} bytes of JSON", param="metadata")
    for index, limit in enumerate(asked.limits):
        _check_limit(limit, f"limits[{index}]")
    return asked


def _check_limit(limit: Amounts, here: str) -> None:
    amounts = {name: getattr(limit, name) for name in AMOUNTS}
    given = {name: amount for name, amount in amounts.items() if amount is not None}
    if not given:
        raise InvalidRequest(f"{here}: no amount; give one of {', '.join(AMOUNTS)}", param=here)
    if limit.burst is not None and given.keys().isdisjoint(("requests_per_minute", "tokens_per_minute")):
        raise InvalidRequest(f"{here}.burst: needs requests_per_minute or tokens_per_minute", param=f"{here}.burst")
    for name, amount in {**given, "burst": limit.burst or 1}.items():
        is_money = name.endswith("_usd")
        most = LARGEST_USD if is_money else _LARGEST
        # Not a number compares with nothing, and would raise.
        if (is_money and not amount.is_finite()) or not 0 <= amount <= most:
            raise InvalidRequest(f"{here}.{name}: must be from 0 to {most}", param=f"{here}.{name}")
        if is_money and -int(amount.as_tuple().exponent) > _MOST_PLACES:
            raise InvalidRequest(f"{here}.{name}: over {_MOST_PLACES} decimal places", param=f"{here}.{name}")


def keeper(store: Store) -> KeepsKeys:
    """The store as one of keys. Raises Unsupported when it is none."""
    if not isinstance(store, KeepsKeys):
        raise Unsupported("this kind of store keeps no keys; list them under `keys` in routing.yaml")
    return store


async def create(store: Store, in_file: Collection[str], asked: NewKey, now: float) -> tuple[StoredKey, str]:
    """A new key in the store, and its secret, which nobody can look up again. Raises InvalidRequest for a name that a
    key of the store or of the file has, and for an end that is past."""
    keys = keeper(store)
    expires_at = _expiry(asked.expires, now)
    id = secrets.token_hex(6)
    secret = f"{PREFIX}{id}_{secrets.token_urlsafe(32)}"
    key = StoredKey(
        id=id,
        digest=digest(secret),
        name=asked.name,
        user=asked.user or asked.name,
        team=asked.team,
        tags=asked.tags,
        models=asked.models,
        role=asked.role,
        limits=asked.limits,
        metadata=asked.metadata,
        created_at=now,
        expires_at=expires_at,
    )
    if asked.name in in_file or not await keys.add_key(key):
        raise InvalidRequest(f"name: there is a key {asked.name!r} already; revoke it first", param="name")
    return key, secret


def _expiry(words: str | None, now: float) -> float | None:
    if words is None:
        return None
    try:
        expires_at = instant(words)
    except ValueError as error:
        raise InvalidRequest(f"expires: no instant; {error}", param="expires") from error
    if expires_at <= now:
        raise InvalidRequest("expires: is past", param="expires")
    return expires_at


async def revoke(store: Store, id: str, now: float) -> StoredKey:
    """Revokes a key for good; once more changes nothing. Raises NotFound."""
    key = await keeper(store).revoke_key(id, now)
    if key is None:
        raise NotFound(f"no key {id[:64]!r} in the store")
    return key


def state(key: StoredKey, now: float) -> str:
    """`active`, `expired` or `revoked`."""
    if key.revoked_at is not None:
        return "revoked"
    return "active" if key.expires_at is None or now < key.expires_at else "expired"


def fields(key: StoredKey, now: float) -> dict[str, object]:
    """A key as it is shown: without its digest, with times in UTC and amounts as decimal strings."""
    return {
        "id": key.id,
        "name": key.name,
        "state": state(key, now),
        "user": key.user,
        "team": key.team,
        "tags": key.tags,
        "models": key.models,
        "role": key.role,
        "limits": [limit_fields(limit) for limit in key.limits],
        "metadata": key.metadata,
        "created": moment(key.created_at),
        "expires": None if key.expires_at is None else moment(key.expires_at),
        "revoked": None if key.revoked_at is None else moment(key.revoked_at),
    }


def limit_fields(limit: Amounts) -> dict[str, object]:
    """What one limit says."""
    said = {name: value for name, value in msgspec.structs.asdict(limit).items() if value is not None}
    return {name: f"{value:f}" if name.endswith("_usd") else value for name, value in said.items()}


class Desk:
    """The keys of one store behind a running proxy: see KeyDesk. `in_file` are the names its file's keys have."""

    def __init__(
        self,
        store: Store,
        in_file: Collection[str],
        ring: Keyring,
        calendar: Calendar,
        log: Log,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._in_file = in_file
        self._ring = ring
        self._calendar = calendar
        self._log = log
        self._clock = clock

    def follow(self, in_file: Collection[str], calendar: Calendar) -> None:
        """From now on these are the names in the file, and the days of its budgets."""
        self._in_file, self._calendar = in_file, calendar

    async def create(self, asked: NewKey, by: str) -> tuple[StoredKey, str]:
        """See KeyDesk."""
        # Who builds a struct in Python gets no check of its values; one way in has them all.
        asked = decode(msgspec.json.encode(asked))
        key, secret = await create(self._store, self._in_file, asked, self._clock())
        self._tell("key_created", key, by)
        return key, secret

    async def every(self) -> list[StoredKey]:
        """See KeyDesk."""
        return await keeper(self._store).keys()

    async def find(self, word: str) -> StoredKey | None:
        """See KeyDesk."""
        return await keeper(self._store).key(digest(word) if word.startswith(PREFIX) else word)

    async def revoke(self, id: str, by: str) -> StoredKey:
        """See KeyDesk."""
        key = await revoke(self._store, id, self._clock())
        self._ring.forget(key.digest)
        self._tell("key_revoked", key, by)
        return key

    async def standings(self, key: StoredKey) -> Sequence[Standing]:
        """See KeyDesk."""
        own = claims((), self._calendar, known(key).caller, Target("", ""), self._clock())
        return await self._store.standings(own)

    def _tell(self, event: str, key: StoredKey, by: str) -> None:
        self._log("info", event, id=key.id, name=key.name, role=key.role, by=by)
