"""Keys in the store, made, listed and revoked: the same for `muxer keys` and for `/admin/keys`."""

import re
import secrets
from collections.abc import Collection
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from muxer.access import digest
from muxer.config.scalars import LARGEST_USD
from muxer.errors import InvalidJSON, InvalidRequest, NotFound, Unsupported
from muxer.keys import PREFIX, KeepsKeys, StoredKey, instant, moment
from muxer.limits import AMOUNTS, Amounts
from muxer.stores import Store
from muxer.types import Role

_Text = Annotated[str, Meta(max_length=256)]
_Texts = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...], Meta(max_length=100)]
_LARGEST = 2**53 - 1  # a store in Lua counts in doubles


class NewKey(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All that can be said of a key when it is made; nothing can be changed later (B48)."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    user: _Text = ""
    team: _Text = ""
    tags: _Texts = ()
    models: _Texts = ()
    role: Role = "user"
    expires: str | None = None
    limits: Annotated[tuple[Amounts, ...], Meta(max_length=20)] = ()


_decode = msgspec.json.Decoder(NewKey).decode


def decode(body: bytes) -> NewKey:
    """Reads and checks what is said of a new key. Raises InvalidRequest, which names the field."""
    try:
        asked = _decode(body)
    except msgspec.ValidationError as error:
        raise _field_error(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidJSON("the body is not one JSON object") from error
    for field in ("name", "user", "team", "tags", "models"):
        value = getattr(asked, field)
        for text in (value,) if isinstance(value, str) else value:
            if not text.isprintable() or text != text.strip():
                raise InvalidRequest(
                    f"{field}: has a character that cannot be printed, or space around it", param=field
                )
    for index, limit in enumerate(asked.limits):
        _check_limit(limit, f"limits[{index}]")
    return asked


def _field_error(message: str) -> InvalidRequest:
    """`Object contains unknown field `x` - at $.limits[0]` as an error with its param."""
    what, _, path = message.partition(" - at `$")
    place, named = path.rstrip("`").removeprefix("."), re.search(r" field `(.*)`$", what)
    param = ".".join(filter(None, (place, named[1] if named else "")))
    return InvalidRequest(f"{place}: {what}" if place else what, param=param or None)


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
        "created": moment(key.created_at),
        "expires": None if key.expires_at is None else moment(key.expires_at),
        "revoked": None if key.revoked_at is None else moment(key.revoked_at),
    }


def limit_fields(limit: Amounts) -> dict[str, object]:
    """What one limit says."""
    said = {name: value for name, value in msgspec.structs.asdict(limit).items() if value is not None}
    return {name: f"{value:f}" if name.endswith("_usd") else value for name, value in said.items()}
