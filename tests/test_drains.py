"""Callers who leave: their answers are read on for the usage, within bounds, and nothing of them stays (S11, F21)."""

import asyncio
from pathlib import Path

from aiohttp import ClientResponse, ClientSession, TCPConnector

from muxer.testing import Behaviour, Say, Slow, Stall
from tests.processes import until
from tests.proxy import QUESTION, OpenProxy, Proxy

SAID = Stall(after_pieces=3, then=Say(text="one two three four five"))
FIELDS = {"model": "small", "stream": True, "messages": QUESTION}


async def streams(opened: Proxy, count: int, session: ClientSession, said: Behaviour = SAID) -> list[ClientResponse]:
    """So many streams, each with something said and more to come."""
    opened.upstream.default = said

    async def one() -> ClientResponse:
        headers = {"x-api-key": "sk-alice"}
        response = await session.post(
            f"http://127.0.0.1:{opened.port}/v1/chat/completions", json=FIELDS, headers=headers
        )
        await response.content.readany()
        return response

    return await asyncio.gather(*(one() for _ in range(count)))


async def test_no_more_than_so_many_are_read_on_and_the_others_are_presumed(proxy: OpenProxy) -> None:
    opened = await proxy(limits="[{per: user, daily_usd: 100}]", plugins="[openai, sqlite, prometheus]")
    drains = opened.assembly.parts.in_flight.drains
    assert drains.most == 256
    drains.most = 2
    drains.change(+1)  # as of another, which lasts
    async with ClientSession() as session:
        for response in await streams(opened, 2, session, Slow(seconds=0.01, then=Say(text="word " * 100))):
            response.close()
        await opened.log.wait_for("request", 2)
    records = [record async for record in opened.store.records(0, {}, 10)]
    assert sorted((one.state, one.attempts[0].outcome, one.client_gone) for one in records) == [
        ("done", "exact", True),
        ("failed", "presumed", True),
    ]
    accounts = await opened.accounts()
    assert (accounts.held, accounts.presumed) == (0, sum(record.presumed_nanos for record in records))
    assert accounts.spent < accounts.bill <= accounts.spent + accounts.presumed
    assert drains.count == 1
    assert "muxer_drains 1.0" in await (await opened.client.get("/metrics")).text()


async def test_when_many_leave_at_once_all_is_billed_and_no_task_or_socket_of_them_stays(proxy: OpenProxy) -> None:
    count = 100
    opened = await proxy(limits="[{per: user, daily_usd: 100}]")
    await (await opened.chat()).read()
    tasks, sockets = len(asyncio.all_tasks()), _sockets()
    async with ClientSession(connector=TCPConnector(limit=count)) as session:
        for response in await streams(opened, count, session):
            response.close()
    opened.upstream.gate.set()
    await opened.log.wait_for("request", count + 1)
    accounts = await opened.accounts()
    assert (accounts.bill, accounts.held, accounts.presumed) == (accounts.spent, 0, 0)
    assert opened.assembly.parts.in_flight.drains.count == 0
    await opened.upstream.stop()  # the connections kept for the next request end with it, not in a minute
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    await until(lambda: _sockets() <= sockets)


def _sockets() -> int:
    """Open files of this process, in which the proxy, its upstream and its callers are."""
    return len(list(Path("/proc/self/fd").iterdir()))
