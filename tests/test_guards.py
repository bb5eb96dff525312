"""Guards on the way of a real request: what they may do, and that their faults cost their own effect only."""

from collections.abc import Sequence

import pytest
from aiohttp import ClientResponse

from muxer.testing import Behaviour, Cut, Raw, Say
from tests.proxy import OpenProxy, Proxy, events

PLUGINS = "[openai, sqlite, tests.odd_guards]"
ANSWER = Say(text="The capital is Paris.")
ROUTES = "[{name: default, use: [small, large]}]"
FOR_ROUTE = "[{name: default, use: [small, large], guards: [long]}]"
FAILING = ("raises", "exits", "hangs", "blocks", "returns junk", "asks junk", "asks half")
SLOW = ("hangs", "blocks")
FAILING_AFTER = ("raises", "raises late", "hangs", "gives junk", "returns junk")


def patience_s(does: str) -> float:
    """Little for a guard that fails by taking too long; for others so much that a busy machine makes none late."""
    return 0.01 if does in SLOW else 30


def odd(**settings: object) -> str:
    """A guard of the kind `odd` as an entry of the file."""
    words = ", ".join(
        f"{name}: {str(value).lower() if isinstance(value, bool) else value}" for name, value in settings.items()
    )
    return f"{{kind: odd, {words}}}"


async def opened(
    proxy: OpenProxy, *guards: str, answers: Sequence[Behaviour] = (ANSWER,), limits: str = "[]", routes: str = ROUTES
) -> Proxy:
    return await proxy(*answers, plugins=PLUGINS, guards=f"[{', '.join(guards)}]", routes=routes, limits=limits)


async def said(response: ClientResponse) -> str:
    """What the answer says, streamed or not."""
    if response.content_type == "text/event-stream":
        return (await events(response)).text
    return str((await response.json())["choices"][0]["message"]["content"])


async def test_guards_change_the_request_in_the_order_of_the_file_and_the_answer_in_reverse(proxy: OpenProxy) -> None:
    one, two = (
        odd(name="one", before="says", word="first"),
        odd(name="two", before="says", word="second", after="shouts"),
    )
    running = await opened(proxy, one, two)
    response = await running.chat()
    assert response.status == 200 and await said(response) == "THE CAPITAL IS PARIS."
    (sent,) = running.upstream.calls
    assert sent.body["messages"] == [{"role": "user", "content": "second: first: What is the capital of France?"}]
    assert response.headers["x-muxer-odd"] == "second"
    assert (await running.record(response)).notes == {"odd": "second"}


async def test_a_changed_request_keeps_the_fields_nobody_touched(proxy: OpenProxy) -> None:
    running = await opened(proxy, odd(before="says"))
    await running.chat(seed=7, made_up={"a": [1]})
    (sent,) = running.upstream.calls
    assert sent.body["seed"] == 7 and sent.body["made_up"] == {"a": [1]}


@pytest.mark.parametrize("routes", [ROUTES, FOR_ROUTE])
async def test_a_longer_request_is_held_for_at_its_new_length(proxy: OpenProxy, routes: str) -> None:
    running = await opened(proxy, odd(name="long", before="says", word="x" * 5_000), routes=routes)
    assert (await running.record(await running.chat())).bound_tokens > 5_000


async def test_a_guard_that_a_route_names_is_in_force_there_only(proxy: OpenProxy) -> None:
    routes = "[{name: told, when: \"user == 'bob'\", use: [small], guards: [odd]}, {name: default, use: [small]}]"
    running = await opened(proxy, odd(before="says"), routes=routes)
    await running.chat("sk-alice")
    response = await running.chat("sk-bob")
    asked = [call.body["messages"][0]["content"] for call in running.upstream.calls]  # type: ignore[index]  # JSON
    assert asked == ["What is the capital of France?", "odd: What is the capital of France?"]
    record = await running.record(response)
    assert record.route == "told" and record.reason == "rule told: user == 'bob'"


