"""Outages and several processes: escrow never passes the limit, a kill -9 in an outage loses and doubles nothing."""

import asyncio
import os
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import aiohttp
import pytest
from muxer_redis import RedisSettings, open_redis
from muxer_sqlite import SqliteSettings, open_sqlite

from muxer import BudgetExceeded, HoldChoice, Price, Rates, Secret, Store, StoreUnavailable, Usage
from muxer.escrow import SHARE_PERCENT
from muxer.ledger import Ledger, open_ledger
from muxer.testing import Say, ScriptedUpstream, Stall, a_choice, a_claim, a_record, an_attempt, open_context
from muxer.testing.contracts.money import counted
from tests.plugins.redis_server import TOTAL, Server
from tests.proxy import Lines, Silent

LIMIT = 10_000
CLAIM = a_claim(limit_nanos=LIMIT, windows=(TOTAL,), on_store_error="escrow")
SHARE = LIMIT * SHARE_PERCENT // 100


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    with Server(folder, appendfsync="always") as running:
        yield running


@asynccontextmanager
async def ledger(folder: Path, server: Server, log: Lines) -> AsyncIterator[tuple[Store, Ledger]]:
    folder.mkdir(exist_ok=True)
    async with (
        open_context(folder, log=log) as context,
        open_redis(RedisSettings(url=Secret(server.url), timeout_s=5), context) as store,
        open_ledger(store, Silent(), log, context.clock, grace_s=10) as opened,
    ):
        yield store, opened


async def ask(ledger: Ledger, id: str, cost: int, bound: int | None = None) -> bool:
    """Spends so much; False when it was refused."""
    choice: HoldChoice = a_choice(bound or cost, CLAIM)
    try:
        await ledger.hold(a_record(id=id), [choice])
    except (BudgetExceeded, StoreUnavailable):
        await ledger.settle(a_record(id=id, state="failed"))
        return False
    await ledger.settle(a_record(id=id, state="done", cost_nanos=cost, attempts=(an_attempt(cost_nanos=cost),)))
    return True


async def test_escrow_of_two_processes_never_passes_the_limit(tmp_path: Path, server: Server) -> None:
    logs = Lines(), Lines()
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(ledger(tmp_path / str(number), server, log))
            for number, log in enumerate(logs)
        ]
        (store, first), (_, second) = opened
        billed = 30 * sum([await ask(one, f"before-{place}", 30) for place, one in enumerate((first, second))])
        async with asyncio.timeout(10):
            while await counted(store, CLAIM) != (billed, 2 * SHARE, 0):
                pass
        for number in range(LIMIT):
            if not await ask(first, f"direct-{number}", 30):
                break
            billed += 30
        server.kill()
        for place, one in enumerate((first, second)):
            answered = [await ask(one, f"away-{place}-{number}", 28, bound=30) for number in range(20)]
            # Seven bounds of 30 do not fit into 200, but what each request left over does its part.
            assert answered.count(True) * 28 <= SHARE
            billed += answered.count(True) * 28
        assert LIMIT - 2 * SHARE < billed <= LIMIT
        server.start()
        for log in logs:
            await log.wait_for("store_outage_over")
        async with asyncio.timeout(10):
            while (await counted(store, CLAIM))[1] not in (0, SHARE, 2 * SHARE):
                pass
        assert (await counted(store, CLAIM))[0] == billed
    async with ledger(tmp_path / "0", server, Lines()) as (store, _):
        assert await counted(store, CLAIM) == (billed, 0, 0)


async def test_a_request_that_costs_nothing_needs_no_escrow(tmp_path: Path, server: Server) -> None:
    async with ledger(tmp_path / "0", server, Lines()) as (_, opened):
        server.kill()
        assert await ask(opened, "free", 0)
        assert not await ask(opened, "dear", 1)
        server.start()


