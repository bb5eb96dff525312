"""The shared store when the server, the connection or a replica fails (RELIABILITY F7-F12)."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from muxer_redis import RedisStore, scripts
from muxer_redis.calls import Calls
from muxer_redis.owners import Owner
from redis.asyncio import Redis

from muxer import ConfigInvalid, Granted, Quota, Refused, Store, StoreUnavailable
from muxer.testing import a_key
from muxer.testing.contracts.money import a_choice, an_attempt, counted
from tests.plugins.redis_server import CLAIM, Cutting, Server, hold, opened, settle
from tests.proxy import OpenProxy

SLOTS = [str(slot) for slot in range(16_384)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"), appendfsync="always")
    yield running
    running.kill()


@pytest.fixture
async def redis(server: Server) -> AsyncIterator[Redis]:
    client = Redis.from_url(server.url, protocol=2)
    await client.flushall()
    async with client:
        yield client


@pytest.mark.usefixtures("redis")
async def test_a_lost_reply_is_asked_for_again(server: Server) -> None:
    cutting = Cutting(server)
    async with cutting as url, opened(url) as store:
        for number in range(50):
            cutting.cuts = 1
            assert isinstance(await hold(store, f"r-{number}"), Granted)
            cutting.cuts = 1
            await settle(store, f"r-{number}", 7)
        assert await counted(store, CLAIM) == (350, 0, 0)
        assert await store.held() == (0, 0)


async def test_a_server_that_forgot_the_scripts_is_told_them(server: Server, redis: Redis) -> None:
    async with opened(server.url) as store:
        await hold(store, "a")
        await redis.script_flush()
        await settle(store, "a", 7)
        assert await counted(store, CLAIM) == (7, 0, 0)


@pytest.mark.usefixtures("redis")
async def test_concurrent_holds_never_pass_the_limit(server: Server) -> None:
    async with opened(server.url) as one, opened(server.url) as other:
        work = [hold((one, other)[number % 2], f"r-{number}", 30) for number in range(200)]
        replies = await asyncio.gather(*work)
        assert sum(isinstance(reply, Granted) for reply in replies) == 33
        assert await counted(one, CLAIM) == (0, 990, 0)


DYING = """
import asyncio, os, sys
from tests.plugins.redis_server import hold, opened
from tests.plugins.test_muxer_redis_faults import SLOT
async def main():
    async with opened(sys.argv[1]) as store:
        await hold(store, "of-the-dead", 60, (SLOT,))
        os._exit(9)
