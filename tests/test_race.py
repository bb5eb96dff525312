"""Two proxies of one store, many clients, a kill: budgets, rates and slots hold (T3, T11, I1, I2, I5, I11)."""

import asyncio
import random
import time
from contextlib import AsyncExitStack

import aiohttp
import pytest

from muxer import Usage
from muxer.testing import Behaviour, Fail, Say, Stall
from tests.processes import Client, Gateway, House, fitted

COST = 120_000  # nano-dollars of a request, on average


def answers(chance: random.Random, count: int) -> list[Behaviour]:
    """Random costs; one in ten fails first, so that the request is tried again elsewhere."""
    return [
        Fail(500) if chance.random() < 0.1 else Say(usage=Usage(chance.randint(1, 40), chance.randint(1, 100)))
        for _ in range(count)
    ]


class Race:
    """Clients that ask until they are refused, one request in ten left by its client, and what they met."""

    def __init__(self, house: House, gateways: list[Gateway], client: Client, chance: random.Random) -> None:
        self._house = house
        self._gateways = gateways
        self._client = client
        self._chance = chance
        self.statuses: list[int] = []
        self.false_refusals = 0
        self.is_over = False

    async def run(self, number: int) -> None:
        """One client."""
        while True:
            name, gateway = f"{number}.{len(self.statuses)}", self._chance.choice(self._gateways)
            if self._chance.random() < 0.1:
                await self._client.leave(gateway, name)
                continue
            status, body = await self._client.ask(gateway, name, stream=self._chance.random() < 0.5)
            self.statuses.append(status)
            if status == 402:
                self.false_refusals += fitted(body)
                return

    async def watch(self) -> None:
        """At every instant what is counted covers what was billed before it (I1)."""
        while not self.is_over:
            billed = self._house.bill
            assert billed <= await self._house.counted()
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(("clients", "fitting"), [(20, 60), pytest.param(200, 500, marks=pytest.mark.slow)])
async def test_two_proxies_spend_a_limit_to_less_than_one_request(house: House, clients: int, fitting: int) -> None:
    limit = fitting * COST
    usd = f"0.{limit:09}"
    limits = f"[{{per: user, total_usd: {usd}}}, {{per: all, total_usd: {usd}}}]"
    chance = random.Random(clients)
    house.upstream.script(None, *answers(chance, 20 * fitting))
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        gateways = [await stack.enter_async_context(house.gateway(name, limits)) for name in "ab"]
        client = Client(session)
        race = Race(house, gateways, client, chance)
        watching = asyncio.create_task(race.watch())
        await asyncio.gather(*(race.run(number) for number in range(2 * clients)))
        await house.settled()
        await race.run(-1)  # nothing is held now but by this one client
        race.is_over = True
        await watching
        totals = await house.settled()
    print(
        f"\nT3 {house.kind}: limit {limit}, billed {house.bill}, headroom {limit - totals.spent}, {len(race.statuses)}"
    )
    assert house.bill == totals.spent == totals.recorded <= limit
    assert (totals.held, totals.presumed, race.false_refusals) == (0, 0, 0)
    assert limit - totals.spent < 400_000  # the bound of a request: 119 tokens in, 100 out
    assert set(race.statuses) <= {200, 402, 502, 503}


async def held_open(
    house: House, client: Client, gateway: Gateway, count: int
) -> list["asyncio.Task[tuple[int, bytes]]"]:
    """So many requests that the upstream keeps waiting."""
    before = len(house.upstream.calls)
    house.upstream.default = Stall()
    asked = [asyncio.create_task(client.ask(gateway, f"{gateway.folder.name}{number}")) for number in range(count)]
    await house.upstream.arrived(before + count)
    return asked


@pytest.mark.parametrize("waits", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["expired", "in time"])
async def test_the_slots_of_a_killed_proxy_come_back_once(house: House, waits: bool) -> None:
    limits = "[{per: user, total_usd: 1}, {per: all, total_usd: 1}, {per: user, concurrent: 60}]"
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        dying, living = [await stack.enter_async_context(house.gateway(name, limits)) for name in "ab"]
        client = Client(session)
        asked = await held_open(house, client, dying, 50) + await held_open(house, client, living, 10)
        assert [(await client.ask(gateway, "over"))[0] for gateway in (dying, living)] == [429, 429]
        dying.kill()
        killed_at = time.monotonic()
        if not waits:
            await house.expire(dying)
        house.upstream.default = Say()
        async with asyncio.timeout(60):
            while (await client.ask(living, "next"))[0] == 429:
                await asyncio.sleep(0.05)
        print(f"\nT11 {house.kind}: slots back after {time.monotonic() - killed_at:.1f} s")
        again = await held_open(house, client, living, 50)
        assert (await client.ask(living, "over"))[0] == 429
        house.upstream.gate.set()
        statuses = [status for status, _ in await asyncio.gather(*asked, *again)]
        assert (statuses.count(0), statuses.count(200)) == (50, 60)
        totals = await house.settled()
    assert totals.spent == totals.recorded < house.bill <= totals.counted
    totals = await house.reconcile()
    assert (totals.spent, totals.presumed, totals.recorded) == (house.bill, 0, house.bill)


async def test_a_rate_holds_over_two_proxies_and_the_death_of_one(house: House) -> None:
    limits = "[{per: user, total_usd: 1}, {per: all, total_usd: 1}, {per: user, requests_per_minute: 60, burst: 20}]"
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        gateways = [await stack.enter_async_context(house.gateway(name, limits)) for name in "ab"]
        client = Client(session)
        begun = time.monotonic()
        calls = [client.ask(gateways[number % 2], "many") for number in range(60)]
        statuses = [status for status, _ in await asyncio.gather(*calls)]
        gateways[0].kill()
        await house.expire(gateways[0])
        statuses += [
            status for status, _ in await asyncio.gather(*(client.ask(gateways[1], "more") for _ in range(30)))
        ]
        admitted = statuses.count(200)
        assert set(statuses) == {200, 429}
        assert 20 <= admitted <= 20 + 1 + (time.monotonic() - begun)
