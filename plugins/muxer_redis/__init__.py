"""A store that replicas share: holds, counters and records in Redis or Valkey, each change one script."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from redis.exceptions import RedisError

from muxer import ConfigInvalid, Context, Fault, Kind, Log, Store, StoreUnavailable, hookimpl
from muxer_redis import scripts, server
from muxer_redis.calls import Calls, Client
from muxer_redis.owners import BEAT_EVERY_S, Owner
from muxer_redis.settings import RedisSettings
from muxer_redis.store import RedisStore

__all__ = ["RedisSettings", "RedisStore", "open_at", "open_redis"]


@asynccontextmanager
async def open_redis(settings: RedisSettings, context: Context) -> AsyncIterator[Store]:
    """Connects, checks the server, and buries what dead processes held before the first request."""
    async with open_at(settings, context, lambda: "0") as store:
        yield store


@asynccontextmanager
async def open_at(settings: RedisSettings, context: Context, clock: Callable[[], str]) -> AsyncIterator[RedisStore]:
    """The same by another clock than the server's: `clock` gives Unix seconds, '0' for the server's own.

    Replicas must agree on the time, so `open_redis` always passes '0'; the contract's tests pass a clock they move.
    """
    prefix, keep_s = f"{{muxer:{settings.domain}}}:", settings.record_days * 86_400
    client = server.client(settings, context.folder)
    try:
        found = await server.examine(client, prefix, settings, context.log)
        calls = Calls(client, prefix, scripts.load(with_flags=found.has_flags), settings.timeout_s, context.log)
        owner = Owner(calls, keep_s, clock)
        await _begin(owner)
        heart = asyncio.create_task(_live(owner, client, prefix, settings.timeout_s, context.log))
        try:
            yield RedisStore(calls, owner, keep_s, clock)
        finally:
            heart.cancel()
            await asyncio.gather(heart, return_exceptions=True)
            await _leave(owner, context.log)
            await calls.close()
    finally:
        await client.aclose()


async def _begin(owner: Owner) -> None:
    try:
        await owner.beat()
    except StoreUnavailable as error:
        raise ConfigInvalid([Fault(error.message, path="store.url")]) from error


async def _leave(owner: Owner, log: Log) -> None:
    """Where that cannot be written, another replica does it once this one's heartbeat has run out."""
    try:
        await owner.leave()
    except StoreUnavailable as error:
        log("warning", "store_unavailable", reason=error.message)


async def _live(owner: Owner, client: Client, prefix: str, timeout_s: float, log: Log) -> None:
    """Beats for ever, and watches what the server's operator may change under us (F12)."""
    while True:
        await asyncio.sleep(BEAT_EVERY_S)
        try:
            await owner.beat()
            trouble = await server.watch(client, prefix, timeout_s)
        except (StoreUnavailable, RedisError, OSError):
            continue  # the breaker says so once; the next beat tries again
        if trouble != owner.trouble:
            log("error" if trouble else "info", "store_policy", reason=trouble)
        owner.trouble = trouble


@hookimpl
def register_stores() -> list[Kind[Store]]:
    """Offers the kind `redis`."""
    return [Kind("redis", RedisSettings, open_redis)]
