"""More than a process can serve: it refuses what is new, keeps what it has, and lives on (F20, F22, B62)."""

import asyncio
import resource
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from muxer.testing import Say, ScriptedUpstream, Stall
from tests.bad_input.sending import BODY, answered, chat, exchange, get
from tests.processes import START_S, until
from tests.proxy import OpenProxy
from tests.serving import PLUGINS, Connection, serving, status

SPARED = ("/health", "/livez", "/readyz", "/metrics", "/admin/keys")


@asynccontextmanager
async def connections(port: int, count: int) -> AsyncIterator[list[Connection]]:
    """So many connections at once, closed at the end."""
    opened: list[Connection] = []
    try:
        for _ in range(count):
            opened.append(await asyncio.open_connection("127.0.0.1", port))
        yield opened
    finally:
        for _, writer in opened:
            writer.close()


async def test_no_more_connections_than_there_are_files_and_none_is_lost(tmp_path: Path) -> None:
    async with ScriptedUpstream(Stall(then=Say())) as upstream, AsyncExitStack() as stack:
        process = await stack.enter_async_context(
            serving(tmp_path, upstream.url, {resource.RLIMIT_NOFILE: 256}, limits="[]")
        )
        await stack.enter_async_context(connections(process.port, 250))
        async with asyncio.timeout(START_S):  # those that say nothing make room once they have been there for a while
            while await process.livez() != 200:
                await asyncio.sleep(0.05)
        busy: list[asyncio.Task[int]] = []
        while len(busy) < 250:
            (one,) = await stack.enter_async_context(connections(process.port, 1))
            busy.append(asyncio.create_task(status(one, chat(BODY))))
            await until(lambda: sum(task.done() for task in busy) + len(upstream.calls) == len(busy))
        assert await process.livez() == 200
        upstream.gate.set()
        said = Counter(await asyncio.gather(*busy))
        assert said == {200: len(upstream.calls), 503: 250 - len(upstream.calls)} and said[200] >= 79
        upstream.default = Say()
        assert await process.chat() == 200


@pytest.mark.parametrize(("model", "served"), [("none", 404), ("small", 200)])
async def test_many_large_bodies_at_once_are_served_in_turn_or_refused(tmp_path: Path, model: str, served: int) -> None:
    memory, size, count = 640_000_000, 4_000_000, 60
    body = msgspec.json.encode({"model": model, "messages": [{"role": "user", "content": "x" * size}]})
    sections = {
        "server": "{queue_s: 0.3, max_body_bytes: 5_000_000}",
        "limits": "[{per: all, daily_usd: 100_000}]",
    }
    async with ScriptedUpstream() as upstream, AsyncExitStack() as stack:
        process = await stack.enter_async_context(
            serving(tmp_path, upstream.url, {resource.RLIMIT_AS: memory}, **sections)
        )
        before = process.rss_bytes()
        asking = await stack.enter_async_context(connections(process.port, count))
        sent = chat(body)
        for _, writer in asking:
            writer.write(sent[:-1])
        refused = b'"reason":"bodies"'
        await until(lambda: refused in process.log.read_bytes())
        held = process.rss_bytes() - before
        said = Counter(await asyncio.gather(*(status(one, sent[-1:]) for one in asking)))
        assert held < memory / 4 < size * count
        assert said.keys() == {served, 503} and sum(said.values()) == count
        assert await process.chat() == 200


class Torrent:
    """An upstream that answers with a stream as fast as it is taken, up to `most` bytes; `sent` is what went out."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.sent = Counter[int]()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self.sent)
        self.sent[number] = 0
        event = b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % (b"x" * 16_000)
        with suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            while self.sent[number] < self._most:
                writer.write(event)
                await writer.drain()
                self.sent[number] += len(event)
        writer.close()


async def test_callers_that_read_nothing_cost_little_memory_each(tmp_path: Path) -> None:
    count, most, each = 20, 32_000_000, 1_500_000
    torrent = Torrent(most)
    server = await asyncio.start_server(torrent.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    models = "{small: {provider: main, name: small-1, price: free}}"
    async with server, AsyncExitStack() as stack:
        process = await stack.enter_async_context(
            serving(tmp_path, url, models=models, routes="[{name: all, use: [small]}]", limits="[]")
        )
        held = []
        for more in (1, count):
            for reader, writer in await stack.enter_async_context(connections(process.port, more)):
                reader._limit = 1_000  # type: ignore[attr-defined]  # this caller takes next to nothing of what comes
                writer.write(chat(b'{"stream":true,"max_tokens":10000000,%s' % BODY[1:]))
            await stands_still(torrent.sent, 1 if more == 1 else 1 + count)
            held.append(process.rss_bytes())
        assert max(torrent.sent.values()) < most
        assert held[1] - held[0] < count * each, held
        assert answered(await exchange(process.port, get(b"/livez"))).status == 200


async def stands_still(sent: Counter[int], count: int) -> None:
    """Waits until so many streams are held back: nothing went out for a while."""
    async with asyncio.timeout(START_S):
        seen = -1
        while len(sent) < count or seen != sent.total():
            seen = sent.total()
            await asyncio.sleep(0.3)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
async def test_what_finds_no_place_is_refused_before_anything_is_held_and_what_operates_it_is_not(
    proxy: OpenProxy, path: str
) -> None:
    opened = await proxy(Stall(then=Say()), plugins=PLUGINS, server="{max_concurrent: 1, queue_s: 0}")
    first = asyncio.create_task(opened.chat(model="small"))
    await opened.upstream.arrived(1)
    held = await opened.accounts()
    response = await opened.ask(
        path, {"model": "small", "max_tokens": 5, "messages": [{"role": "user", "content": "a"}]}
    )
    body = await response.json()
    assert (response.status, response.headers["Retry-After"]) == (503, "1")
    assert body["error"].get("code", "overloaded") == "overloaded" and "1 requests are being served" in str(body)
    assert await opened.accounts() == held
    for spared in SPARED:
        async with opened.client.get(spared, headers={"x-api-key": "sk-root"}) as answer:
            assert answer.status == 200, spared
    opened.upstream.gate.set()
    assert (await first).status == 200 and (await opened.chat(model="small")).status == 200
    assert [line["event"] for line in opened.log.lines if line["level"] == "warning"] == ["overloaded"]


async def test_what_waits_for_its_turn_is_served(proxy: OpenProxy) -> None:
    opened = await proxy(Stall(then=Say()), server="{max_concurrent: 2, queue_s: 60}")
    asking = [asyncio.create_task(opened.chat(model="small")) for _ in range(4)]
    await opened.upstream.arrived(1)
    opened.upstream.gate.set()
    assert [(await one).status for one in asking] == [200] * 4


async def test_a_body_gives_its_room_back_however_its_request_ends(proxy: OpenProxy) -> None:
    opened = await proxy(Say())
    large = "x" * 200_000
    room = opened.assembly.admission.room
    asked = {"messages": [{"role": "user", "content": large}]}
    for fields in ({}, {"model": "none"}, {"stream": True}):
        await (await opened.post({**asked, **fields})).read()
    assert (await opened.post(b"{" + b"x" * 200_000)).status == 400

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"messages":[{"role":"user","content":"'
        yield large.encode() + b'"}]}'

    headers = {"x-api-key": "sk-alice", "Content-Type": "application/json"}
    async with opened.client.post("/v1/chat/completions", data=pieces(), headers=headers) as response:
        assert response.status == 200
    assert room.used == 0