asyncio.run(main())
"""
SLOT = Quota(limit="limits[0]", per="user", subject="alice", account="user:alice", unit="slots", capacity=2)


async def test_what_a_killed_replica_held_is_presumed_and_its_slots_are_free(server: Server, redis: Redis) -> None:
    async with opened(server.url) as living:
        await hold(living, "of-the-living", 30, (SLOT,))
        dying = await asyncio.create_subprocess_exec(sys.executable, "-c", DYING, server.url)
        assert await dying.wait() == 9
        assert await counted(living, CLAIM) == (0, 90, 0)
        assert isinstance(await hold(living, "third", 10, (SLOT,)), Refused)
        (last,) = [owner async for owner in redis.scan_iter("*:o:*") if await redis.sismember(owner, "of-the-dead")]
        alive = last.decode().replace(":o:", ":alive:")
        assert 20 < await redis.ttl(alive) <= 25
        await redis.delete(alive)  # as its end would
        async with opened(server.url) as sweeping:
            assert await counted(sweeping, CLAIM) == (0, 30, 60)
            assert isinstance(await hold(sweeping, "third", 10, (SLOT,)), Granted)
            record = await sweeping.record("of-the-dead")
            assert record is not None
            assert (record.state, record.presumed_nanos) == ("interrupted", 60)


async def test_a_dead_server_refuses_fast_and_is_used_again_when_it_is_back(tmp_path: Path) -> None:
    server, log = Server(tmp_path, appendfsync="always"), list[str]()
    async with opened(server.url, log) as store:
        await hold(store, "a", 60)
        server.kill()
        begun = time.perf_counter()
        for number in range(50):
            with pytest.raises(StoreUnavailable, match="start it"):
                await hold(store, f"r-{number}")
        assert time.perf_counter() - begun < 50 * 0.05
        assert log == [], "the core says it, once"
        server.start()
        assert await _first_success(store) < 20
        assert await counted(store, CLAIM) == (0, 60, 0)
        assert sorted(log) == ["store_may_have_lost_data", "store_told_again"]
    server.kill()


async def test_a_server_that_is_paused_at_the_start_is_told_without_an_empty_reason(server: Server) -> None:
    server.send(signal.SIGSTOP)
    try:
        with pytest.raises(ConfigInvalid, match=r"store\.url: the Redis server did not answer.*[a-z]$"):
            await AsyncExitStack().enter_async_context(opened(server.url))
    finally:
        server.send(signal.SIGCONT)


async def test_a_server_that_is_busy_at_the_start_is_waited_for(server: Server, redis: Redis) -> None:
    await redis.ping()
    calls = Calls(redis, "{muxer:default}:", scripts.load(with_flags=True), timeout_s=0.05)
    owner = Owner(calls, 60, lambda: "0")
    server.send(signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable, match="did not answer"):
            await owner.begin(0.0)
        beginning = asyncio.create_task(owner.begin(60.0))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(beginning), 0.2)
    finally:
        server.send(signal.SIGCONT)
    await beginning
    await calls.close()


async def test_a_paused_server_delays_no_request_beyond_the_deadline(server: Server, redis: Redis) -> None:
    async with opened(server.url, timeout_s=0.1) as store:
        await hold(store, "a")
        server.send(signal.SIGSTOP)
        try:
            waits = [await _refused_after(store, f"r-{number}") for number in range(10)]
        finally:
            server.send(signal.SIGCONT)
        assert min(waits[:5]) >= 0.09
        assert sorted(waits[5:])[2] < 0.09  # by then nobody asks it any more
        assert await _first_success(store) < 20


@pytest.mark.usefixtures("redis")
async def test_a_hold_that_comes_after_its_settlement_takes_nothing(server: Server) -> None:
    async with opened(server.url) as store:
        await settle(store, "late", 0)
        await hold(store, "late", 60)
        assert (await counted(store, CLAIM), await store.held()) == ((0, 0, 0), (0, 0))
        assert await store.record("late") is None


async def _refused_after(store: Store, id: str) -> float:
    begun = time.perf_counter()
    with pytest.raises(StoreUnavailable):
        await hold(store, id)
    return time.perf_counter() - begun


async def _first_success(store: Store) -> float:
    begun = time.perf_counter()
    while True:
        try:
            await store.held()
        except StoreUnavailable:
            await asyncio.sleep(0.02)
        else:
            return time.perf_counter() - begun


async def test_a_full_memory_refuses_holds_and_takes_settlements(server: Server, redis: Redis) -> None:
    async with opened(server.url) as store:
        assert isinstance(store, RedisStore)
        await hold(store, "a", 60)
        await store.add_key(a_key())
        await redis.config_set("maxmemory", "1")
        try:
            with pytest.raises(StoreUnavailable, match="raise its maxmemory"):
                await hold(store, "b")
            with pytest.raises(StoreUnavailable, match="raise its maxmemory"):
                await store.add_key(a_key("2"))
            if str((await redis.info("server"))["redis_version"]).startswith("6."):
                with pytest.raises(StoreUnavailable, match="raise its maxmemory"):
                    await settle(store, "a", 7)
                assert await counted(store, CLAIM) == (0, 60, 0)  # nothing of it was done
            else:
                assert await store.revoke_key("1", 1.0) == a_key(revoked_at=1.0)
                await settle(store, "a", 7)
        finally:
            await redis.config_set("maxmemory", "0")
        await settle(store, "a", 7)
        assert await counted(store, CLAIM) == (7, 0, 0)


async def test_a_replica_is_named_as_one(server: Server, redis: Redis) -> None:
    async with opened(server.url) as store:
        await redis.replicaof("127.0.0.1", "1")
        try:
            with pytest.raises(StoreUnavailable, match="name the master"):
                await hold(store, "a")
        finally:
            await redis.replicaof("no", "one")


async def test_a_server_that_comes_to_drop_keys_is_noticed(server: Server, redis: Redis, proxy: OpenProxy) -> None:
    muxer = await proxy(plugins="[openai, redis]", store=f'{{kind: redis, url: "{server.url}"}}')
    assert (await muxer.get("/health"))["components"]["store"] == "ok"
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        line = await muxer.log.wait_for("store_policy")
        assert line["level"] == "error"
        assert (await muxer.get("/health"))["components"]["store"] == "unavailable"
        response = await muxer.chat()
        assert (response.status, (await response.json())["error"]["code"]) == (503, "budget_store_unavailable")
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")
    await muxer.log.wait_for("store_policy", 2)
    assert (await muxer.chat()).status == 200


async def test_a_server_without_replicas_to_write_to_is_named(server: Server, redis: Redis) -> None:
    async with opened(server.url) as store:
        await redis.config_set("min-replicas-to-write", "1")
        try:
            with pytest.raises(StoreUnavailable, match="too few replicas"):
                await hold(store, "a")
        finally:
            await redis.config_set("min-replicas-to-write", "0")
        assert isinstance(await hold(store, "a"), Granted)


async def test_a_server_that_cannot_save_is_named(tmp_path: Path) -> None:
    with Server(tmp_path, appendonly="no", save="3600 1") as server:
        async with opened(server.url) as store, Redis.from_url(server.url, protocol=2) as redis:
            await hold(store, "a")
            (tmp_path / "dump.rdb").mkdir()  # a folder of that name: no snapshot can take its place
            await redis.bgsave()
            while (await redis.info("persistence"))["rdb_last_bgsave_status"] != "err":
                await asyncio.sleep(0.02)
            with pytest.raises(StoreUnavailable, match="cannot save its data"):
                await hold(store, "b")
            (tmp_path / "dump.rdb").rmdir()
            await redis.save()
            await settle(store, "a", 7)
            assert await counted(store, CLAIM) == (7, 0, 0)


async def test_a_server_that_is_still_loading_is_named_and_used_when_it_is_done(tmp_path: Path) -> None:
    # Microseconds a key; while it loads, a server answers after each 2 MB.
    with Server(tmp_path, appendonly="no", **{"key-load-delay": "10000"}) as server:
        async with opened(server.url, timeout_s=2.0) as store, Redis.from_url(server.url, protocol=2) as redis:
            await hold(store, "a", 60)
            filling = redis.pipeline(transaction=False)
            for number in range(200):
                filling.set(f"other-{number}", os.urandom(100_000))
            await filling.execute()
            await redis.save()
            server.kill()
            starting = asyncio.create_task(asyncio.to_thread(server.start))
            assert "answers once that is done" in await _words_of_refusal(store, "loading")
            await starting
            assert await _first_success(store) < 20
            assert await counted(store, CLAIM) == (0, 60, 0)


async def _words_of_refusal(store: Store, word: str) -> str:
    async with asyncio.timeout(10):
        while True:
            try:
                await store.held()
            except StoreUnavailable as error:
                if word in error.message:
                    return error.message
            await asyncio.sleep(0.01)


async def test_a_cluster_is_named_where_none_was_expected(tmp_path: Path) -> None:
    with Server(tmp_path, **{"cluster-enabled": "yes"}) as server:
        async with Redis.from_url(server.url) as redis:
            ask = redis.execute_command
            with pytest.raises(ConfigInvalid, match="look at CLUSTER INFO"):
                await AsyncExitStack().enter_async_context(opened(server.url))
            await ask("CLUSTER", "ADDSLOTS", *SLOTS)  # type: ignore[no-untyped-call]  # redis-py's
            while b"cluster_state:ok" not in await ask("CLUSTER", "INFO"):  # type: ignore[no-untyped-call]
                await asyncio.sleep(0.02)
            async with opened(server.url) as store:
                await hold(store, "a")
                await ask("CLUSTER", "DELSLOTS", *SLOTS)  # type: ignore[no-untyped-call]
                with pytest.raises(StoreUnavailable, match="a cluster that is down"):
                    await hold(store, "b")


async def test_a_server_that_drops_keys_is_refused(server: Server, redis: Redis) -> None:
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(ConfigInvalid, match="set it to noeviction"):
            await AsyncExitStack().enter_async_context(opened(server.url))
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")


async def test_a_server_without_persistence_is_refused_where_it_is_required(redis: Redis, server: Server) -> None:
    log: list[str] = []
    await redis.config_set("appendonly", "no")
    try:
        async with opened(server.url, log):
            assert log == ["store_without_persistence"]
        with pytest.raises(ConfigInvalid, match="set appendonly yes"):
            await AsyncExitStack().enter_async_context(opened(server.url, require_persistence=True))
    finally:
        await redis.config_set("appendonly", "yes")


@pytest.mark.parametrize(("url", "words"), [("redis://127.0.0.1:1", "start it"), ("http://x", "no address")])
async def test_an_address_without_a_server_is_a_fault_of_the_file(url: str, words: str) -> None:
    with pytest.raises(ConfigInvalid, match=f"store.url: .*{words}"):
        await AsyncExitStack().enter_async_context(opened(url))


async def test_it_works_on_a_cluster(tmp_path: Path) -> None:
    server = Server(tmp_path, **{"cluster-enabled": "yes"})
    async with Redis.from_url(server.url) as redis:
        ask = redis.execute_command
        await ask("CLUSTER", "ADDSLOTS", *SLOTS)  # type: ignore[no-untyped-call]  # redis-py's
        while b"cluster_state:ok" not in await ask("CLUSTER", "INFO"):  # type: ignore[no-untyped-call]
            await asyncio.sleep(0.02)
    async with opened(server.url, cluster=True) as store:
        await asyncio.gather(*(hold(store, f"r-{number}") for number in range(20)))
        await settle(store, "r-0", 7)
        assert await counted(store, CLAIM) == (7, 190, 0)
        assert isinstance(store, RedisStore)
    server.kill()


async def test_a_replica_that_was_thought_dead_settles_exactly(server: Server, redis: Redis) -> None:
    async with opened(server.url) as asleep:
        await hold(asleep, "a", 60, (SLOT,))
        await hold(asleep, "b", 20, (SLOT,))
        async for alive in redis.scan_iter("*:alive:*"):
            await redis.delete(alive)
        async with opened(server.url) as other:
            assert await counted(other, CLAIM) == (0, 0, 80)
            assert isinstance(await hold(other, "c", 1, (SLOT,)), Granted)
            await settle(asleep, "a", 7)
            assert isinstance(await asleep.extend("b", 1, a_choice(30, CLAIM), an_attempt(cost_nanos=3)), Granted)
            assert (await counted(other, CLAIM), await other.held()) == ((10, 31, 0), (31, 0))
            (slots,) = await other.quotas([SLOT])
            assert slots.remaining == 1  # the slots of the sleeper were given back once
    async with opened(server.url) as store:
        assert await counted(store, CLAIM) == (10, 0, 31)
        assert await store.held() == (0, 31)


async def test_the_password_is_in_no_message(tmp_path: Path) -> None:
    for url in ("redis://u:canary/x@127.0.0.1:1", "redis://u:canary@127.0.0.1:1", "redis://u:x@canary:y:1"):
        with pytest.raises(ConfigInvalid) as raised:
            await AsyncExitStack().enter_async_context(opened(url))
        assert "canary" not in str(raised.value)


async def test_after_an_outage_the_living_may_first_say_that_they_live(tmp_path: Path) -> None:
    loaded = scripts.load(with_flags=False)
    with Server(tmp_path, appendfsync="always") as server:
        async with Redis.from_url(server.url, protocol=2) as redis:
            calls = Calls(redis, "{muxer:default}:", loaded, 0.25)
            asleep, awake = (Owner(calls, 86_400, lambda: "0") for _ in range(2))
            await asleep.beat()
            await awake.beat()
            store = RedisStore(calls, asleep, 86_400, lambda: "0", tmp_path)
            await hold(store, "a", 60)
            server.kill()
            with pytest.raises(StoreUnavailable):
                await awake.beat()
            server.start()
            await redis.delete(f"{{muxer:default}}:alive:{asleep.name}")  # it ran out meanwhile
            presumed = []
            for _ in range(3):
                await awake.beat()
                presumed.append(await counted(store, CLAIM))
            assert presumed == [(0, 60, 0), (0, 60, 0), (0, 0, 60)]
            await calls.close()
