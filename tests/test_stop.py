"""The end of a proxy: who is still served, who is told that it ends, and that nothing stays held (F17)."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from aiohttp import ClientResponse

from muxer.testing import Say, ScriptedUpstream, Stall
from tests.bad_input.sending import BODY, chat
from tests.processes import until
from tests.proxy import OpenProxy, Proxy, events
from tests.serving import serving

SAID = Say(text="one two three")


async def begun(proxy: Proxy, stream: bool) -> "asyncio.Task[ClientResponse]":
    """A request that the upstream has, and does not end."""
    asking = asyncio.create_task(proxy.chat(model="small", stream=stream))
    await proxy.upstream.arrived(1)
    return asking


async def test_a_proxy_that_drains_is_not_ready_and_serves_on(proxy: OpenProxy) -> None:
    opened = await proxy(SAID)
    opened.live.drain()
    ready = await opened.client.get("/readyz")
    assert (ready.status, (await ready.json())["status"]) == (503, "draining")
    response = await opened.chat()
    assert response.status == 200 and "Connection" not in response.headers


@pytest.mark.parametrize("stream", [False, True])
async def test_a_proxy_that_closes_says_so_with_each_answer(proxy: OpenProxy, stream: bool) -> None:
    opened = await proxy(SAID, SAID)
    opened.live.drain()
    opened.live.close()
    for response in (await opened.chat(stream=stream), await opened.client.get("/livez")):
        assert (response.status, response.headers["Connection"]) == (200, "close")
        await response.read()


async def test_a_stream_that_the_end_cuts_has_one_last_event_and_is_settled(proxy: OpenProxy) -> None:
    opened = await proxy(Stall(after_pieces=2, then=SAID))
    response = await begun(opened, stream=True)
    await (await response).content.readany()
    opened.assembly.parts.in_flight.end()
    stream = await events(await response)
    assert not stream.is_done and stream.data[-1]["error"]["code"] == "shutting_down"
    record, accounts = await opened.last_record(), await opened.accounts()
    assert (record.state, record.status, record.error) == ("failed", 503, "shutting_down")
    assert (accounts.held, accounts.presumed) == (0, record.presumed_nanos)
    assert accounts.bill <= accounts.presumed


async def test_a_whole_answer_that_the_end_cuts_is_503_and_settled(proxy: OpenProxy) -> None:
    opened = await proxy(Stall(then=SAID))
    asking = await begun(opened, stream=False)
    opened.assembly.parts.in_flight.end()
    response = await asking
    body = await response.json()
    assert (response.status, body["error"]["code"]) == (503, "shutting_down")
    assert (response.headers["Retry-After"], response.headers["Connection"]) == ("1", "close")
    assert (await opened.record(response)).error == "shutting_down"
    assert (await opened.accounts()).held == 0


async def test_after_the_end_nobody_is_asked_any_more(proxy: OpenProxy) -> None:
    opened = await proxy(SAID)
    opened.assembly.parts.in_flight.end()
    response = await opened.chat()
    assert (response.status, (await response.json())["error"]["code"]) == (503, "shutting_down")
    assert not opened.upstream.calls and (await opened.accounts()).held == 0


async def test_a_second_sigterm_cuts_a_stream_with_its_last_event_and_exits_0(tmp_path: Path) -> None:
    async with ScriptedUpstream(Stall(after_pieces=2, then=SAID)) as upstream:
        async with serving(tmp_path, upstream.url, server="{grace_s: 600}") as process:
            reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
            writer.write(chat(b'{"stream":true,"model":"small",%s' % BODY[1:]))
            await reader.readuntil(b"one")
            os.kill(process.pid, signal.SIGTERM)
            await until(lambda: b'"event":"stopping"' in process.log.read_bytes())
            os.kill(process.pid, signal.SIGTERM)
            rest = await reader.read()
            writer.close()
        assert b"shutting_down" in rest and b"[DONE]" not in rest
        lines = [line for line in process.log.read_bytes().splitlines() if b'"event":"request"' in line]
        assert len(lines) == 1 and b'"status":503' in lines[0]
