"""Rates and slots per model: each counts the attempts at its own model, whoever was asked before it."""

import asyncio

from muxer.testing import Fail, Say, Stall
from tests.proxy import OpenProxy, Proxy
from tests.test_cascade import MODELS as CASCADE_MODELS
from tests.test_cascade import ORDER, UNSURE

MODELS = """
  small: {provider: main, name: small-1, price: free}
  large: {provider: main, name: large-1, price: free}
  spare: {provider: main, name: spare-1, price: free}"""
ALL = "[{name: default, use: [small, large, spare]}]"


def asked(opened: Proxy) -> list[str]:
    return [call.model for call in opened.upstream.calls]


async def test_a_fallback_counts_against_the_limit_of_its_own_model(proxy: OpenProxy) -> None:
    limits = "[{per: model, requests_per_minute: 1}]"
    opened = await proxy(Fail(500), Say(), models=MODELS, limits=limits)
    assert (await opened.chat()).headers["x-muxer-model"] == "large"
    refused = await opened.chat(model="large")
    assert (refused.status, (await refused.json())["error"]["code"]) == (429, "rate_limit_exceeded")
    assert asked(opened) == ["small-1", "large-1"]


async def test_a_fallback_at_its_limit_is_passed_over_and_the_next_is_asked(proxy: OpenProxy) -> None:
    limits = "[{per: user, where: {model: large}, requests_per_minute: 1}]"
    opened = await proxy(Say(), Fail(500), Say(), models=MODELS, routes=ALL, limits=limits)
    await opened.chat(model="large")
    response = await opened.chat()
    assert (response.status, response.headers["x-muxer-model"]) == (200, "spare")
    assert asked(opened) == ["large-1", "small-1", "spare-1"]


async def test_a_model_is_not_asked_again_beyond_its_limit_and_its_failure_stands(proxy: OpenProxy) -> None:
    opened = await proxy(*[Fail(500)] * 3, models=MODELS, limits="[{per: model, requests_per_minute: 2}]")
    response = await opened.chat(model="small")
    assert (response.status, (await response.json())["error"]["code"]) == (502, "upstream_error")
    assert asked(opened) == ["small-1", "small-1"]


async def test_the_caller_s_own_limit_counts_a_request_once(proxy: OpenProxy) -> None:
    opened = await proxy(Fail(500), Say(), models=MODELS, limits="[{per: user, requests_per_minute: 2}]")
    assert [(await opened.chat()).status for _ in range(3)] == [200, 200, 429]


async def test_a_slot_is_free_once_its_model_has_failed_and_taken_where_the_answer_comes_from(proxy: OpenProxy) -> None:
    opened = await proxy(Fail(500), Stall(then=Say()), Say(), models=MODELS, limits="[{per: model, concurrent: 1}]")
    running = asyncio.create_task(opened.chat())
    await opened.upstream.arrived(2)
    assert (await opened.chat(model="small")).status == 200
    assert (await opened.chat(model="large")).status == 429
    opened.upstream.gate.set()
    assert (await running).headers["x-muxer-model"] == "large"
    assert (await opened.chat(model="large")).status == 200


async def test_a_cascade_gives_the_first_answer_when_the_next_model_is_at_its_limit(proxy: OpenProxy) -> None:
    limits = "[{per: model, where: {model: large}, requests_per_minute: 1}]"
    routes = f"[{{name: default, {ORDER}}}]"
    opened = await proxy(Say(), UNSURE, models=CASCADE_MODELS, routes=routes, limits=limits)
    await opened.chat(model="large")
    record = await opened.record(await opened.chat())
    assert record.model == "small" and record.reason.endswith("and large does not fit the limits")


async def test_tokens_of_a_fallback_count_where_they_were_used(proxy: OpenProxy) -> None:
    limits = "[{per: model, tokens_per_minute: 10_000}]"
    opened = await proxy(Fail(500), Say(text="a b c"), models=MODELS, limits=limits)
    usage = (await opened.record(await opened.chat())).usage
    left = {}
    for name in ("small", "large"):
        told = await opened.ask("/v1/route", {"messages": [{"role": "user", "content": "Hi"}], "model": name})
        (limit,) = (await told.json())["limits"]
        left[name] = limit["remaining"]
    assert left["small"] == 10_000
    assert 0 <= left["large"] - (10_000 - usage.input_tokens - usage.output_tokens) <= 1_000  # they flow back
