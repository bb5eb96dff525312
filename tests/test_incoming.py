"""Connections of callers, between a bare listener and raw sockets; what is no HTTP is in tests/bad_input."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar

from aiohttp import web

from muxer.edge import PATIENCE, Patience, Request, json_body
from muxer.errors import MuxerError
from muxer.incoming import Outgoing
from muxer.listener import Listener
from muxer.outgoing import Stream, Whole
from tests.bad_input.sending import HOST, answered, exchange, get
from tests.processes import until
from tests.proxy import PATIENCE_S, OpenProxy

OK = Whole(b"{}")
ASK = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"


def refuse(_: Request, error: MuxerError) -> Whole:
    return Whole(error.message.encode(), error.status)


@asynccontextmanager
async def listening(
    respond: Callable[[Request], Awaitable[Outgoing]], patience: Patience = PATIENCE
) -> AsyncIterator[tuple[Listener, int]]:
    """A listener whose requests are answered so, and its port."""
    listener = Listener(respond, refuse, max_body_bytes=1_000_000, patience=patience)
    try:
        yield listener, await listener.listen("127.0.0.1", 0)
    finally:
        await listener.close(1)


async def test_an_answer_that_nobody_takes_ends_its_connection() -> None:
    async def respond(_: Request) -> Outgoing:
        return Whole(b"x" * 50_000_000)

    async with listening(respond, Patience(write_s=0.05)) as (listener, port):
        with socket.create_connection(("127.0.0.1", port)) as caller:
            caller.sendall(ASK)
            await until(lambda: bool(listener._connections))
            await until(lambda: not listener._connections)


async def test_the_next_answer_waits_until_the_last_is_taken() -> None:
    begun = 0

    async def respond(_: Request) -> Outgoing:
        nonlocal begun
        begun += 1
        return Whole(b"x" * 5_000_000)

    async with listening(respond) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1_000)
        writer.write(ASK * 3)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
        assert begun == 1
        for _ in range(2):
            await reader.readexactly(5_000_000)
            await reader.readuntil(b"\r\n\r\n")
        assert begun == 3
        writer.close()


async def test_a_body_that_breaks_while_it_is_read_is_told_at_once(proxy: OpenProxy) -> None:
    opened = await proxy()
    reader, writer = await asyncio.open_connection("127.0.0.1", opened.port)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nx-api-key: sk-alice\r\nExpect: 100-continue\r\n" + HOST
    writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n")
    await reader.readuntil(b"HTTP/1.1 100 Continue\r\n\r\n")
    writer.write(b"zz\r\n")
    async with asyncio.timeout(PATIENCE_S):
        answer = answered(await reader.read())
    writer.close()
    assert (answer.status, answer.code) == (400, "bad_http")


async def test_http_1_0_is_answered_in_kind() -> None:
    async def respond(request: Request) -> Outgoing:
        if request.path == "/":
            return OK
        stream = Stream(request, {})
        await stream.write(b"data: a\n\n")
        return stream

    sent = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    async with listening(respond) as (_, port):
        data = await exchange(port, sent + sent + b"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    *kept, last = data.split(b"HTTP/1.0 200 OK\r\n")[1:]
    assert len(kept) == 2 and all(b"\r\nConnection: keep-alive\r\n" in one for one in kept)
    assert b"\r\nConnection: close\r\n" in last and last.endswith(b"\r\n\r\ndata: a\n\n")


async def test_the_context_of_one_request_is_not_that_of_the_next() -> None:
    seen, variable = list[str](), ContextVar("variable", default="new")

    async def respond(_: Request) -> Outgoing:
        seen.append(variable.get())
        variable.set("used")
        return OK

    async with listening(respond) as (_, port):
        await exchange(port, ASK * 3 + get(b"/"))
    assert seen == ["new"] * 4


async def test_what_has_begun_as_one_answer_never_ends_as_another() -> None:
    async def respond(request: Request) -> Outgoing:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"begun")
        return OK

    async with listening(respond) as (_, port):
        data = await exchange(port, ASK)
    assert data.count(b"HTTP/1.1 ") == 1 and data.endswith(b"\r\n5\r\nbegun\r\n")


async def test_who_asks_for_a_head_gets_no_body(proxy: OpenProxy) -> None:
    opened = await proxy()
    answer = answered(await exchange(opened.port, get(b"/livez", method=b"HEAD")))
    assert (answer.status, answer.body) == (405, b"")


async def test_responses_of_extensions_are_sent_as_ours_are() -> None:
    async def respond(_: Request) -> Outgoing:
        return web.Response(text="Hi", headers={"X-A": "b"})

    async with listening(respond) as (_, port):
        data = await exchange(port, ASK + b"GET / HTTP/1.1\r\nUpgrade: x\r\n" + HOST + b"\r\n" + ASK)
    assert data.count(b"HTTP/1.1 200 OK\r\nX-A: b\r\n") == data.count(b"\r\nServer: modelmuxer\r\n") == 2
    assert data.count(b"\r\nConnection: close\r\n") == 1 and data.endswith(b"\r\n\r\nHi")


async def test_a_body_that_nobody_reads_is_taken_in_and_the_next_request_served() -> None:
    async def respond(_: Request) -> Outgoing:
        return OK

    body = b"POST / HTTP/1.1\r\nContent-Length: 3000000\r\n" + HOST + b"\r\n" + b"x" * 3_000_000
    async with listening(respond) as (_, port):
        data = await exchange(port, body + body + get(b"/"))
    assert data.count(b"HTTP/1.1 200 OK") == 3


async def test_a_body_in_pieces_is_read_whole_with_its_next_request_behind_it() -> None:
    async def respond(request: Request) -> Outgoing:
        request.patience = PATIENCE
        return Whole(await json_body(request))

    async with listening(respond) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        sent = b"POST / HTTP/1.1\r\nContent-Length: 7\r\n" + HOST + b'\r\n{"a":1}'
        for at in range(0, 2 * len(sent), 5):
            writer.write((sent + sent)[at : at + 5])
            await writer.drain()
        for _ in range(2):
            await reader.readuntil(b'\r\n\r\n{"a":1}')
        writer.close()


async def test_the_end_waits_for_what_is_being_answered_and_then_no_longer() -> None:
    gates = {"/soon": asyncio.Event(), "/never": asyncio.Event()}
    served = asyncio.Semaphore(0)

    async def respond(request: Request) -> Outgoing:
        served.release()
        await gates[request.path].wait()
        return OK

    async with listening(respond) as (listener, port):
        asking = [asyncio.create_task(exchange(port, get(path))) for path in (b"/soon", b"/never")]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in gates:
            await served.acquire()
        ending = asyncio.create_task(listener.close(0.05))
        assert await reader.read() == b""  # who asks nothing is let go first
        gates["/soon"].set()
        await ending
        assert (await asking[0]).startswith(b"HTTP/1.1 200 OK") and await asking[1] == b""
        writer.close()


async def test_a_route_that_gives_no_response_is_an_error_of_ours(proxy: OpenProxy) -> None:
    opened = await proxy(plugins="[openai, sqlite, tests.odd_plugin]")
    async with opened.client.get("/nothing", headers={"x-api-key": "sk-alice"}) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (500, "internal_error")
    await opened.log.wait_for("unforeseen")
