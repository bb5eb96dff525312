from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from muxer.cli.client import Failed, Proxy, open_proxy
from muxer.types import Usage

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

USAGE = b'{"usage":{"prompt_tokens":5,"completion_tokens":2},"router_metadata":%s}'
METADATA = b'{"route":"simple","selected_model":"small","estimated_cost":1.5e-05}'
FULL = USAGE % METADATA


@asynccontextmanager
async def _proxy(handler: Handler) -> AsyncIterator[Proxy]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(application) as server, open_proxy(str(server.make_url("/"))) as proxy:
        yield proxy


def _says(body: bytes, status: int = 200) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status)

    return handler


async def test_an_answer_is_read_with_its_cost() -> None:
    async with _proxy(_says(FULL)) as proxy:
        served = await proxy.ask({})
    assert (served.route, served.model, served.cost_nanos) == ("simple", "small", 15_000)
    assert served.usage == Usage(input_tokens=5, output_tokens=2)


async def test_a_stream_is_read_to_its_end() -> None:
    async with _proxy(_says(b'data: {"choices":[]}\n\ndata: ' + FULL + b"\n\ndata: [DONE]\n\n")) as proxy:
        assert (await proxy.ask({"stream": True})).cost_nanos == 15_000


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (b"data: " + FULL + b"\n\n", "the stream broke off"),
        (b'data: {"error":{"message":"busy"}}\n\n', "the stream ended in an error: busy"),
        (b'data: {"choices":[]}\n\ndata: [DONE]\n\n', "no usage or no router_metadata"),
        (b"data: nonsense\n\n", "this is not an answer of ModelMuxer"),
    ],
)
async def test_a_stream_that_does_not_end_well_fails(events: bytes, words: str) -> None:
    async with _proxy(_says(events)) as proxy:
        with pytest.raises(Failed, match=words):
            await proxy.ask({"stream": True})


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b'{"error":{"message":"no room"}}', 402, "status 402: no room"),
        (b"<h1>Not Found</h1>", 404, "status 404, and not in ModelMuxer's words: is http://.* its address"),
        (b"[]", 200, "this is not an answer of ModelMuxer"),
        (b'{"usage":null}', 200, "no usage or no router_metadata"),
    ],
)
async def test_what_is_no_answer_fails_in_words(body: bytes, status: int, words: str) -> None:
    async with _proxy(_says(body, status)) as proxy:
        with pytest.raises(Failed, match=words):
            await proxy.ask({})


async def test_a_connection_that_is_cut_fails_in_words() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with _proxy(cut) as proxy:
        with pytest.raises(Failed, match="broke off"):
            await proxy.get("/health")


async def test_models_without_a_price_have_none() -> None:
    rates = b'{"input":"2","output":"10","cached_input":"0.1","cache_write":"2.5"}'
    body = b'{"data":[{"id":"auto"},{"id":"a","price_usd_per_million":%s},{"id":"b","price_usd_per_million":null}]}'
    async with _proxy(_says(body % rates)) as proxy:
        prices = await proxy.prices()
    assert {name: price.cost_nanos(Usage(input_tokens=1000)) for name, price in prices.items()} == {"a": 2_000_000}
