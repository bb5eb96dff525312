"""Anthropic's Messages API on the way of a real request, to the scripted upstream of each vendor."""

from typing import Any

import msgspec
import pytest
from aiohttp import ClientResponse

from muxer.sse import EventParser, write_event
from muxer.testing import Cut, Fail, Raw, Say
from muxer.types import FunctionCall, ToolCall, Usage
from tests.proxy import QUESTION, OpenProxy, Proxy

VENDORS = ("open", "claude", "gemini", "mistral")
SECTIONS: dict[str, Any] = {
    "plugins": "[openai, anthropic, gemini, mistral, sqlite, tests.odd_guards]",
    "providers": """
  open: {kind: openai, api_key: sk-upstream, base_url: "UPSTREAM/v1"}
  claude: {kind: anthropic, api_key: sk-upstream, base_url: "UPSTREAM"}
  gemini: {kind: gemini, api_key: sk-upstream, base_url: "UPSTREAM/v1beta"}
  mistral: {kind: mistral, api_key: sk-upstream, base_url: "UPSTREAM/mistral/v1"}""",
    "models": "\n"
    + "\n".join(
        f"  {name}: {{provider: {name}, name: {name}-1, price_usd_per_million: "
        "{input: 1, output: 2, cached_input: 0.1, cache_write: 1.25}}"
        for name in VENDORS
    ),
    "routes": "[{name: default, use: [open]}]",
}
TOOL = {"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
CALLED = ToolCall("call_1", FunctionCall("get_weather", '{"city":"Rome"}'))
WELL = Say(text="The capital is Paris.", usage=Usage(100, 20, cached_input_tokens=30, reasoning_tokens=0))


async def opened(proxy: OpenProxy, *behaviours: Any, **sections: Any) -> Proxy:
    return await proxy(*behaviours, **(SECTIONS | sections))


async def ask(running: Proxy, path: str = "/v1/messages", key: str = "sk-alice", **fields: Any) -> ClientResponse:
    body = {"model": "open", "max_tokens": 50, "messages": QUESTION, **fields}
    headers = {"x-api-key": key, "anthropic-version": "2023-06-01", "anthropic-beta": "one-1", "Cookie": "a=b"}
    return await running.client.post(path, json=body, headers=headers)


async def events(response: ClientResponse) -> list[dict[str, Any]]:
    found = EventParser().feed(await response.read())
    data = [msgspec.json.decode(event.data, type=dict[str, Any]) for event in found]
    assert [event.name for event in found] == [one["type"] for one in data]
    return data


async def message(response: ClientResponse) -> dict[str, Any]:
    """The message, put together from its events where it was streamed, as an SDK does it."""
    assert response.status == 200
    if response.content_type != "text/event-stream":
        whole: dict[str, Any] = await response.json()
        return whole
    first, *rest = [one for one in await events(response) if one["type"] != "ping"]
    assert first["type"] == "message_start" and rest[-1]["type"] == "message_stop"
    built: dict[str, Any] = first["message"]
    parts: list[str] = []
    for one in rest:
        if one["type"] == "content_block_start":
            assert one["index"] == len(built["content"])
            built["content"].append(one["content_block"])
            parts = []
        elif one["type"] == "content_block_delta":
            assert one["index"] == len(built["content"]) - 1
            parts.append(one["delta"].get("text", one["delta"].get("partial_json", "")))
        elif one["type"] == "content_block_stop":
            block = built["content"][-1]
            block["text" if block["type"] == "text" else "input"] = (
                "".join(parts) if block["type"] == "text" else msgspec.json.decode("".join(parts) or "{}")
            )
        elif one["type"] == "message_delta":
            built |= one["delta"]
            built["usage"] |= one["usage"]
            built["router_metadata"] = one["router_metadata"]
    return built


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", VENDORS)
async def test_every_model_answers(proxy: OpenProxy, model: str, stream: bool) -> None:
    running = await opened(proxy, WELL)
    response = await ask(running, model=model, stream=stream, system="Be brief.")
    said = await message(response)
    assert said["content"] == [{"type": "text", "text": "The capital is Paris."}]
    assert (said["model"], said["role"], said["stop_reason"]) == (model, "assistant", "end_turn")
    assert said["usage"]["input_tokens"] == 70 and said["usage"]["cache_read_input_tokens"] == 30
    assert said["usage"]["output_tokens"] == 20
    assert said["router_metadata"]["request_id"] == response.headers["request-id"]
    record = await running.record(response)
    assert (record.api, record.model, record.state) == ("anthropic.messages", model, "done")
    accounts = await running.accounts()
    assert accounts.bill == accounts.spent == accounts.recorded > 0 and accounts.held == accounts.presumed == 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", VENDORS)
async def test_tools_go_there_and_back(proxy: OpenProxy, model: str, stream: bool) -> None:
    running = await opened(proxy, Say(tool_calls=(CALLED,)), WELL)
    first = await message(await ask(running, model=model, stream=stream, tools=[TOOL]))
    use = first["content"][-1]
    assert first["stop_reason"] == "tool_use"
    assert (use["type"], use["name"], use["input"]) == ("tool_use", "get_weather", {"city": "Rome"})
    result = {"type": "tool_result", "tool_use_id": use["id"], "content": [{"type": "text", "text": "sunny"}]}
    turns = [*QUESTION, {"role": "assistant", "content": first["content"]}, {"role": "user", "content": [result]}]
    said = await message(await ask(running, model=model, stream=stream, tools=[TOOL], messages=turns))
    assert said["content"][0]["text"] == "The capital is Paris."
    sent = msgspec.json.encode(running.upstream.calls[1].body).decode()
    assert "sunny" in sent and "get_weather" in sent and "muxer1." not in sent


async def test_the_bytes_pass_to_anthropic(proxy: OpenProxy) -> None:
    content = [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}, {"type": "new", "a": 1}]
    running = await opened(proxy, WELL, limits="[]")
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": content}],
        "top_k": 4,
        "new": [1],
        "max_tokens": 50,
    }
    response = await ask(running, model="claude", **body)
    assert response.status == 200 and "x-muxer-dropped" not in response.headers
    (sent,) = running.upstream.calls
    assert sent.body == {**body, "model": "claude-1", "stream": False}
    assert sent.headers["anthropic-beta"] == "one-1" and "Cookie" not in sent.headers
    assert sent.headers["x-api-key"] == "sk-upstream"


