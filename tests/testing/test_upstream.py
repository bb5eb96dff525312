"""The scripted upstream keeps its word, as seen by a plain HTTP client."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest

from muxer import FunctionCall, Price, Rates, ToolCall, Usage
from muxer.testing import Act, Asked, BillAndFail, Cut, Fail, Raw, Say, ScriptedUpstream, Slow, Spoken, Stall

PRICES = {"m-1": Price(Rates(input=1_000, output=2_000)), "m-2": Price(Rates(input=500, output=0))}
LOOK = ToolCall(id="call_1", function=FunctionCall(name="look", arguments='{"at":"it"}'))


class Vendor:
    """An upstream and a client of it."""

    def __init__(self, upstream: ScriptedUpstream, http: aiohttp.ClientSession) -> None:
        self.upstream = upstream
        self._http = http

    async def post(self, path: str, **body: object) -> tuple[int, bytes]:
        async with self._http.post(self.upstream.url + path, json=body) as response:
            return response.status, await response.read()

    async def chat(self, text: str = "Hello", **body: object) -> tuple[int, bytes]:
        messages = [{"role": "user", "content": text}]
        return await self.post("/v1/chat/completions", **{"model": "m-1", "messages": messages, **body})

    async def message(self, text: str = "Hello", **body: object) -> tuple[int, bytes]:
        messages = [{"role": "user", "content": [{"type": "text", "text": text}]}]
        return await self.post("/v1/messages", **{"model": "m-1", "messages": messages, "max_tokens": 100, **body})


@asynccontextmanager
async def opened(formats: Mapping[str, "Echo"] | None = None) -> AsyncIterator[Vendor]:
    async with ScriptedUpstream(formats=formats) as upstream, aiohttp.ClientSession() as http:
        yield Vendor(upstream, http)


class Echo:
    """A third vendor."""

    def answer(self, asked: Asked, spoken: Spoken) -> Act:
        return Act(body=(spoken.text.upper().encode(),), billed=spoken.usage)

    def error(self, status: int, message: str) -> bytes:
        return message.encode()


def decoded(body: bytes) -> dict[str, object]:
    return msgspec.json.decode(body, type=dict[str, object])


def events(body: bytes) -> list[bytes]:
    return [line.removeprefix(b"data: ") for line in body.splitlines() if line.startswith(b"data: ")]


async def test_echoes_and_counts_by_its_rule() -> None:
    async with opened() as vendor:
        status, body = await vendor.chat("Hello there")
        (call,) = vendor.upstream.calls
    assert status == 200
    assert b'"content":"You said: Hello there"' in body
    assert call.billed == Usage(input_tokens=11 // 4 + 3, output_tokens=4)
    assert decoded(body)["usage"] == decoded(body)["usage"] | {"prompt_tokens": 5, "completion_tokens": 4}  # type: ignore[operator]  # a dict


async def test_both_vendors_count_the_same() -> None:
    async with opened() as vendor:
        await vendor.chat("What is it?")
        await vendor.message("What is it?")
        first, second = vendor.upstream.calls
    assert first.billed == second.billed


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_never_says_more_than_the_cap(field: str) -> None:
    async with opened() as vendor:
        _, body = await vendor.chat("one two three", **{field: 3}, n=2)
        (call,) = vendor.upstream.calls
    assert body.count(b'"content":"You said: one"') == 2
    assert body.count(b'"finish_reason":"length"') == 2
    assert call.billed is not None and call.billed.output_tokens == 6


async def test_streams_a_word_an_event_and_usage_only_when_asked() -> None:
    async with opened() as vendor:
        _, plain = await vendor.chat(stream=True)
        _, counted = await vendor.chat(stream=True, stream_options={"include_usage": True})
    assert events(plain)[-1] == events(counted)[-1] == b"[DONE]"
    assert len(events(plain)) == 1 + 3 + 1 + 1
    assert b"prompt_tokens" not in plain
    assert b'"choices":[]' in events(counted)[-2] and b'"prompt_tokens":4' in events(counted)[-2]


async def test_keeps_its_usage_to_itself_when_told() -> None:
    silent = Say(usage=Usage(input_tokens=7), reports_usage=False)
    async with opened() as vendor:
        vendor.upstream.script(None, silent, silent)
        _, whole = await vendor.chat()
        _, streamed = await vendor.chat(stream=True, stream_options={"include_usage": True})
        assert vendor.upstream.bill_nanos(PRICES) == 14
    assert b"usage" not in whole and b"usage" not in streamed


async def test_speaks_anthropic() -> None:
    billed = Usage(input_tokens=100, output_tokens=9, cached_input_tokens=30, cache_write_tokens=20)
    async with opened() as vendor:
        vendor.upstream.script(None, Say(text="Hi you", usage=billed), Say(text="Hi you", usage=billed))
        _, whole = await vendor.message()
        _, streamed = await vendor.message(stream=True)
    assert b'"content":[{"type":"text","text":"Hi you"}],"stop_reason":"end_turn"' in whole
    assert b'"input_tokens":50,"cache_creation_input_tokens":20,"cache_read_input_tokens":30' in whole
    names = [line.split()[1].decode() for line in streamed.splitlines() if line.startswith(b"event: ")]
    block = ["content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"]
    assert names == ["message_start", "ping", *block, "message_delta", "message_stop"]


async def test_calls_tools_in_both_formats() -> None:
    async with opened() as vendor:
        vendor.upstream.script(None, *[Say(tool_calls=(LOOK,))] * 4)
        _, chat = await vendor.chat()
        _, chat_stream = await vendor.chat(stream=True)
        _, message = await vendor.message()
        _, message_stream = await vendor.message(stream=True)
    assert b'"finish_reason":"tool_calls"' in chat and b'"finish_reason":"tool_calls"' in chat_stream
    assert b'{"type":"tool_use","id":"call_1","name":"look","input":{"at":"it"}}' in message
    assert b'"stop_reason":"tool_use"' in message and b'"stop_reason":"tool_use"' in message_stream


async def test_plays_the_script_of_the_model_before_the_common_one() -> None:
    async with opened() as vendor:
        vendor.upstream.script(None, Fail(500), Fail(503))
        vendor.upstream.script("m-2", Fail(429, {"Retry-After": "1"}))
        found = [(await vendor.chat(model=model))[0] for model in ("m-1", "m-2", "m-2", "m-1")]
    assert found == [500, 429, 503, 200]


async def test_bills_what_it_answers_and_nothing_for_failures() -> None:
    async with opened() as vendor:
        vendor.upstream.script("m-1", Say(usage=Usage(input_tokens=10, output_tokens=5)), Fail(500))
        vendor.upstream.script("m-2", BillAndFail(billed=Say(usage=Usage(input_tokens=3))))
        found = [(await vendor.chat(model=model))[0] for model in ("m-1", "m-1", "m-2")]
        assert vendor.upstream.bill_nanos(PRICES) == 10 + 5 * 2 + 2  # the last: 1.5, rounded up
    assert found == [200, 500, 500]


async def test_says_what_it_was_sent() -> None:
    async with opened() as vendor:
        await vendor.post("/v1/nowhere", model="m-1")
        await vendor.chat(temperature=0.5)
        unknown, call = vendor.upstream.calls
    assert (unknown.status, unknown.billed) == (404, None)
    assert (call.path, call.model, call.body["temperature"]) == ("/v1/chat/completions", "m-1", 0.5)
    assert call.headers["content-type"] == "application/json"


@pytest.mark.parametrize("after_pieces", [None, 0, 2])
async def test_holds_a_call_until_the_gate_opens(after_pieces: int | None) -> None:
    async with opened() as vendor, asyncio.TaskGroup() as group:
        vendor.upstream.script(None, Stall(after_pieces=after_pieces))
        call = group.create_task(vendor.chat(stream=True))
        await vendor.upstream.arrived(1)
        assert not call.done()
        vendor.upstream.gate.set()
        assert events((await call)[1])[-1] == b"[DONE]"


async def test_can_be_slow() -> None:
    async with opened() as vendor:
        vendor.upstream.script(None, Slow(seconds=0, then=Stall(seconds=0, after_pieces=1)))
        _, body = await vendor.chat(stream=True)
    assert events(body)[-1] == b"[DONE]"


@pytest.mark.parametrize("after_bytes", [0, 1, 57, 300])
async def test_cuts_at_the_very_byte(after_bytes: int) -> None:
    async with opened() as vendor:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(vendor.upstream.url.rpartition(":")[2]))
        vendor.upstream.script(None, Cut(after_bytes=after_bytes, then=Raw(pieces=(b"x" * 200, b"y" * 200))))
        writer.write(b'POST /v1/chat/completions HTTP/1.0\r\nContent-Length: 15\r\n\r\n{"model":"m-1"}')
        answer = await reader.read()
        writer.close()
    assert answer.partition(b"\r\n\r\n")[2] == (b"x" * 200 + b"y" * 200)[:after_bytes]


async def test_can_cut_before_it_answers() -> None:
    async with opened() as vendor:
        vendor.upstream.script(None, Cut())
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await vendor.chat()
        assert vendor.upstream.bill_nanos(PRICES) > 0


async def test_knows_the_clients_that_left() -> None:
    async with opened() as vendor:
        vendor.upstream.script(None, Stall())
        call = asyncio.create_task(vendor.chat())
        await vendor.upstream.arrived(1)
        call.cancel()
        await vendor.upstream.idle()
        assert vendor.upstream.abandoned == vendor.upstream.calls


async def test_stops_and_starts_at_the_same_address() -> None:
    async with opened() as vendor:
        url = vendor.upstream.url
        await vendor.upstream.stop()
        with pytest.raises(aiohttp.ClientConnectorError):
            await vendor.chat()
        await vendor.upstream.start()
        assert (vendor.upstream.url, (await vendor.chat())[0]) == (url, 200)


async def test_learns_another_vendor() -> None:
    async with opened({"/v9/shout": Echo()}) as vendor:
        status, body = await vendor.post("/v9/shout", model="m-1", messages=["hey"])
        await vendor.chat()
    assert (status, body) == (200, b"YOU SAID: HEY")
