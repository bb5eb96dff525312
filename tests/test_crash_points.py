"""A proxy killed at every point of a request, and at random instants under load (T4, F15): I1, I2, I4 and the bill."""

import asyncio
import contextlib
import re
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing

import aiohttp

from muxer.testing import Act, Asked, Say, Stall
from tests.plugins.redis_server import Cutting
from tests.processes import BODY, PATH, Client, Gateway, House, Totals, until

LIMIT = 10**9
ID = re.compile(rb"req_[0-9a-f]{31}")
SAY = Say(text="word " * 8)
Point = Callable[["Scene"], Awaitable[None]]


class Scene:
    """One request to one proxy, which dies at the point that is being tried."""

    def __init__(
        self, house: House, gateway: Gateway, session: aiohttp.ClientSession, tap: Cutting | None, name: str
    ) -> None:
        self.house = house
        self.gateway = gateway
        self.name = name
        self.got = b""
        self._session = session
        self._tap = tap

    async def ask(self, until_bytes: int = 10**9) -> None:
        """Asks for a stream and reads it, up to so many bytes, or until the proxy is dead."""
        body = {**BODY, "user": self.name, "stream": True}
        with contextlib.suppress(aiohttp.ClientError):
            async with self._session.post(self.gateway.url + PATH, json=body) as response:
                while len(self.got) < until_bytes and (piece := await response.content.readany()):
                    self.got += piece

    def kill_at(
        self, call: int, *, reply: bool, passes: bool, first: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Kills it at its store's first or second call about the request (the hold, the settlement), or at the reply
        to that; what it was killed at may still pass on. Before the kill, `first` is waited for."""
        calls, known = 0, journaled(self.gateway)  # what it tells of those is its predecessor's

        async def watch(data: bytes, is_reply: bool) -> bool:
            nonlocal calls
            calls += not is_reply and not known.issuperset(ID.findall(data))
            if calls != call or is_reply != reply:
                return True
            calls = 100
            if first is not None:
                await first()
            if not passes:
                self.gateway.kill()
            else:
                asyncio.get_running_loop().call_soon(self.gateway.kill)  # what passes is written before that
            return passes

        assert self._tap is not None, "only a server's calls can be watched"
        self._tap.watch = watch


class KillAndSay:
    """Kills the proxy as its request arrives; it is billed all the same."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def play(self, asked: Asked) -> Act:
        """Answers nobody."""
        self._gateway.kill()
        return SAY.play(asked)


async def sent(scene: Scene) -> None:
    scene.house.upstream.default = KillAndSay(scene.gateway)
    await scene.ask()


async def first_byte(scene: Scene) -> None:
    scene.house.upstream.default = Stall(after_pieces=2, then=SAY)
    await scene.ask(until_bytes=1)
    scene.gateway.kill()
    scene.house.upstream.gate.set()


async def last_byte_seen(scene: Scene) -> None:
    scene.house.upstream.default = SAY
    await scene.ask()
    scene.gateway.kill()


async def settlement_waits(scene: Scene) -> None:
    """The upstream has said all, and the file is locked, so that nothing of it can have been committed."""
    scene.house.upstream.default = Stall(after_pieces=2, then=SAY)
    asked = asyncio.create_task(scene.ask())
    await until(lambda: scene.got != b"")
    with closing(sqlite3.connect(scene.house.database)) as other:
        other.execute("BEGIN IMMEDIATE")
        scene.house.upstream.gate.set()
        await scene.house.upstream.idle()
        scene.gateway.kill()
        await scene.gateway.process.wait()
    await asked


def at_call(call: int, *, reply: bool, passes: bool) -> Point:
    async def play(scene: Scene) -> None:
        scene.house.upstream.default = SAY
        scene.kill_at(call, reply=reply, passes=passes)
        await scene.ask()

    return play


async def intent_only(scene: Scene) -> None:
    """The journal has it, and the hold never left. (What it had of others it may have forgotten in the same write.)"""
    known = journaled(scene.gateway)
    scene.kill_at(1, reply=False, passes=False, first=lambda: until(lambda: bool(journaled(scene.gateway) - known)))
    await scene.ask()


async def held_without_intent(scene: Scene) -> None:
    """The store has confirmed the hold while the journal is locked: it must not be sent (S6)."""
    calls = len(scene.house.upstream.calls)
    with closing(sqlite3.connect(scene.gateway.journal)) as other:
        other.execute("BEGIN IMMEDIATE")
        scene.kill_at(1, reply=True, passes=True)
        await scene.ask()
        await scene.gateway.process.wait()
    assert len(scene.house.upstream.calls) == calls


def journaled(gateway: Gateway) -> set[bytes]:
    """The requests in its journal."""
    with closing(sqlite3.connect(gateway.journal)) as db:
        return {id.encode() for (id,) in db.execute("SELECT id FROM entries")}


POINTS: dict[str, dict[str, Point]] = {
    "sqlite": {
        "sent": sent,
        "first byte": first_byte,
        "upstream done, not committed": settlement_waits,
        "last byte seen": last_byte_seen,
    },
    "redis": {
        "hold not asked for, intent noted": intent_only,
        "hold asked for": at_call(1, reply=False, passes=True),
        "hold taken, reply lost": at_call(1, reply=True, passes=False),
        "hold confirmed": at_call(1, reply=True, passes=True),
        "hold confirmed, intent not noted": held_without_intent,
        "sent": sent,
        "first byte": first_byte,
        "upstream done, settlement not sent": at_call(2, reply=False, passes=False),
        "settled, reply lost": at_call(2, reply=True, passes=False),
        "settled, confirmed": at_call(2, reply=True, passes=True),
        "last byte seen": last_byte_seen,
    },
}


async def agree(house: House) -> Totals:
    """Once nothing is held: the store and the records say the same, the bill is in it, and it in the limit."""
    totals = await house.settled()
    assert (totals.spent, totals.presumed) == (totals.recorded, totals.presumed_recorded)
    assert house.bill <= totals.counted <= LIMIT
    assert {record.state for record in await house.records()} <= {"done", "failed", "interrupted"}
    return totals


async def reconciled(house: House) -> None:
    """The operator's word makes all accounts equal, to the nano-dollar (I3)."""
    totals = await house.reconcile()
    assert (totals.spent, totals.presumed, totals.recorded) == (house.bill, 0, house.bill)


async def test_killed_at_each_point_of_a_request_nothing_is_lost_or_counted_twice(house: House) -> None:
    presumed = 0
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        tap = Cutting(house.server) if house.server else None
        url = await stack.enter_async_context(tap) if tap else ""
        async with house.gateway() as gateway:  # from here on the server knows the scripts: a call is one message
            assert (await Client(session).ask(gateway, "first"))[0] == 200
        for name, play in POINTS[house.kind].items():
            house.upstream.gate.clear()
            before = await house.totals()
            async with house.gateway(store_url=url) as gateway:
                scene = Scene(house, gateway, session, tap, name)
                async with asyncio.timeout(20):
                    await play(scene)
                    assert await gateway.process.wait() == -9, name
                if tap is not None:
                    tap.watch = None
                await house.expire(gateway)
            async with house.gateway(store_url=url):
                await house.settled()
            totals = await agree(house)  # it has told all by now
            mine = [record for record in await house.records() if record.end_user == name]
            is_over = scene.got.endswith(b"[DONE]\n\n")
            assert not is_over or [record.state for record in mine] == ["done"]
            assert len(mine) <= 1
            print(f"T4 {house.kind}, {name}: presumed {totals.presumed - before.presumed} nano-dollars", flush=True)
            presumed = totals.presumed
        assert presumed > 0
    await reconciled(house)