async def test_the_betas_of_the_file_and_of_the_caller_go_together(proxy: OpenProxy) -> None:
    theirs = 'base_url: "UPSTREAM"'
    providers = SECTIONS["providers"].replace(theirs, f"{theirs}, headers: {{anthropic-beta: two-2}}")
    running = await opened(proxy, WELL, providers=providers)
    await ask(running, model="claude")
    await running.chat(model="claude")
    assert [call.headers["anthropic-beta"] for call in running.upstream.calls] == ["two-2,one-1", "two-2"]


async def test_a_long_name_of_the_end_user_is_cut_for_openai(proxy: OpenProxy) -> None:
    running = await opened(proxy, WELL, WELL)
    await ask(running, metadata={"user_id": "u" * 150})
    await ask(running, model="claude", metadata={"user_id": "u" * 150})
    openai, claude = running.upstream.calls
    assert openai.body["user"] == "u" * 64 and claude.body["metadata"] == {"user_id": "u" * 150}


async def test_what_another_vendor_cannot_be_told_is_named(proxy: OpenProxy) -> None:
    running = await opened(proxy, WELL)
    response = await ask(running, top_k=4)
    assert response.headers["x-muxer-dropped"] == "top_k"
    (sent,) = running.upstream.calls
    assert "top_k" not in sent.body and "anthropic-beta" not in sent.headers


