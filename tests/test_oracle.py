"""All kinds of requests at once, and every account of them equals the upstream's own bill to the nano-dollar (T5, T6,
I3, I8, I10)."""

import asyncio
import random
import re
from typing import Any

import pytest

from muxer.testing import Fail, Say, a_claim
from muxer.testing.contracts.money import amounts
from muxer.testing.contracts.quotas import by_model, left
from muxer.types import FunctionCall, ToolCall, Usage
from tests.plugins.redis_server import TOTAL
from tests.proxy import QUESTION, OpenProxy, Proxy, nanos

VENDORS = ("open", "claude", "gemini")
RATES = "{input: 0.15, output: 0.6, cached_input: 0.0375, cache_write: 0.1875}"
DEARER = "[{above_input_tokens: 4000, input: 0.3, output: 0.9, cached_input: 0.075, cache_write: 0.375}]"
SECTIONS: dict[str, Any] = {
    "plugins": "[openai, anthropic, gemini, sqlite, prometheus]",
    "providers": """
  open: {kind: openai, api_key: sk-upstream, base_url: "UPSTREAM/v1"}
  claude: {kind: anthropic, api_key: sk-upstream, base_url: "UPSTREAM"}
  gemini: {kind: gemini, api_key: sk-upstream, base_url: "UPSTREAM/v1beta"}""",
    "models": "\n"
    + "\n".join(
        f"  {name}: {{provider: {name}, name: {name}-1, fallbacks: {others}, price_usd_per_million: {RATES}, "
        f"price_tiers: {DEARER}}}"
        for name, others in zip(VENDORS, ("[claude, gemini]", "[gemini]", "[]"), strict=True)
    ),
    "routes": "[{name: default, use: [open]}]",
    "limits": "[{per: all, total_usd: 1000}, {per: model, total_usd: 1000}, {per: model, concurrent: 20}]",
}
CALLED = ToolCall("call_1", FunctionCall("get_weather", '{"city":"Rome"}'))
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]


class Traffic:
    """Requests drawn by one seed, and what the upstream answers to each."""

    def __init__(self, opened: Proxy, seed: int) -> None:
        self._opened = opened
        self._chance = random.Random(seed)  # a drawn test, not a secret
        self.costs: dict[str, int] = {}

    def prepare(self, count: int) -> None:
        """Scripts what comes next: mostly answers, now and then a failure that is not billed."""
        for name in VENDORS:
            for _ in range(3 * count):
                fails = self._chance.random() < 0.1
                answer = Fail(self._chance.choice([500, 503])) if fails else self._say(name)
                self._opened.upstream.script(f"{name}-1", answer)

    def _say(self, vendor: str) -> Say:
        chance = self._chance
        input = chance.randint(1, 9000)
        cached = chance.randint(0, input)
        output = chance.randint(1, 500)
        usage = Usage(
            input_tokens=input,
            output_tokens=output,
            cached_input_tokens=cached,
            cache_write_tokens=chance.randint(0, input - cached) if vendor == "claude" else 0,
            reasoning_tokens=chance.randint(0, output) if vendor != "claude" else 0,
        )
        return Say(text="word " * 5, usage=usage, tool_calls=(CALLED,) if chance.random() < 0.2 else ())

    async def ask(self) -> None:
        chance = self._chance
        model, stream = chance.choice(VENDORS), chance.random() < 0.5
        fields: dict[str, object] = {"model": model, "stream": stream, "max_tokens": 600}
        if stream:
            fields["stream_options"] = {"include_usage": True}
        if chance.random() < 0.3:
            fields["tools"] = TOOLS
        if model == "open" and chance.random() < 0.2:
            fields["n"] = 2
        response = await self._opened.post({"messages": QUESTION, **fields})
        body = await response.read()
        if response.status == 200:
            found = re.search(rb'"estimated_cost":([0-9.e-]+)', body)
            assert found is not None, body
            self.costs[response.headers["x-muxer-request-id"]] = nanos(format(float(found[1]), ".9f"))


@pytest.mark.parametrize("requests", [200, pytest.param(5_000, marks=pytest.mark.slow)])
async def test_bill_store_records_answers_and_metrics_are_one(proxy: OpenProxy, requests: int) -> None:
    opened = await proxy(**SECTIONS)
    traffic = Traffic(opened, seed=5)
    for _ in range(0, requests, 20):
        traffic.prepare(20)
        await asyncio.gather(*(traffic.ask() for _ in range(20)))
    prices = {m.upstream: m.price for m in opened.assembly.parts.rules.catalog.models.values() if m.price}
    bill = opened.upstream.bill_nanos(prices)
    records = [record async for record in opened.store.records(0, {}, requests + 1)]
    recorded = {record.id: record.cost_nanos for record in records}
    assert len(records) == requests and {record.state for record in records} <= {"done", "failed"}
    assert {id: recorded[id] for id in traffic.costs} == traffic.costs
    assert all(record.cost_nanos == sum(one.cost_nanos for one in record.attempts) for record in records)
    attempts = [one for record in records for one in record.attempts]
    assert {one.outcome for one in attempts} == {"exact", "none"}
    # Status 0: the provider could not express it, and nothing was sent.
    assert sum(one.status != 0 for one in attempts) == len(opened.upstream.calls)
    claims = [a_claim(account, windows=(TOTAL,)) for account in ("all:all", *(f"model:{name}" for name in VENDORS))]
    everyone, *models = [amounts(standing) for standing in await opened.store.standings(claims)]
    assert everyone == (bill, 0, 0) and sum(spent for spent, _, _ in models) == sum(recorded.values()) == bill > 0
    assert await opened.store.held() == (0, 0)
    # Twenty at once, each at one model at a time: had a slot not come back, somebody would have been refused.
    slots = [by_model(name, unit="slots", capacity=20, per_minute=0) for name in VENDORS]
    assert await left(opened.store, *slots) == [20, 20, 20]
    async with opened.client.get("/metrics") as response:
        text = await response.text()
    counted = re.findall(r"^muxer_cost_usd_total\{.*\} (\S+)$", text, re.MULTILINE)
    assert round(sum(map(float, counted)) * 1e9) == bill
    usages = [record.usage for record in records]
    assert any(one.cached_input_tokens for one in usages) and any(one.reasoning_tokens for one in usages)
    assert (await opened.get("/stats", "sk-root"))["requests"] == requests
