"""A store that replicas share: holds, counters and records in Redis or Valkey, each change one script."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from redis.exceptions import RedisError

from muxer import ConfigInvalid, Context, Fault, Kind, Log, Store, StoreUnavailable, beside, hookimpl
from muxer_redis import scripts, server
from muxer_redis.archive import read_redis
from muxer_redis.calls import Calls, Client
from muxer_redis.greeting import Greeting
from muxer_redis.owners import BEAT_EVERY_S, BEAT_IN_OUTAGE_S, Owner
from muxer_redis.settings import RedisSettings
from muxer_redis.store import RedisStore

__all__ = ["RedisSettings", "RedisStore", "open_at", "open_redis", "read_redis"]


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
    prefix, keep_s = settings.prefix, settings.record_days * 86_400
    greeting = Greeting()
    client = server.client(settings, context.folder, greeting.on_connect)
    try:
        found = await server.examine(client, prefix, settings, context.log)
        loaded = scripts.load(with_flags=found.has_flags)
        calls = Calls(client, prefix, loaded, settings.timeout_s)
        owner = Owner(calls, keep_s, clock)
        greeting.begin(lambda: ("EVAL", loaded["beat"].text, 1, prefix, *owner.beating()), owner.heard)
        await _begin(owner)
        live = _live(owner, client, prefix, settings.timeout_s, context.log)
        try:
            async with beside(live, owner.memory.keep(owner.say, context.log)):
                yield RedisStore(calls, owner, keep_s, clock, _journal(settings, context))
        finally:
            await _leave(owner, context.log)
            await calls.close()
    finally:
        await server.close(client)


def _journal(settings: RedisSettings, context: Context) -> Path:
    """Each worker has its own."""
    path = context.folder / settings.journal
    return path.with_name(f"{path.stem}.{context.worker}{path.suffix}") if context.worker else path


async def _begin(owner: Owner) -> None:
    try:
        await owner.begin(server.CONNECT_S)
    except StoreUnavailable as error:
        raise ConfigInvalid([Fault(error.message, path="store.url")]) from error


async def _leave(owner: Owner, log: Log) -> None:
    """Where that cannot be written, another replica does it once this one's heartbeat has run out."""
    try:
        await owner.leave()
    except StoreUnavailable as error:
        log("warning", "store_left_open", reason=error.message)


async def _live(owner: Owner, client: Client, prefix: str, timeout_s: float, log: Log) -> None:
    """Beats for ever, and watches what the server's operator may change under us (F12)."""
    pause_s, doubtful = BEAT_EVERY_S, owner.memory.doubtful
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await doubtful.wait()
        doubtful.clear()
        try:
            await owner.beat()
            trouble = await server.watch(client, prefix, timeout_s)
        except (StoreUnavailable, RedisError, OSError):
            pause_s = BEAT_IN_OUTAGE_S  # the core says so once
            continue
        pause_s = BEAT_EVERY_S
        if trouble != owner.trouble:
            log("error" if trouble else "info", "store_policy", reason=trouble)
        owner.trouble = trouble


@hookimpl
def register_stores() -> list[Kind[Store]]:
    """Offers the kind `redis`."""
    return [Kind("redis", RedisSettings, open_redis, read=read_redis)]
