"""The whole proxy with providers of the kind `litellm`: over HTTP, with money held and settled."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import copy
from typing import Any

import msgspec
import pytest

from muxer import Usage
from muxer.prices import load_prices
from muxer.server import PATIENCE
from muxer.testing import Fail, Say
from tests.proxy import Accounts, Proxy, events, open_proxy

EXAMPLES = Path(__file__).parent / "examples"
SECTIONS = {
    "plugins": "[litellm, sqlite]",
    "providers": """
  main: {kind: litellm, api_key: sk-upstream, base_url: "UPSTREAM/v1"}
  own: {kind: litellm, handler: my_handlers.whole}""",
    "models": """
  small: {provider: main, name: openai/small-1, price_usd_per_million: {input: 1, output: 2, cached_input: 0.1}}
  large: {provider: main, name: openai/large-1, price_usd_per_million: {input: 10, output: 20}}
  mine: {provider: own, name: mine-1, price_usd_per_million: {input: 5, output: 5}}""",
    "sinks": "[{kind: litellm, logger: my_loggers.keeping}]",
}


@asynccontextmanager
async def proxy(folder: Path, *behaviours: Any) -> AsyncIterator[Proxy]:
    for name in ("my_handlers.py", "my_loggers.py"):
        copy(EXAMPLES / name, folder)
    async with open_proxy(folder, load_prices(), time.time, PATIENCE, SECTIONS) as opened:
        opened.upstream.script(None, *behaviours)
        yield opened


async def test_an_answer_costs_what_the_upstream_bills(tmp_path: Path) -> None:
    billed = Usage(input_tokens=100, output_tokens=20, cached_input_tokens=64)
    async with proxy(tmp_path, Say(text="Paris.", usage=billed)) as opened:
        response = await opened.chat()
        body = await response.json()
        assert (response.status, body["choices"][0]["message"]["content"]) == (200, "Paris.")
        assert body["model"] == "small"
        record = await opened.record(response)
        assert (record.usage, record.attempts[0].outcome) == (billed, "exact")
        # 36 plain, 64 cached, 20 output tokens at 1, 0.1 and 2 dollars a million.
        assert await _accounts(opened) == Accounts(_bill(opened), 82_400, 82_400, 0, 0)


def _bill(opened: Proxy) -> int:
    prices = {m.upstream.removeprefix("openai/"): m.price for m in opened.assembly.parts.rules.catalog.models.values()}
    return opened.upstream.bill_nanos({name: price for name, price in prices.items() if price})


async def _accounts(opened: Proxy) -> Accounts:
    (row,) = await opened.store.summary([], 0, {})
    held, presumed = await opened.store.held()
    stats = (await opened.get("/user/stats"))["limits"][0]
    spent = int(float(stats["spent_usd"]) * 1e9 + 0.5)
    return Accounts(_bill(opened), spent, row.cost_nanos, held, presumed)


@pytest.mark.parametrize("wants_usage", [False, True])
async def test_a_stream_is_passed_on_and_settled(tmp_path: Path, wants_usage: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if wants_usage else {}
    async with proxy(tmp_path, Say(text="Paris is the capital.")) as opened:
        response = await opened.chat(stream=True, **options)
        told = await events(response)
        assert (told.text, told.is_done) == ("Paris is the capital.", True)
        assert [bool(one.get("usage")) for one in told.data].count(True) == wants_usage
        accounts = await _accounts(opened)
        assert accounts.bill == accounts.spent == accounts.recorded > 0
        assert (accounts.held, accounts.presumed) == (0, 0)


async def test_a_failure_falls_back_and_costs_nothing(tmp_path: Path) -> None:
    async with proxy(tmp_path, Fail(503), Say(text="From the other.")) as opened:
        response = await opened.chat()
        record = await opened.record(response)
        assert [attempt.outcome for attempt in record.attempts] == ["none", "exact"]
        assert [call.model for call in opened.upstream.calls] == ["small-1", "large-1"]


async def test_a_handler_beside_the_file_answers(tmp_path: Path) -> None:
    async with proxy(tmp_path) as opened:
        response = await opened.chat(model="mine")
        assert (await response.json())["choices"][0]["message"]["content"] == "Said What is the capital of France?"
        # 11 and 5 tokens at 5 dollars a million.
        assert (await opened.record(response)).cost_nanos == 80_000


async def test_a_request_cannot_name_another_server(tmp_path: Path) -> None:
    async with proxy(tmp_path, Say(text="Paris.")) as opened:
        response = await opened.chat(api_base="http://127.0.0.1:9", mock_response="made up")
        assert (await response.json())["choices"][0]["message"]["content"] == "Paris."
        assert set(response.headers["x-muxer-dropped"].split(", ")) == {"api_base", "mock_response"}
        assert msgspec.json.encode(opened.upstream.calls[0].body).count(b"127.0.0.1:9") == 0


async def test_a_logger_beside_the_file_is_told(tmp_path: Path) -> None:
    async with proxy(tmp_path, Say(text="Paris."), Fail(400)) as opened:
        done = await opened.record(await opened.chat())
        await opened.chat()
        (outlet,) = opened.assembly.parts.sinks._outlets
        logger = outlet._sink._instance
        async with asyncio.timeout(10):
            while len(logger.events) < 2:
                await asyncio.sleep(0.01)
    (first, second) = logger.events
    assert (first[0], second[0]) == ("success", "failure")
    assert first[1]["standard_logging_object"]["id"] == done.id
    assert first[1]["response_cost"] == done.cost_nanos / 1e9 > 0