async def test_a_refusal_is_our_error_and_asks_nobody(proxy: OpenProxy) -> None:
    running = await opened(proxy, odd(before="refuses"))
    response = await running.chat()
    error = (await response.json())["error"]
    assert (response.status, error["code"], error["message"]) == (400, "guard_refused", "not about this")
    assert not running.upstream.calls and await running.store.held() == (0, 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_ready_answer_costs_nothing_and_is_recorded_with_what_it_saved(proxy: OpenProxy, stream: bool) -> None:
    running = await opened(proxy, odd(before="has it"))
    response = await running.chat(stream=stream)
    assert await said(response) == "ready" and response.headers["x-muxer-model"] == "large"
    record = await running.record(response)
    assert (record.state, record.model, record.cost_nanos, record.saved_nanos) == ("done", "large", 0, 10 * 10**9)
    assert not record.attempts and not running.upstream.calls and await running.store.held() == (0, 0)


async def test_a_ready_answer_counts_as_a_request_even_when_the_budget_is_spent(proxy: OpenProxy) -> None:
    limits = "[{per: user, daily_usd: 0.0001}, {per: user, requests_per_minute: 2}]"
    running = await opened(proxy, odd(before="has it"), limits=limits)
    assert [(await running.chat()).status for _ in range(3)] == [200, 200, 429]


async def test_a_ready_answer_counts_at_no_model(proxy: OpenProxy) -> None:
    running = await opened(proxy, odd(before="has it"), limits="[{per: model, requests_per_minute: 1}]")
    assert [(await running.chat()).status for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize("before", FAILING)
async def test_a_guard_that_fails_before_costs_its_effect_only(proxy: OpenProxy, before: str) -> None:
    running = await opened(proxy, odd(before=before, timeout_s=patience_s(before)), answers=[ANSWER] * 7)
    for _ in range(7):
        response = await running.chat()
        assert response.status == 200 and await said(response) == ANSWER.text
    lines = [line for line in running.log.lines if line["event"] == "plugin_failed"]
    assert len(lines) == 1 and lines[0]["component"] == "guard odd" and "secret" not in str(running.log.lines)
    assert len([line for line in running.log.lines if line["event"] == "plugin_set_aside"]) == 1


@pytest.mark.parametrize("before", FAILING)
async def test_a_required_guard_that_fails_refuses_the_request(proxy: OpenProxy, before: str) -> None:
    running = await opened(proxy, odd(before=before, timeout_s=patience_s(before), required=True))
    for _ in range(7):
        response = await running.chat()
        error = (await response.json())["error"]
        assert (response.status, error["code"]) == (500, "plugin_error") and "guard 'odd'" in error["message"]
    assert not running.upstream.calls and await running.store.held() == (0, 0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("after", FAILING_AFTER)
async def test_a_guard_that_fails_after_loses_nothing_of_the_answer(proxy: OpenProxy, after: str, stream: bool) -> None:
    running = await opened(proxy, odd(after=after, timeout_s=patience_s(after)))
    response = await running.chat(stream=stream)
    assert await said(response) == ANSWER.text
    record = await running.record(response)
    assert record.state == "done" and record.cost_nanos == (await running.accounts()).bill


@pytest.mark.parametrize("after", ["raises", "refuses"])
async def test_a_guard_that_must_see_the_answer_lets_none_through(proxy: OpenProxy, after: str) -> None:
    running = await opened(proxy, odd(after=after, required=True))
    whole, streamed = await running.chat(), await running.chat(stream=True)
    code = "guard_refused" if after == "refuses" else "plugin_error"
    assert (await whole.json())["error"]["code"] == code
    told = await events(streamed)
    assert told.data[-1]["error"]["code"] == code and not told.is_done and not told.text


async def test_the_usage_is_read_on_when_a_guard_ends_an_answer_early(proxy: OpenProxy) -> None:
    running = await opened(proxy, odd(after="stops"), limits="[{per: user, daily_usd: 1}]")
    assert (await events(await running.chat(stream=True))).text == ""
    accounts = await running.accounts()
    assert accounts.bill == accounts.spent > 0 and not accounts.presumed


async def test_an_upstream_that_breaks_off_is_no_fault_of_the_guard(proxy: OpenProxy) -> None:
    running = await opened(proxy, odd(), answers=[Cut(after_bytes=400, then=Say(text="word " * 50))])
    told = await events(await running.chat(stream=True))
    assert told.data[-1]["error"]["code"] == "upstream_unreachable"
    assert not [line for line in running.log.lines if line["event"] == "plugin_failed"]


async def test_what_a_guard_passes_on_keeps_the_upstreams_bytes(proxy: OpenProxy) -> None:
    raw = (
        b'{"id":"up-1","made_up":[1],"choices":[{"index":0,"message":{"content":"Hi","odd":1},"finish_reason":"stop"}]}'
    )
    answer = Raw(pieces=(raw,), headers={"Content-Type": "application/json"})
    running = await opened(proxy, odd(), "{kind: onlooker}", answers=[answer])
    told = await (await running.chat()).json()
    assert (
        told["id"] == "up-1" and told["made_up"] == [1] and told["choices"][0]["message"] == {"content": "Hi", "odd": 1}
    )


async def test_a_guard_sees_no_secret(proxy: OpenProxy) -> None:
    running = await opened(proxy, odd(before="raises"))
    await running.chat()
    assert "sk-alice" not in str(running.log.lines)
