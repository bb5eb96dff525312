"""S13 and B40: a request under an Idempotency-Key is served and charged once, however often it is sent."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from muxer.access import ANONYMOUS
from muxer.errors import StoreUnavailable
from muxer.inbound import IdempotencyKey
from muxer.repeats import KEYED_S, IdempotencyInProgress, Repeats
from muxer.testing import Cut, Fail, ManualClock, Say, Stall, a_record
from tests.house import House
from tests.proxy import QUESTION, OpenProxy, Proxy

KEY = "0b7c6c1e-5d0f-4e0e-8a38-9d5a2d1f4a77"


async def sent(proxy: Proxy, key: str = KEY, secret: str = "sk-alice", **fields: object) -> tuple[int, dict[str, Any]]:
    """The status and the error, or {} of an answer."""
    body = {"messages": QUESTION, **fields}
    headers = {"x-api-key": secret, "Idempotency-Key": key}
    async with proxy.client.post("/v1/chat/completions", json=body, headers=headers) as response:
        answer = await response.json()
        error = answer.get("error", {})
        return response.status, {**error, "headers": response.headers} if error else {}


async def test_a_request_that_was_answered_is_not_charged_again(proxy: OpenProxy) -> None:
    opened = await proxy()
    assert await sent(opened) == (200, {})
    before = await opened.accounts()
    status, error = await sent(opened)
    assert (status, error["code"], error["headers"]["x-should-retry"]) == (409, "idempotency_done", "false")
    first = opened.upstream.calls
    assert len(first) == 1 and await opened.accounts() == before
    assert "nothing is charged" in error["message"] and "req_" in error["message"]


async def test_it_names_the_request_that_was_answered(proxy: OpenProxy) -> None:
    opened = await proxy()
    headers = {"x-api-key": "sk-alice", "Idempotency-Key": KEY}
    body = {"messages": QUESTION}
    async with opened.client.post("/v1/chat/completions", json=body, headers=headers) as response:
        id = response.headers["x-muxer-request-id"]
    _, error = await sent(opened)
    assert id in error["message"]


async def test_while_it_is_answered_another_waits(proxy: OpenProxy) -> None:
    opened = await proxy(Stall())
    first = asyncio.create_task(sent(opened))
    await opened.upstream.arrived(1)
    status, error = await sent(opened)
    assert (status, error["code"], error["headers"]["Retry-After"]) == (409, "idempotency_in_progress", "1")
    opened.upstream.gate.set()
    assert (await first)[0] == 200
    assert len(opened.upstream.calls) == 1


async def test_the_same_key_for_another_body_is_a_mistake(proxy: OpenProxy) -> None:
    opened = await proxy()
    await sent(opened)
    status, error = await sent(opened, temperature=0.5)
    assert (status, error["code"]) == (422, "idempotency_mismatch")
    assert len(opened.upstream.calls) == 1


async def test_keys_of_two_callers_are_two(proxy: OpenProxy) -> None:
    opened = await proxy()
    assert [(await sent(opened, secret=secret))[0] for secret in ("sk-alice", "sk-bob")] == [200, 200]


async def test_what_failed_and_cost_nothing_may_be_sent_again(proxy: OpenProxy) -> None:
    opened = await proxy(routes="[{name: default, use: [small]}]")
    opened.upstream.default = Fail(400)
    assert (await sent(opened))[0] == 400
    opened.upstream.default = Say()
    assert (await sent(opened))[0] == 200
    assert (await sent(opened))[1]["code"] == "idempotency_done"


async def test_what_no_budget_allowed_may_be_sent_again(proxy: OpenProxy) -> None:
    opened = await proxy(limits="[{per: user, daily_usd: 0.000001}]")
    assert [(await sent(opened))[0] for _ in range(2)] == [402, 402]


async def test_what_failed_and_may_have_been_billed_is_not_sent_again(proxy: OpenProxy) -> None:
    opened = await proxy(routes="[{name: default, use: [small]}]")
    opened.upstream.default = Cut(after_bytes=100)
    assert (await sent(opened))[0] == 502
    calls = len(opened.upstream.calls)
    status, error = await sent(opened)
    assert (status, error["code"]) == (409, "idempotency_done")
    assert "may have been billed" in error["message"] and len(opened.upstream.calls) == calls


async def test_a_day_later_the_key_is_new(proxy: OpenProxy) -> None:
    clock = ManualClock()
    opened = await proxy(clock=clock)
    assert await sent(opened) == (200, {})
    clock.now_s += KEYED_S
    assert await sent(opened) == (200, {})


async def test_of_many_at_once_one_is_served(proxy: OpenProxy) -> None:
    opened = await proxy()
    statuses = [status for status, _ in await asyncio.gather(*(sent(opened) for _ in range(20)))]
    assert sorted(set(statuses)) == [200, 409] and statuses.count(200) == 1
    assert len(opened.upstream.calls) == 1


@pytest.mark.parametrize("step", ["begins", "ends"])
async def test_a_key_is_free_when_the_store_answers_again(tmp_path: Path, step: str) -> None:
    """Its last word on a request that came to nothing was lost, so it may remember that as one under way."""
    house, key = House(tmp_path), IdempotencyKey(KEY, "body")
    async with house.process() as (ledger, store):
        repeats = Repeats(store, ledger, house.log, house.clock)
        if step == "ends":
            keyed = await repeats.begin(key, ANONYMOUS, "first")
            store.is_away = True
            await repeats.end(keyed, a_record(id="first", state="failed"))
        else:
            store.is_away = True
            with pytest.raises(StoreUnavailable):
                await repeats.begin(key, ANONYMOUS, "first")
        store.is_away = False
        assert (await repeats.begin(key, ANONYMOUS, "second")).id == "second"
        with pytest.raises(IdempotencyInProgress):
            await repeats.begin(key, ANONYMOUS, "third")


@pytest.mark.parametrize("key", ["", "a" * 256, "a b", "é"])
async def test_what_is_no_key_is_refused_before_anything_is_held(proxy: OpenProxy, key: str) -> None:
    opened = await proxy()
    status, error = await sent(opened, key)
    assert (status, error["code"]) == (400, "invalid_idempotency_key")
    assert not opened.upstream.calls