async def test_what_another_vendor_cannot_be_told_is_refused_when_the_file_is_strict(proxy: OpenProxy) -> None:
    running = await opened(proxy, WELL, strict_params="true")
    response = await ask(running, top_k=4)
    assert response.status == 400
    assert (await response.json())["error"]["code"] == "unsupported_parameter"
    assert (await ask(running, model="claude", top_k=4)).status == 200


@pytest.mark.parametrize("path", ["/v1/messages", "/messages", "/v1/v1/messages"])
async def test_every_way_an_sdk_joins_the_address_is_served(proxy: OpenProxy, path: str) -> None:
    running = await opened(proxy, WELL)
    assert (await ask(running, path)).status == 200
    refused = await ask(running, path, max_tokens=-1)
    assert (await refused.json())["type"] == "error"


@pytest.mark.parametrize(
    ("fields", "key", "status", "kind"),
    [
        ({"max_tokens": None}, "sk-alice", 400, "invalid_request_error"),
        ({"model": "nobody"}, "sk-alice", 404, "not_found_error"),
        ({}, "sk-nobody", 401, "authentication_error"),
        ({"max_tokens": 9_000_000}, "sk-alice", 402, "billing_error"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "sk-alice", 400, "invalid_request_error"),
    ],
)
async def test_refusals_are_anthropics(
    proxy: OpenProxy, fields: dict[str, Any], key: str, status: int, kind: str
) -> None:
    running = await opened(proxy)
    response = await ask(running, key=key, **fields)
    body = await response.json()
    assert (response.status, body["type"], body["error"]["type"]) == (status, "error", kind)
    assert body["error"]["message"] and "request_id" in body
    assert not running.upstream.calls


async def test_a_failure_upstream_has_the_id_of_its_record(proxy: OpenProxy) -> None:
    running = await opened(proxy, *[Fail(500)] * 3)
    response = await ask(running)
    body = await response.json()
    assert (response.status, body["error"]["type"]) == (502, "api_error")
    assert body["request_id"] == response.headers["request-id"] == (await running.record(response)).id


async def test_a_used_up_rate_is_a_rate_limit(proxy: OpenProxy) -> None:
    running = await opened(proxy, WELL, limits="[{per: user, requests_per_minute: 1}]")
    await ask(running)
    response = await ask(running)
    assert (response.status, (await response.json())["error"]["type"]) == (429, "rate_limit_error")
    assert int(response.headers["Retry-After"]) > 0


@pytest.mark.parametrize("model", ["open", "claude"])
async def test_a_stream_that_breaks_ends_with_an_error(proxy: OpenProxy, model: str) -> None:
    running = await opened(proxy, Cut(after_bytes=700, then=Say(text="word " * 200)))
    response = await ask(running, model=model, stream=True, max_tokens=500)
    *_, last = await events(response)
    assert (last["type"], last["error"]["type"]) == ("error", "api_error")
    assert last["request_id"] == response.headers["request-id"]
    assert (await running.record(response)).state == "failed"


HOUR = {"type": "ephemeral", "ttl": "1h"}


@pytest.mark.parametrize(
    "fields",
    [
        {"cache_control": HOUR},
        {"speed": "fast"},
        {"inference_geo": "us"},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"mcp_servers": []},
        {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "url", "url": "x"}}]}]},
    ],
    ids=["an hour's cache", "fast", "one country", "server tools", "unknown fields", "documents"],
)
async def test_what_the_prices_do_not_cover_needs_a_soft_budget(proxy: OpenProxy, fields: dict[str, Any]) -> None:
    running = await opened(proxy, WELL)
    response = await ask(running, model="claude", **fields)
    body = await response.json()
    assert (response.status, body["error"]["code"]) == (400, "cost_unbounded")
    assert not running.upstream.calls


