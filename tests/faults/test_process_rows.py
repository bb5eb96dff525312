"""RELIABILITY 3, F16 to F25: what happens to the proxy itself, and its clock. What other files prove is listed in
`proven.py`."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from redis.asyncio import Redis

from muxer.testing import ManualClock, Say, Stall
from tests.faults.blocking import BLOCK_S
from tests.plugins.redis_server import an_older_plugin
from tests.processes import Client, Gateway, House, open_house
from tests.proxy import QUESTION, OpenProxy

HOUR_S, MONTH_S = 3_600, 31 * 86_400


@pytest.fixture
async def shared(tmp_path: Path) -> AsyncIterator[House]:
    """A server that proxies share."""
    async with open_house("redis", tmp_path) as opened:
        yield opened


@pytest.mark.slow
async def test_fault_f16_a_proxy_that_was_stopped_settles_late_and_exactly(shared: House) -> None:
    shared.upstream.script(None, Stall(then=Say(text="one two")))
    async with aiohttp.ClientSession() as session, shared.gateway("a") as asleep, shared.gateway("b") as awake:
        asked = asyncio.create_task(Client(session).ask(asleep, "asleep"))
        await shared.upstream.arrived(1)
        asleep.process.send_signal(signal.SIGSTOP)
        await _end_lease(shared, asleep)
        async with asyncio.timeout(30):
            while (await shared.totals()).presumed == 0:
                assert (await Client(session).ask(awake, "awake"))[0] == 200
        asleep.process.send_signal(signal.SIGCONT)
        shared.upstream.gate.set()
        assert (await asked)[0] == 200
        totals = await shared.settled()
    assert (totals.spent, totals.held, totals.presumed, totals.recorded) == (shared.bill, 0, 0, shared.bill)
    assert {record.state for record in await shared.records()} == {"done"}


async def _end_lease(shared: House, gateway: Gateway) -> None:
    """As its time would, in 25 seconds, and the sweep of another proxy a moment later."""
    assert shared.server is not None
    async with Redis.from_url(shared.server.url, protocol=2) as redis:
        assert await redis.delete(*gateway.lease) == 1


async def test_fault_f19_a_clock_that_jumps_refuses_nobody_and_keeps_the_accounts(proxy: OpenProxy) -> None:
    clock = ManualClock()
    opened = await proxy(clock=clock, limits="[{per: user, total_usd: 1}, {per: user, requests_per_minute: 600}]")
    for jump_s in (0, HOUR_S, -2 * HOUR_S, MONTH_S, -MONTH_S):
        clock.now_s += jump_s
        response = await opened.chat()
        assert response.status == 200, await response.read()
    accounts = await opened.accounts()
    assert accounts.bill == accounts.spent == accounts.recorded > 0
    assert (accounts.held, accounts.presumed) == (0, 0)


async def test_fault_f23_a_plugin_that_blocks_costs_the_others_no_more_than_its_time(proxy: OpenProxy) -> None:
    opened = await proxy(plugins="[openai, sqlite, prometheus, tests.faults.blocking]")
    blocked = {"messages": [{"role": "user", "content": "block"}]}
    asking = [asyncio.create_task(opened.post(blocked)), asyncio.create_task(opened.post({"messages": QUESTION}))]
    alive, *answers = await asyncio.gather(opened.client.get("/livez"), *asking)
    assert (alive.status, [answer.status for answer in answers]) == (200, [200, 200])
    async with asyncio.timeout(60):  # it is reported every five seconds
        while await _lag_s(opened.client) < BLOCK_S / 2:
            await asyncio.sleep(0.1)


async def _lag_s(client: aiohttp.ClientSession) -> float:
    text = await (await client.get("/metrics")).text()
    (line,) = [line for line in text.splitlines() if line.startswith("muxer_loop_lag_seconds ")]
    return float(line.split()[1])


@pytest.mark.slow
async def test_fault_f25_old_and_new_scripts_live_side_by_side_in_a_rolling_restart(
    shared: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(an_older_plugin(tmp_path / "older")))
    statuses: list[int] = []
    async with aiohttp.ClientSession() as session, shared.gateway("a") as old:
        client = Client(session)
        monkeypatch.delenv("PYTHONPATH")
        async with shared.gateway("b") as new:
            for number in range(40):
                served_by = old if number % 2 and number < 20 else new
                statuses.append((await client.ask(served_by, f"{number}", stream=number % 3 == 0))[0])
                if number == 20:
                    old.process.terminate()
            assert await old.process.wait() == 0
            totals = await shared.settled()
    assert statuses == [200] * 40
    assert (totals.spent, totals.held, totals.presumed, totals.recorded) == (shared.bill, 0, 0, shared.bill)
    assert shared.server is not None
    async with Redis.from_url(shared.server.url, protocol=2) as redis:
        assert int((await redis.info("memory"))["number_of_cached_scripts"]) >= 4