async def test_the_embedded_store_sets_nothing_aside_and_refuses_while_it_is_locked(tmp_path: Path) -> None:
    async with (
        open_context(tmp_path) as context,
        open_sqlite(SqliteSettings(busy_timeout_s=0.05), context) as store,
        open_ledger(store, Silent(), context.log, context.clock) as opened,
    ):
        assert await ask(opened, "before", 30)
        with closing(sqlite3.connect(tmp_path / "muxer.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            assert not await ask(opened, "dear", 1)
            assert await ask(opened, "free", 0)
        await opened.close(grace_s=10)
        assert sorted([record.id async for record in store.records(0, {}, 10)]) == ["before", "free"]
        assert await counted(store, CLAIM) == (30, 0, 0)


PRICES = {"small-1": Price(Rates(input=1_000_000, output=2_000_000, cached_input=1_000_000, cache_write=1_000_000))}
BODY = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 100}
YAML = """
version: 1
plugins: [openai, redis]
store: {{kind: redis, url: "{store}"}}
providers: {{up: {{kind: openai, base_url: "{upstream}/v1"}}}}
models: {{small: {{provider: up, name: small-1, price_usd_per_million: {{input: 1, output: 2}}}}}}
routes: [{{name: all, use: [small]}}]
limits: [{{per: user, total_usd: 1, on_store_error: {policy}}}]
"""


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "muxer", "serve", "--port", port,
        cwd=folder, env=dict(os.environ), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    await asyncio.wait_for(process.stderr.readuntil(b"Try it"), 15)
    try:
        yield process, f"http://127.0.0.1:{port}/v1/chat/completions"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


@pytest.mark.parametrize("policy", ["allow", "escrow"])
async def test_a_kill_in_an_outage_loses_and_doubles_nothing(tmp_path: Path, server: Server, policy: str) -> None:
    claim = a_claim("user:anonymous", limit_nanos=10**9, windows=(TOTAL,))
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(ScriptedUpstream(Say(usage=Usage(10, 20))))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        context = await stack.enter_async_context(open_context(tmp_path))
        (tmp_path / "routing.yaml").write_text(YAML.format(store=server.url, upstream=upstream.url, policy=policy))
        store = await stack.enter_async_context(open_redis(RedisSettings(url=Secret(server.url), timeout_s=5), context))

        async def settled(spent: int, presumed: int) -> None:
            async with asyncio.timeout(30):
                while await counted(store, claim) not in [(spent, held, presumed) for held in (0, 2 * 10**7)]:
                    pass

        async with serving(tmp_path) as (process, url):
            assert (await session.post(url, json=BODY)).status == 200
            await settled(50_000, 0)
            if policy == "escrow":
                async with asyncio.timeout(10):
                    while (await store.held())[0] == 0:
                        pass
            server.kill()
            assert {(await session.post(url, json=BODY)).status for _ in range(5)} == {200}
            upstream.script(None, Stall())
            asked = asyncio.create_task(session.post(url, json=BODY).__aenter__())
            await upstream.arrived(7)
            process.kill()
            with pytest.raises(aiohttp.ClientError):
                await asked
        server.start()
        upstream.gate.set()
        bill = upstream.bill_nanos(PRICES)
        async with serving(tmp_path) as (_, url):
            (interrupted,) = [record async for record in _interrupted(store)]
            await settled(6 * 50_000, interrupted)
            assert bill <= 6 * 50_000 + interrupted
            assert (await session.post(url, json=BODY)).status == 200
        await settled(7 * 50_000, interrupted)


async def _interrupted(store: Store) -> AsyncIterator[int]:
    """What is presumed for each interrupted request, once there is one."""
    found: list[int] = []
    async with asyncio.timeout(30):
        while not found:
            rows = [record async for record in store.records(0, {"state": "interrupted"}, 10)]
            # On a slow machine the server has buried the dead process by now, and what it had set aside with it.
            found = [record.presumed_nanos for record in rows if record.api != "escrow"]
    for one in found:
        yield one
