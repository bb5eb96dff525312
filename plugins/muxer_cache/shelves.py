"""Where answers are kept: in this process, the longest unused going first, or in Redis."""

import importlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from msgspec import Struct

from muxer import ConfigInvalid, Context, Fault

_DEADLINE_S = 0.25
_OVERHEAD_BYTES = 300  # of an entry: its key, the objects around its bytes


class Shelf(Protocol):
    """Bytes by key, for a while."""

    async def get(self, key: str) -> bytes | None:
        """What was put there, None when it is gone."""

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keeps a value for so long, at most."""


class _Entry(Struct, frozen=True):
    value: bytes
    until_s: float


class Memory:
    """A shelf of `max_bytes` in this process; it ends with it."""

    def __init__(self, max_bytes: int, clock: Callable[[], float]) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._bytes = 0

    async def get(self, key: str) -> bytes | None:
        """See Shelf."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.until_s <= self._clock():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        """See Shelf."""
        if key in self._entries:
            self._drop(key)
        if len(value) + _OVERHEAD_BYTES > self._max_bytes:
            return
        self._entries[key] = _Entry(value, self._clock() + ttl_s)
        self._bytes += len(value) + _OVERHEAD_BYTES
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: str) -> None:
        self._bytes -= len(self._entries.pop(key).value) + _OVERHEAD_BYTES


class Redis:
    """A shelf in Redis or Valkey, which lets go of what is too old by itself."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def get(self, key: str) -> bytes | None:
        """See Shelf. Raises redis.RedisError: the request then goes on without the cache."""
        found: bytes | None = await self._client.get(f"muxer:cache:{key}")
        return found

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        """See Shelf."""
        await self._client.set(f"muxer:cache:{key}", value, px=max(1, int(ttl_s * 1000)))


@asynccontextmanager
async def open_redis(url: str, context: Context) -> AsyncIterator[Shelf]:
    """A shelf in the Redis at an address; it connects when it is first used."""
    try:
        driver = importlib.import_module("redis.asyncio")  # only who sets `url` needs the package
    except ModuleNotFoundError as error:
        fault = Fault("Redis needs a package: pip install 'modelmuxer[redis]'", path="guards.url")
        raise ConfigInvalid([fault]) from error
    try:
        client = driver.Redis.from_url(url, socket_timeout=_DEADLINE_S, socket_connect_timeout=_DEADLINE_S)
    except ValueError:  # its words may hold a part of the password
        fault = Fault("this is no address of a Redis server; write redis://user:password@host:port", path="guards.url")
        raise ConfigInvalid([fault]) from None
    async with client:
        yield Redis(client)
