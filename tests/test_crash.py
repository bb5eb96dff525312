"""What a kill -9 and a SIGTERM leave behind: real processes and the upstream's own bill (T4, I1, I4, S10, F17)."""

import asyncio
import os
import sys

import aiohttp

from muxer import Usage
from muxer.testing import Say, Stall
from tests.processes import Client, Gateway, House

LIMITS = "[{per: user, total_usd: 1}, {per: all, total_usd: 1}, {per: user, concurrent: 1}]"


async def asking(client: Client, gateway: Gateway, house: House, calls: int) -> "asyncio.Task[tuple[int, bytes]]":
    """A request that the upstream has billed and not answered."""
    asked = asyncio.create_task(client.ask(gateway, "asking"))
    await house.upstream.arrived(calls)
    return asked


async def killed_in_flight(house: House, client: Client) -> None:
    """One finished request, then one that the upstream has billed and not answered when the proxy is killed."""
    house.upstream.script(None, Say(usage=Usage(input_tokens=10, output_tokens=20)), Stall())
    async with house.gateway(limits=LIMITS) as gateway:
        assert (await client.ask(gateway, "answered"))[0] == 200
        asked = await asking(client, gateway, house, 2)
        gateway.kill()
        assert (await asked)[0] == 0
        await house.expire(gateway)


async def test_after_a_kill_what_was_in_flight_is_interrupted_and_counted(house: House) -> None:
    async with aiohttp.ClientSession() as session:
        await killed_in_flight(house, Client(session))
    async with house.gateway(limits=LIMITS):
        totals = await house.settled()
    assert sorted(record.state for record in await house.records()) == ["done", "interrupted"]
    assert (totals.spent, totals.presumed) == (totals.recorded, totals.presumed_recorded)
    assert totals.spent < house.bill <= totals.counted


async def test_after_a_kill_with_a_hedge_under_way_both_attempts_are_counted(house: House) -> None:
    house.upstream.script(None, Stall(), Stall())
    async with aiohttp.ClientSession() as session, house.gateway(route=", hedge_after_s: 0.05") as gateway:
        asked = await asking(Client(session), gateway, house, 2)
        held = (await house.store.held())[0]
        gateway.kill()
        assert (await asked)[0] == 0
        await house.expire(gateway)
    async with house.gateway():
        totals = await house.settled()
    (record,) = await house.records()
    assert (record.state, record.presumed_nanos) == ("interrupted", held)
    assert (totals.spent, totals.presumed, totals.presumed_recorded) == (0, held, held)
    assert house.bill <= held


async def test_after_a_kill_its_slots_come_back_when_it_starts_again(house: House) -> None:
    async with aiohttp.ClientSession() as session:
        client = Client(session)
        await killed_in_flight(house, client)
        async with house.gateway(limits=LIMITS) as gateway:
            await house.settled()
            assert (await client.ask(gateway, "next"))[0] == 200


async def test_the_operator_resolves_what_a_kill_left_presumed(house: House) -> None:
    async with aiohttp.ClientSession() as session:
        await killed_in_flight(house, Client(session))
    async with house.gateway(limits=LIMITS):
        totals = await house.settled()
    code, listed = await ledger(house, "list")
    assert (code, "interrupted" in listed) == (0, True)
    id = next(word for word in listed.split() if word.startswith("req_"))
    lost = house.bill - totals.spent
    assert (await ledger(house, "resolve", id, "--cost", f"{lost / 1e9:.9f}"))[0] == 0
    totals = await house.totals()
    assert (totals.spent, totals.held, totals.presumed, totals.recorded) == (house.bill, 0, 0, house.bill)
    assert (await ledger(house, "resolve", id, "--cost", "0"))[0] == 1


async def test_a_sigterm_lets_a_running_request_finish(house: House) -> None:
    house.upstream.script(None, Stall())
    async with aiohttp.ClientSession() as session, house.gateway() as gateway:
        asked = await asking(Client(session), gateway, house, 1)
        gateway.process.terminate()
        await gateway.says(b"stopping")
        house.upstream.gate.set()
        assert (await asked)[0] == 200
        assert await gateway.process.wait() == 0
    totals = await house.totals()
    assert (totals.spent, totals.held, totals.presumed, totals.recorded) == (house.bill, 0, 0, house.bill)


async def test_a_second_sigterm_hastens_and_what_was_running_stays_counted(house: House) -> None:
    house.upstream.script(None, Stall())
    async with aiohttp.ClientSession() as session, house.gateway() as gateway:
        asked = await asking(Client(session), gateway, house, 1)
        gateway.process.terminate()
        await gateway.says(b"stopping")
        gateway.process.terminate()
        assert await asyncio.wait_for(gateway.process.wait(), 10) == 0
        assert (await asked)[0] == 503
    totals = await house.totals()
    assert (totals.spent, totals.held, totals.presumed >= house.bill) == (0, 0, True)


async def ledger(house: House, *words: str) -> tuple[int | None, str]:
    """`muxer ledger` as an operator runs it in the folder of the proxy."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "muxer", "ledger", *words,
        cwd=house.folder / "a", env={**os.environ, "COLUMNS": "200"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    return process.returncode, out.decode()
