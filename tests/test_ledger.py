"""Budgets that hold: what is refused, what still fits, and that nobody overspends however many ask at once."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any

import pytest

from muxer.testing import Behaviour, Cut, Fail, Say, Stall
from muxer.types import Usage
from tests.proxy import OpenProxy, Proxy, nanos

AT_MIDNIGHT = 1_790_035_200.0  # 2026-09-22 in UTC
CAP = 100
ONE = "0.000322"  # what our question to `small` may cost with this cap: 122 input tokens and 100 output tokens
TWENTY_AND_A_HALF = "[{per: user, daily_usd: 0.006601}]"


async def test_a_spent_budget_is_402_with_all_its_numbers(proxy: OpenProxy) -> None:
    opened = await proxy(
        Say(usage=Usage(100, 50)), clock=lambda: AT_MIDNIGHT, limits="[{per: user, daily_usd: 0.0004}]"
    )
    await opened.chat(model="small", max_tokens=CAP)
    response = await opened.chat(model="small", max_tokens=CAP)
    error = (await response.json())["error"]
    assert (response.status, error["type"], error["code"]) == (402, "insufficient_quota", "budget_exceeded")
    assert (error["param"], response.headers["x-should-retry"]) == (None, "false")
    assert error["budget"] == {
        "per": "user",
        "subject": "alice",
        "window": "day",
        "limit_usd": "0.0004",
        "spent_usd": "0.0002",
        "held_usd": "0",
        "presumed_usd": "0",
        "asked_usd": ONE,
        "resets_at": "2026-09-23T00:00:00Z",
    }
    assert len(opened.upstream.calls) == 1


async def test_the_message_of_a_refusal_says_what_can_be_done(proxy: OpenProxy) -> None:
    opened = await proxy(limits="[{per: user, total_usd: 0}]")
    message = (await (await opened.chat()).json())["error"]["message"]
    assert message.startswith("the total budget of user 'alice' is used up for this request: limit $0, spent $0")
    assert message.endswith("Raise limits[0].total_usd in routing.yaml, set a lower max_tokens, or wait")


async def test_the_status_of_a_refusal_can_be_429(proxy: OpenProxy) -> None:
    opened = await proxy(limits="[{per: user, daily_usd: 0}]", budget_status="429")
    response = await opened.chat()
    assert (response.status, (await response.json())["error"]["code"]) == (429, "budget_exceeded")
    assert response.headers["x-should-retry"] == "false"


async def test_a_refused_request_leaves_no_trace_in_the_store(proxy: OpenProxy) -> None:
    opened = await proxy(limits="[{per: user, daily_usd: 0}]")
    await opened.chat()
    assert (await opened.get("/user/stats"))["requests"] == 0
    assert await opened.store.held() == (0, 0)


async def test_each_user_has_a_budget_of_their_own(proxy: OpenProxy) -> None:
    opened = await proxy(limits=f"[{{per: user, daily_usd: {ONE}}}]")
    assert [(await opened.chat(key, max_tokens=CAP)).status for key in ("sk-alice", "sk-bob")] == [200, 200]


async def test_every_line_that_matches_must_hold(proxy: OpenProxy) -> None:
    opened = await proxy(limits="[{per: user, daily_usd: 1}, {per: all, monthly_usd: 1}, {per: model, total_usd: 0}]")
    error = (await (await opened.chat()).json())["error"]
    assert [error["budget"][name] for name in ("per", "subject", "window")] == ["model", "small", "total"]


async def test_the_inserted_cap_shrinks_to_what_the_budget_has_left(proxy: OpenProxy) -> None:
    opened = await proxy(limits="[{per: user, daily_usd: 0.001}]")
    response = await opened.chat(model="small")
    cap = opened.upstream.calls[0].body["max_tokens"]
    assert response.headers["x-muxer-output-cap"] == str(cap)
    bound = int(str((await opened.record(response)).bound_tokens))
    assert bound * 1_000 + int(str(cap)) * 2_000 <= nanos("0.001") < bound * 1_000 + (int(str(cap)) + 1) * 2_000


async def test_a_cap_below_the_least_useful_one_is_refused(proxy: OpenProxy) -> None:
    opened = await proxy(limits="[{per: user, daily_usd: 0.0004}]")
    assert (await opened.chat(model="small")).status == 402
    assert not opened.upstream.calls


async def test_a_caller_s_own_cap_is_never_lowered(proxy: OpenProxy) -> None:
    opened = await proxy(limits="[{per: user, daily_usd: 0.001}]")
    assert (await opened.chat(model="small", max_tokens=1_000)).status == 402
    assert (await opened.chat(model="small", max_tokens=400)).status == 200
    assert opened.upstream.calls[0].body["max_tokens"] == 400


@pytest.mark.parametrize(("on_budget", "status", "model"), [("downgrade", 200, "small"), ("refuse", 402, None)])
async def test_a_route_can_take_the_next_model_that_fits(
    proxy: OpenProxy, on_budget: str, status: int, model: str | None
) -> None:
    routes = f"[{{name: r, use: [large, small], on_budget: {on_budget}}}]"
    opened = await proxy(routes=routes, limits="[{per: user, daily_usd: 0.002}]")
    response = await opened.chat(max_tokens=CAP)
    assert (response.status, response.headers.get("x-muxer-model")) == (status, model)


async def test_a_free_model_answers_when_the_budget_is_spent(proxy: OpenProxy) -> None:
    models = "{small: {provider: main, price: free}, large: {provider: main, price: free}}"
    opened = await proxy(models=models, limits="[{per: user, daily_usd: 0}]")
    response = await opened.chat()
    assert (response.status, (await opened.record(response)).cost_nanos) == (200, 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "web_search"}]},
        {"web_search_options": {}},
        {"service_tier": "priority"},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
    ],
)
async def test_what_has_no_upper_bound_is_refused_under_a_hard_budget_only(
    proxy: OpenProxy, fields: dict[str, Any]
) -> None:
    opened = await proxy(limits="[{per: user, where: {user: alice}, daily_usd: 1}]")
    response = await opened.chat(**fields)
    assert (response.status, (await response.json())["error"]["code"]) == (400, "cost_unbounded")
    assert (await opened.chat("sk-bob", **fields)).status == 200


async def test_a_soft_budget_counts_an_answer_without_usage(proxy: OpenProxy) -> None:
    opened = await proxy(Say(reports_usage=False), limits="[{per: user, daily_usd: 1, hold: expected}]")
    response = await opened.chat(model="small")
    (attempt,) = (await opened.record(response)).attempts
    assert (attempt.outcome, attempt.presumed_nanos, attempt.cost_nanos > 0) == ("counted", 0, True)
    assert (await opened.accounts()).held == 0


async def test_a_bill_past_its_hold_is_recorded_in_full_and_counted(proxy: OpenProxy) -> None:
    opened = await proxy(Say(usage=Usage(100, 500)), plugins="[openai, sqlite, prometheus]")
    await opened.chat(model="small", max_tokens=1)
    accounts = await opened.accounts()
    assert accounts.spent == accounts.bill == 100 * 1_000 + 500 * 2_000
    metrics = await (await opened.client.get("/metrics")).text()
    assert "muxer_budget_overrun_total 1.0" in metrics


async def test_as_many_as_fit_are_let_in_at_once_and_no_more(proxy: OpenProxy) -> None:
    opened = await proxy(limits=TWENTY_AND_A_HALF)
    opened.upstream.default = Stall(then=Say(usage=Usage(122, CAP)))
    asking = [asyncio.create_task(opened.chat(model="small", max_tokens=CAP)) for _ in range(128)]
    refused = [await one for one in islice(asyncio.as_completed(asking), 108)]
    budgets = [(await one.json())["error"]["budget"] for one in refused]
    assert {(one["held_usd"], one["asked_usd"]) for one in budgets} == {("0.00644", ONE)}
    opened.upstream.gate.set()
    assert [(await one).status for one in asking].count(200) == 20
    accounts = await opened.accounts()
    assert accounts.bill == accounts.spent == accounts.recorded == 20 * nanos(ONE)
    assert (accounts.held, accounts.presumed) == (0, 0)


async def test_a_budget_is_used_up_to_less_than_one_request(proxy: OpenProxy) -> None:
    opened = await proxy(limits=TWENTY_AND_A_HALF)
    opened.upstream.default = Say(usage=Usage(50, 20))

    async def ask_until_refused() -> None:
        while (await opened.chat(model="small", max_tokens=CAP)).status == 200:
            pass

    await asyncio.gather(*(ask_until_refused() for _ in range(16)))
    await ask_until_refused()
    accounts, limit = await opened.accounts(), nanos("0.006601")
    assert limit - nanos(ONE) < accounts.bill == accounts.spent <= limit
    assert accounts.held == 0


async def test_mixed_endings_at_once_leave_all_accounts_equal(proxy: OpenProxy) -> None:
    opened = await proxy()
    for number in range(60):
        opened.upstream.script(None, (Say(), Fail(500), Fail(400), Say(usage=Usage(100, 7, 64)))[number % 4])
    responses = await asyncio.gather(*(opened.chat(key, stream=i % 2 == 0) for i in range(20) for key in KEYS))
    await asyncio.gather(*(response.read() for response in responses))
    accounts = await opened.accounts()
    assert accounts.bill == accounts.spent == accounts.recorded
    assert (accounts.held, accounts.presumed) == (0, 0)


KEYS = ("sk-alice", "sk-bob")


STORE = "{kind: sqlite, path: muxer.db, busy_timeout_s: 0.01}"


@contextmanager
def locked(opened: Proxy) -> Iterator[None]:
    """While it lasts nobody else can write to the store's file."""
    with closing(sqlite3.connect(opened.assembly.configuration.folder / "muxer.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


async def test_nothing_is_sent_while_budgets_cannot_be_checked(proxy: OpenProxy) -> None:
    opened = await proxy(store=STORE)
    with locked(opened):
        response = await opened.chat()
    assert (response.status, (await response.json())["error"]["code"]) == (503, "budget_store_unavailable")
    assert response.headers["Retry-After"] == "1"
    assert not opened.upstream.calls


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_answer_arrives_though_its_settlement_must_wait(proxy: OpenProxy, stream: bool) -> None:
    opened = await proxy(Stall(), store=STORE)
    asking = asyncio.create_task(opened.chat(stream=stream))
    await opened.upstream.arrived(1)
    with locked(opened):
        opened.upstream.gate.set()
        await (await asking).read()
    assert (await opened.store.held())[0] > 0
    await opened.assembly.parts.ledger.close(grace_s=10)
    accounts = await opened.accounts()
    assert (accounts.bill, accounts.held) == (accounts.spent, 0)


async def test_an_attempt_that_cannot_be_held_is_not_made(proxy: OpenProxy) -> None:
    opened = await proxy(Stall(then=Fail(500)), store=STORE)
    asking = asyncio.create_task(opened.chat())
    await opened.upstream.arrived(1)
    with locked(opened):
        opened.upstream.gate.set()
        assert (await asking).status == 502
    await opened.assembly.parts.ledger.close(grace_s=10)
    assert ((await opened.accounts()).held, len(opened.upstream.calls)) == (0, 1)


async def test_closing_waits_no_longer_than_it_may(proxy: OpenProxy) -> None:
    opened = await proxy(store=STORE)
    with locked(opened):
        await opened.chat()
        async with asyncio.timeout(5):
            await opened.assembly.parts.ledger.close(grace_s=0)
    assert not [task for task in asyncio.all_tasks() if "settle" in repr(task.get_coro())]


@pytest.mark.parametrize(
    ("behaviour", "stream", "last"),
    [
        (Stall(), False, b"router_metadata"),
        (Stall(), True, b"[DONE]"),
        (Stall(then=Cut(after_bytes=1_000, then=Say(text="word " * 100))), True, b'"error"'),
    ],
    ids=["whole", "stream", "broken stream"],
)
async def test_the_last_byte_waits_for_the_settlement(
    proxy: OpenProxy, behaviour: Behaviour, stream: bool, last: bytes
) -> None:
    opened = await proxy(behaviour, store="{kind: sqlite, path: muxer.db, busy_timeout_s: 4}")
    read = bytearray()
    asking = asyncio.create_task(ask(opened, read, stream=stream))
    await opened.upstream.arrived(1)
    with locked(opened):
        opened.upstream.gate.set()
        await opened.upstream.idle()
        await asyncio.wait([asking], timeout=0.2)
        assert last not in read
    await asking
    assert last in read and (await opened.last_record()).state in ("done", "failed")


async def ask(opened: Proxy, read: bytearray, *, stream: bool) -> None:
    """Asks, and keeps the bytes of the answer as they come."""
    response = await opened.chat(model="small", stream=stream)
    async for piece in response.content.iter_any():
        read += piece


async def test_a_cap_of_zero_does_not_unbound_a_hard_budget(proxy: OpenProxy) -> None:
    running = await proxy()
    assert (await running.chat(max_tokens=0)).status == 200
    assert running.upstream.calls[0].body["max_tokens"] == 4096


async def test_tokens_of_an_answer_without_usage_are_counted_and_stay_taken(proxy: OpenProxy) -> None:
    limits = "[{per: user, tokens_per_minute: 1000}]"
    running = await proxy(Say(text="word " * 200, reports_usage=False), limits=limits)
    record = await running.record(await running.chat())
    assert (record.attempts[0].outcome, record.usage.output_tokens) == ("counted", 250)
    (limit,) = (await running.get("/user/stats"))["limits"]
    assert limit["remaining"] <= 1000 - record.usage.input_tokens - 250 + 1


async def test_more_tokens_than_a_burst_holds_are_refused_for_good(proxy: OpenProxy) -> None:
    running = await proxy(limits="[{per: user, tokens_per_minute: 1000, burst: 50}]")
    response = await running.chat()
    error = (await response.json())["error"]
    assert (response.status, error["code"]) == (400, "invalid_value")
    assert "limits[0].tokens_per_minute" in error["message"]


async def test_a_refusal_for_rate_says_what_is_left_as_an_answer_does(proxy: OpenProxy) -> None:
    rates = "[{per: user, requests_per_minute: 2}, {per: all, tokens_per_minute: 1_000_000}]"
    opened = await proxy(clock=lambda: AT_MIDNIGHT, limits=rates)
    first, _, third = [await opened.chat() for _ in range(3)]
    assert (first.status, third.status) == (200, 429)
    headers = {name.lower(): value for name, value in third.headers.items() if "rate" in name or "etry" in name}
    assert headers == {
        "retry-after": "30",
        "retry-after-ms": "30000",
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "60.000s",
    }
    assert first.headers["x-ratelimit-remaining-requests"] == "1"


async def test_a_refusal_for_slots_has_no_rate_to_tell(proxy: OpenProxy) -> None:
    opened = await proxy(Stall(), limits="[{per: user, concurrent: 1}]")
    running = asyncio.create_task(opened.chat())
    await opened.upstream.arrived(1)
    response = await opened.chat()
    opened.upstream.gate.set()
    await running
    assert (response.status, response.headers["Retry-After"]) == (429, "1")
    assert not [name for name in response.headers if name.lower().startswith("x-ratelimit")]
