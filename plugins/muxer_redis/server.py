"""Reaching the server, and what must be true of it before it may count money (S16)."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from msgspec import Struct
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from muxer import ConfigInvalid, Fault, Log
from muxer_redis.calls import Client
from muxer_redis.remedies import remedy
from muxer_redis.settings import RedisSettings

_OLDEST = (6, 2)
_WITH_FLAGS = (7, 0)
CONNECT_S = 5.0  # opening may be slower than a call: names are looked up, TLS is agreed on


class Server(Struct, frozen=True):
    """What is known of a server that may be used."""

    version: tuple[int, ...]
    persistence: str

    @property
    def has_flags(self) -> bool:
        """Whether its scripts may carry flags."""
        return self.version >= _WITH_FLAGS


Greet = Callable[[AbstractConnection], Awaitable[None]]


def client(settings: RedisSettings, folder: Path, greet: Greet) -> Client:
    """A client that connects when it is first used, and calls `greet` with each connection. Raises ConfigInvalid for
    an address that cannot be one."""
    url = settings.url.reveal()
    try:
        where: dict[str, Any] = dict(parse_url(url))
    except ValueError:  # its words may hold a part of the password
        fault = (
            "this is no address of a Redis server; write redis://user:password@host:port, with %2F for / in a password"
        )
        raise ConfigInvalid([Fault(fault, path="store.url")]) from None
    if settings.ca_file and not url.startswith("rediss:"):
        raise ConfigInvalid([Fault("certificates are for TLS; begin store.url with rediss://", path="store.ca_file")])
    # Deadlines and repeats are those of `Calls`; a driver's own on top of them would add up.
    options: dict[str, Any] = {
        "socket_connect_timeout": settings.timeout_s,
        "socket_timeout": None,
        "protocol": 2,
        "client_name": "modelmuxer",
    }
    if settings.ca_file:
        options["ssl_ca_certs"] = str(folder / settings.ca_file)
    if settings.cluster:
        nodes = RedisCluster.from_url(url, **options)
        # The driver hands these to every node's connections, but takes no such option itself.
        for known in (
            nodes.connection_kwargs,
            *(node.connection_kwargs for node in nodes.nodes_manager.startup_nodes.values()),
        ):
            known["redis_connect_func"] = greet
        return nodes
    options["redis_connect_func"] = greet
    options["retry"] = Retry(NoBackoff(), 0)
    if not settings.sentinels:
        return Redis.from_url(url, **options)
    addresses = [(host, int(port)) for host, _, port in (one.rpartition(":") for one in settings.sentinels)]
    options |= {name: value for name, value in where.items() if name in ("username", "password", "db")}
    options["ssl"] = url.startswith("rediss:")
    asking = {"socket_timeout": settings.timeout_s, "socket_connect_timeout": settings.timeout_s}
    sentinel = Sentinel(addresses, sentinel_kwargs=asking, **options)  # type: ignore[no-untyped-call]  # redis-py's
    master: Redis = sentinel.master_for(settings.sentinel_master)
    return master


async def close(client: Client) -> None:
    """Ends its connections, those to Sentinels too, which the driver leaves open."""
    await client.aclose()
    pool = None if isinstance(client, RedisCluster) else client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


async def examine(client: Client, prefix: str, settings: RedisSettings, log: Log) -> Server:
    """Raises ConfigInvalid for a server that cannot be reached, is too old, or may drop what it counts."""
    try:
        async with asyncio.timeout(CONNECT_S):
            info = await _info(client, prefix)
            snapshots = await _snapshots(client, prefix)
    except (RedisError, OSError) as error:
        said = f" ({error})" if str(error) else ""  # a deadline that passed says nothing
        raise ConfigInvalid([Fault(f"{remedy(error, CONNECT_S)}{said}", path="store.url")]) from error
    version = tuple(int(part) for part in re.findall(r"\d+", str(info.get("redis_version", "0")))[:2])
    if version < _OLDEST:
        fault = f"the server is Redis {info.get('redis_version')}; 6.2 or later is needed, or any Valkey"
        raise ConfigInvalid([Fault(fault, path="store.url")])
    wrong = eviction(info)
    if wrong:
        raise ConfigInvalid([Fault(wrong, path="store.url")])
    persistence = "aof" if int(info.get("aof_enabled", 0)) else snapshots
    if persistence == "none":
        advice = "the server keeps nothing on disk: after its restart all spending is forgotten; set appendonly yes"
        if settings.require_persistence:
            raise ConfigInvalid([Fault(advice, path="store.require_persistence")])
        log("error", "store_without_persistence", reason=advice)
    return Server(version, persistence)


def eviction(info: dict[str, Any]) -> str:
    """What is wrong with a server that drops keys when its memory is full, or ''."""
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return ""
    return f"the server may drop budgets when its memory is full (maxmemory-policy {policy}); set it to noeviction"


async def watch(client: Client, prefix: str, timeout_s: float) -> str:
    """What is wrong with the server now, or ''. Raises RedisError, OSError."""
    async with asyncio.timeout(timeout_s):
        return eviction(await _info(client, prefix, "memory"))


async def _info(client: Client, prefix: str, *sections: str) -> dict[str, Any]:
    if isinstance(client, RedisCluster):
        await client.initialize()
        node = client.get_node_from_key(prefix)
        return dict(await client.info(*sections, target_nodes=node))
    return dict(await client.info(*sections))


async def _snapshots(client: Client, prefix: str) -> str:
    try:
        if isinstance(client, RedisCluster):
            found = await client.config_get("save", target_nodes=client.get_node_from_key(prefix))
        else:
            found = await client.config_get("save")
    except RedisError:
        return "unknown"  # hosted servers do not show their configuration
    return "rdb" if found.get("save") else "none"