async def test_what_the_prices_do_not_cover_passes_without_a_hard_budget(proxy: OpenProxy) -> None:
    running = await opened(proxy, WELL, limits="[{per: user, daily_usd: 1, hold: expected}]")
    response = await ask(running, model="claude", cache_control=HOUR)
    assert response.status == 200
    assert running.upstream.calls[0].body["cache_control"] == HOUR


async def test_tokens_are_counted_without_asking_anybody(proxy: OpenProxy) -> None:
    running = await opened(proxy)
    headers = {"x-api-key": "sk-alice"}
    body = {"model": "claude", "messages": [{"role": "user", "content": "word " * 400}]}
    counted = await running.client.post("/v1/messages/count_tokens", json=body, headers=headers)
    assert counted.status == 200 and 500 <= (await counted.json())["input_tokens"] <= 600
    refused = await running.client.post("/v1/messages/count_tokens", json={}, headers=headers)
    assert (refused.status, (await refused.json())["type"]) == (400, "error")
    assert not running.upstream.calls


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", VENDORS)
async def test_a_guard_that_changes_the_request_has_it_sent_translated(
    proxy: OpenProxy, model: str, stream: bool
) -> None:
    running = await opened(proxy, WELL, guards="[{kind: odd, before: says, word: psst}]")
    response = await ask(running, model=model, stream=stream, top_k=4)
    assert (await message(response))["content"] == [{"type": "text", "text": "The capital is Paris."}]
    (sent,) = running.upstream.calls
    assert b"psst: What is the capital" in msgspec.json.encode(sent.body) and "top_k" not in sent.body
    assert response.headers["x-muxer-dropped"].startswith("top_k")
    assert (await running.record(response)).api == "anthropic.messages"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", ["open", "claude"])
async def test_a_guard_that_changes_the_answer_is_heard(proxy: OpenProxy, model: str, stream: bool) -> None:
    running = await opened(proxy, WELL, guards="[{kind: odd, after: shouts}]")
    response = await ask(running, model=model, stream=stream)
    assert (await message(response))["content"] == [{"type": "text", "text": "THE CAPITAL IS PARIS."}]


async def test_what_only_anthropic_understands_cannot_be_changed_by_a_guard(proxy: OpenProxy) -> None:
    running = await opened(proxy, WELL, guards="[{kind: odd, before: says}]", limits="[]")
    document = {"type": "document", "source": {"type": "url", "url": "https://x.example/a.pdf"}}
    turns = [{"role": "user", "content": [document]}, {"role": "assistant", "content": "Yes?"}, *QUESTION]
    response = await ask(running, model="claude", messages=turns)
    assert (response.status, (await response.json())["error"]["code"]) == (400, "unsupported")


async def test_an_answer_a_guard_has_ready_is_a_message(proxy: OpenProxy) -> None:
    running = await opened(
        proxy, guards="[{kind: cache}]", plugins="[openai, anthropic, gemini, mistral, sqlite, cache]"
    )
    running.upstream.script(None, WELL)
    whole = await message(await ask(running, model="claude"))
    streamed = await message(await ask(running, model="claude", stream=True))
    assert whole["content"] == streamed["content"] and len(running.upstream.calls) == 1


async def test_anthropics_own_stream_passes_whole_and_its_end_waits_for_the_record(proxy: OpenProxy) -> None:
    sent: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "m", "model": "x", "usage": {"input_tokens": 3}}},
        {"type": "new", "a": 1},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]
    own = b"".join(write_event(msgspec.json.encode(one), str(one["type"])) for one in sent)
    running = await opened(proxy, Raw(pieces=(own,), billed=Usage(3, 2)))
    response = await ask(running, model="claude", stream=True)
    found = await events(response)
    assert [one["type"] for one in found] == ["message_start", "new", "message_delta", "message_stop"]
    assert found[0]["message"]["model"] == "claude" and found[1] == {"type": "new", "a": 1}
    record = await running.record(response)
    assert (record.state, record.usage) == ("done", Usage(3, 2))
