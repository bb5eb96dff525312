"""The store goes away under load and comes back: who is served meanwhile, and that all agrees after (S18, F7)."""

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis

from muxer import Price, Usage, usd
from muxer.testing import Fail, Say, Stall
from tests.plugins.redis_server import Server
from tests.proxy import OpenProxy, Proxy, nanos

CAP = 100
ONE = nanos("0.000322")  # the most our question to `small` may cost with this cap
SAID = Say(usage=Usage(100, 50))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    with Server(folder, appendfsync="always") as running:
        yield running


async def over(server: Server, proxy: OpenProxy, limits: str) -> Proxy:
    """A proxy whose store is that server."""
    return await proxy(
        plugins="[openai, redis, prometheus]", store=f"{{kind: redis, url: '{server.url}'}}", limits=limits
    )


class Load:
    """Callers who ask and ask again; what they were answered."""

    def __init__(self, opened: Proxy, key: str = "sk-alice") -> None:
        self._opened = opened
        self._key = key
        self._stopping = False
        self._answered = asyncio.Event()
        self.statuses: list[int] = []

    async def __aenter__(self) -> "Load":
        self._tasks = [asyncio.create_task(self._ask(number)) for number in range(4)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def more(self, count: int, status: int = 200) -> None:
        """Waits for so many more answers of a status."""
        wanted = self.statuses.count(status) + count
        async with asyncio.timeout(20):
            while self.statuses.count(status) < wanted:
                self._answered.clear()
                await self._answered.wait()

    async def _ask(self, number: int) -> None:
        while not self._stopping:
            response = await self._opened.chat(self._key, model="small", max_tokens=CAP, stream=number % 2 == 0)
            await response.read()
            self.statuses.append(response.status)
            self._answered.set()


@asynccontextmanager
async def away(opened: Proxy, server: Server, *, stopped: bool = False) -> AsyncIterator[None]:
    """While it lasts the server is killed, or stopped; after it all is told."""
    over = [line["event"] for line in opened.log.lines].count("store_outage_over")
    if stopped:
        server.send(signal.SIGSTOP)
    else:
        server.kill()
    yield
    if stopped:
        server.send(signal.SIGCONT)
    else:
        server.start()
    await opened.log.wait_for("store_outage_over", over + 1)


async def assert_all_agree(opened: Proxy) -> None:
    """Soon: on a busy machine calls time out, so that after an outage there may be another, short one."""
    accounts = await opened.accounts()
    with suppress(TimeoutError):
        async with asyncio.timeout(20):
            while not accounts.bill == accounts.spent == accounts.recorded:
                await asyncio.sleep(0.05)
                accounts = await opened.accounts()
    assert accounts.bill == accounts.spent == accounts.recorded > 0
    assert accounts.presumed == 0


@pytest.mark.parametrize("stopped", [False, True], ids=["killed", "stopped"])
async def test_allowed_requests_go_on_and_are_counted_after(server: Server, proxy: OpenProxy, stopped: bool) -> None:
    opened = await over(server, proxy, "[{per: user, daily_usd: 1, on_store_error: allow}]")
    opened.upstream.default = SAID
    async with Load(opened) as load:
        await load.more(10)
        async with away(opened, server, stopped=stopped):
            await load.more(40)
        await load.more(10)
    assert set(load.statuses) == {200}
    await opened.assembly.parts.ledger.close(grace_s=10)
    await assert_all_agree(opened)
    assert (await opened.accounts()).held == 0


@pytest.mark.parametrize("stopped", [False, True], ids=["killed", "stopped"])
async def test_escrow_is_spent_and_no_more(server: Server, proxy: OpenProxy, stopped: bool) -> None:
    limit = 50 * 20 * ONE  # two percent of it are twenty requests
    opened = await over(server, proxy, f"[{{per: user, daily_usd: {usd(limit)}, on_store_error: escrow}}]")
    opened.upstream.default = Say(usage=Usage(122, CAP))
    async with Load(opened) as load:
        await load.more(10)
        await reserved(opened, 20 * ONE)
        before = opened.upstream.bill_nanos(prices(opened))
        async with away(opened, server, stopped=stopped):
            await load.more(50, status=503)
            spent_away = opened.upstream.bill_nanos(prices(opened)) - before
        await load.more(10)
    stats = await opened.get("/stats", "sk-root")
    assert (stats["requests"], stats["by_user"][0]["user"]) == (
        sum(row["requests"] for row in stats["by_user"]),
        "alice",
    )
    assert [row["model"] for row in stats["by_model"]] == ["small"] and stats["held_usd"] != "0"
    # The four that were under way when it went were held by the store itself, those before the second look too.
    assert spent_away >= 10 * ONE
    await assert_all_agree(opened)
    counts = await opened.log.wait_for("store_outage_over")
    assert 0 < int(str(counts["escrow"])) <= 20
    await reserved(opened, 20 * ONE)


def prices(opened: Proxy) -> dict[str, Price]:
    return {m.upstream: m.price for m in opened.assembly.parts.rules.catalog.models.values() if m.price}


async def reserved(opened: Proxy, nanos_held: int) -> None:
    """Waits until so much is set aside and nothing else held."""
    async with asyncio.timeout(10):
        while (await opened.store.held())[0] != nanos_held:
            pass


async def test_a_limit_that_refuses_sends_nothing_and_nothing_stays_held(server: Server, proxy: OpenProxy) -> None:
    limits = "[{per: user, daily_usd: 1, on_store_error: allow}, {per: user, monthly_usd: 1}]"
    opened = await over(server, proxy, limits)
    async with Load(opened) as load:
        await load.more(10)
        async with away(opened, server, stopped=True):
            await load.more(20, status=503)
            asked = len(opened.upstream.calls)
            await load.more(20, status=503)
            assert len(opened.upstream.calls) == asked
        await load.more(10)
    await assert_all_agree(opened)
    assert (await opened.accounts()).held == 0


async def test_an_outage_is_said_when_it_begins_and_when_it_is_over(server: Server, proxy: OpenProxy) -> None:
    opened = await over(server, proxy, "[{per: user, daily_usd: 1, on_store_error: allow}]")
    async with away(opened, server):
        for _ in range(20):
            assert (await opened.chat(model="small", max_tokens=CAP)).status == 200
        await opened.chat("sk-bob", model="small", max_tokens=CAP)
    said = [line for line in opened.log.lines if str(line["event"]).startswith("store_outage")]
    assert [(line["event"], line.get("allow")) for line in said] == [("store_outage", None), ("store_outage_over", 21)]
    metrics = await (await opened.client.get("/metrics")).text()
    assert 'muxer_outage_requests_total{policy="allow"} 21.0' in metrics


async def test_what_an_outage_let_through_past_a_limit_is_reported(server: Server, proxy: OpenProxy) -> None:
    opened = await over(server, proxy, f"[{{per: user, daily_usd: {usd(3 * ONE)}, on_store_error: allow}}]")
    opened.upstream.default = Say(usage=Usage(122, CAP))
    async with away(opened, server):
        for _ in range(5):
            assert (await opened.chat(model="small", max_tokens=CAP)).status == 200
    said = await opened.log.wait_for("limit_passed")
    assert (said["limit"], said["over_usd"]) == ("limits[0].daily_usd", usd(2 * ONE))
    assert (await opened.chat(model="small", max_tokens=CAP)).status == 402
    await assert_all_agree(opened)


async def test_rates_are_not_checked_under_allow(server: Server, proxy: OpenProxy) -> None:
    limits = "[{per: user, daily_usd: 1, on_store_error: allow}, {per: user, concurrent: 1, on_store_error: allow}]"
    opened = await over(server, proxy, limits)
    async with away(opened, server):
        assert {(await opened.chat(max_tokens=CAP)).status for _ in range(3)} == {200}
    await assert_all_agree(opened)


@pytest.mark.parametrize("comes_back_first", [True, False])
async def test_an_outage_may_begin_and_end_while_a_request_runs(
    server: Server, proxy: OpenProxy, comes_back_first: bool
) -> None:
    opened = await over(server, proxy, "[{per: user, daily_usd: 1, on_store_error: allow}]")
    opened.upstream.script(None, Stall(then=SAID), Stall(then=Fail(500)), SAID)
    before = asyncio.create_task(opened.chat(model="small", max_tokens=CAP))
    await opened.upstream.arrived(1)
    async with away(opened, server):
        during = asyncio.create_task(opened.chat(max_tokens=CAP))
        await opened.upstream.arrived(2)
        if not comes_back_first:
            opened.upstream.gate.set()
            assert [(await one).status for one in (before, during)] == [200, 200]
    opened.upstream.gate.set()
    assert [(await one).status for one in (before, during)] == [200, 200]
    attempts = (await opened.record(await during)).attempts
    assert [(one.model, one.outcome) for one in attempts] == [("small", "none"), ("large", "exact")]
    await opened.assembly.parts.ledger.close(grace_s=10)
    await assert_all_agree(opened)
    assert (await opened.accounts()).held == 0


async def test_a_server_that_lost_everything_is_told_again(server: Server, proxy: OpenProxy) -> None:
    opened = await over(server, proxy, "[{per: user, daily_usd: 1}]")
    opened.upstream.default = SAID
    async with Load(opened) as load:
        await load.more(20)
        async with Redis.from_url(server.url) as redis:
            await redis.flushall()
        await opened.log.wait_for("store_told_again")
        await load.more(20)
    await opened.assembly.parts.ledger.close(grace_s=10)
    await assert_all_agree(opened)
    assert (await opened.accounts()).held == 0


async def test_a_locked_file_is_waited_for_by_settlements_only(proxy: OpenProxy) -> None:
    store = "{kind: sqlite, path: muxer.db, busy_timeout_s: 0.01}"
    opened = await proxy(store=store, limits="[{per: user, daily_usd: 1, on_store_error: allow}]")
    opened.upstream.default = SAID
    file = opened.assembly.configuration.folder / "muxer.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert {(await opened.chat(model="small", max_tokens=CAP)).status for _ in range(20)} == {200}
    await opened.log.wait_for("store_outage_over")
    await assert_all_agree(opened)
    assert (await opened.accounts()).recorded == 20 * 200_000
