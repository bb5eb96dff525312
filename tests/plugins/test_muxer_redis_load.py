"""The shared store under load while its server or its connection fails (F7, F8, F9); prints what it measured."""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from muxer import Granted, Store, StoreUnavailable
from muxer.testing import a_record
from muxer.testing.contracts.money import a_choice, a_claim, an_attempt, counted
from tests.plugins.redis_server import TOTAL, Cutting, Server, opened
from tests.proxy import OpenProxy, Proxy

pytestmark = pytest.mark.slow
CLAIM = a_claim(limit_nanos=2**50, windows=(TOTAL,))
CALLS = 10_000
# Beyond the deadline of a call: what a loaded machine adds.
SLACK_S = 0.25


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "server", appendfsync="always") as running:
        yield running


async def test_ten_thousand_calls_with_lost_replies_are_counted_once_each(server: Server) -> None:
    cutting, chance, costs = Cutting(server), random.Random(0), dict[str, int]()
    async with cutting as url, opened(url, timeout_s=2.0) as store:
        numbers = iter(range(CALLS // 2))

        async def work() -> None:
            for number in numbers:
                id, cost = f"r-{number}", chance.randrange(1_000)
                await _repeated(lambda id=id: store.hold(a_record(id=id), [a_choice(2_000, CLAIM)]))  # type: ignore[misc]
                await _repeated(lambda id=id, cost=cost: _settle(store, id, cost))  # type: ignore[misc]
                costs[id] = cost

        cutting.cut_share = 0.1
        await asyncio.gather(*(work() for _ in range(4)))
        cutting.cut_share = 0.0
        (line,) = await store.summary([], 0, {})
        print(f"\nF9: {CALLS} calls, {cutting.were_cut} replies cut, inflation {line.cost_nanos - sum(costs.values())}")
        assert cutting.were_cut > CALLS / 50
        assert await counted(store, CLAIM) == (sum(costs.values()), 0, 0)
        assert (line.requests, line.cost_nanos, await store.held()) == (CALLS // 2, sum(costs.values()), (0, 0))


async def _repeated(call: Callable[[], Awaitable[object]]) -> None:
    """Until it is answered, as a proxy does with settlements."""
    while True:
        try:
            assert isinstance(await call(), Granted | None)
        except StoreUnavailable:
            await asyncio.sleep(0.01)
        else:
            return


async def _settle(store: Store, id: str, cost: int) -> None:
    await store.settle(a_record(id=id, state="done", cost_nanos=cost, attempts=(an_attempt(cost_nanos=cost),)))


class Load:
    """Holds asked for at a steady rate, and how long each took to be answered or refused."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tasks: set[asyncio.Task[None]] = set()
        self.waits: list[float] = []
        self.seen = Counter[str]()

    async def run(self, seconds: float, per_second: int = 200) -> None:
        """Asks so often, whatever becomes of it, and waits for the last."""
        for number in range(int(seconds * per_second)):
            self._tasks.add(asyncio.create_task(self._one(f"{time.monotonic()} {number}")))
            await asyncio.sleep(1 / per_second)
        await asyncio.gather(*self._tasks)
        self._tasks.clear()

    async def _one(self, id: str) -> None:
        begun = time.perf_counter()
        try:
            await self._store.hold(a_record(id=id), [a_choice(1, CLAIM)])
            self.seen["taken"] += 1
        except StoreUnavailable:
            self.seen["refused"] += 1
        self.waits.append(time.perf_counter() - begun)

    def at(self, share: float) -> float:
        """The wait that this share of all did not pass."""
        return sorted(self.waits)[int((len(self.waits) - 1) * share)]

    def __str__(self) -> str:
        median, late, worst = (self.at(share) * 1e3 for share in (0.5, 0.99, 1))
        return f"{dict(self.seen)}; p50 {median:.1f} ms, p99 {late:.1f} ms, worst {worst:.0f} ms"


@pytest.mark.parametrize("fault", ["stopped", "slow"])
async def test_a_server_that_hangs_delays_no_request_beyond_a_quarter_of_a_second(server: Server, fault: str) -> None:
    cutting = Cutting(server)
    async with cutting as url, opened(url, timeout_s=0.25) as store:
        before, during, after = Load(store), Load(store), Load(store)
        await before.run(2)
        if fault == "stopped":
            server.send(signal.SIGSTOP)
        else:
            cutting.delay_s = 0.5
        await during.run(10)
        server.send(signal.SIGCONT)
        cutting.delay_s = 0.0
        back_s = await _back(store)
        await after.run(2)
        print(f"\nF8 {fault}: before {before}\n  during {during}\n  back after {back_s:.2f} s\n  after {after}")
        assert before.seen["refused"] == after.seen["refused"] == during.seen["taken"] == 0
        assert during.at(0.99) < 0.25 + SLACK_S
        assert during.at(0.5) < 0.01
        assert back_s < 2


async def _back(store: Store) -> float:
    """How long it takes until a hold is taken again."""
    begun = time.monotonic()
    while True:
        try:
            await store.hold(a_record(id=f"back {time.monotonic()}"), [a_choice(0, CLAIM)])
        except StoreUnavailable:
            await asyncio.sleep(0.01)
        else:
            return time.monotonic() - begun


async def test_a_server_killed_for_ten_seconds_under_load_loses_nothing(server: Server, proxy: OpenProxy) -> None:
    muxer = await proxy(plugins="[openai, redis]", store=f'{{kind: redis, url: "{server.url}"}}')
    asking = Asking(muxer)
    load = asyncio.create_task(asking.run(16))
    await asyncio.sleep(3)
    server.kill()
    killed_at = time.monotonic()
    await asyncio.sleep(10)
    server.start()
    back_at = time.monotonic()
    await load
    first = min(at for at, status, _ in asking.answers if status == 200 and at > back_at) - back_at
    refused = sorted(waited for at, status, waited in asking.answers if status == 503 and at > killed_at + 0.5)
    print(
        f"\nF7: {Counter(status for _, status, _ in asking.answers)}; refused p50 {refused[len(refused) // 2]:.4f} s,"
    )
    print(f"  worst {refused[-1]:.3f} s; first success {first:.2f} s after the start")
    assert {status for _, status, _ in asking.answers} == {200, 503}
    assert refused[len(refused) // 2] < 0.05
    assert first < 2 + 0.2 + SLACK_S
    async with asyncio.timeout(60):
        while await muxer.store.held() != (0, 0):
            await asyncio.sleep(0.1)
    accounts = await muxer.accounts()
    assert accounts.bill == accounts.spent == accounts.recorded
    assert (accounts.held, accounts.presumed) == (0, 0)


class Asking:
    """A client that asks the proxy at a steady rate; `answers` are times, statuses and how long they took."""

    def __init__(self, muxer: Proxy) -> None:
        self._muxer = muxer
        self.answers: list[tuple[float, int, float]] = []

    async def run(self, seconds: float, per_second: int = 30) -> None:
        tasks = set()
        for _ in range(int(seconds * per_second)):
            tasks.add(asyncio.create_task(self._one()))
            await asyncio.sleep(1 / per_second)
        await asyncio.gather(*tasks)

    async def _one(self) -> None:
        begun = time.monotonic()
        response = await self._muxer.chat(max_tokens=10)
        await response.read()
        ended = time.monotonic()
        self.answers.append((ended, response.status, ended - begun))


async def test_the_metric_says_that_the_store_must_not_take_holds(server: Server, proxy: OpenProxy) -> None:
    muxer = await proxy(plugins="[openai, redis, prometheus]", store=f'{{kind: redis, url: "{server.url}"}}')
    await _metric(muxer, 1)
    begun = time.monotonic()
    async with Redis.from_url(server.url, protocol=2) as redis:
        await redis.config_set("maxmemory-policy", "allkeys-lru")
    await _metric(muxer, 0)
    print(f"\nF12: shown after {time.monotonic() - begun:.1f} s")
    assert time.monotonic() - begun < 30


async def _metric(muxer: Proxy, value: int) -> None:
    async with asyncio.timeout(30):
        while f"muxer_store_up {value}.0" not in await (await muxer.client.get("/metrics")).text():
            await asyncio.sleep(0.2)
