"""OpenAI's Responses API on the way of a real request, to the scripted upstream of each vendor."""

from typing import Any

import msgspec
import pytest
from aiohttp import ClientResponse

from muxer.sse import EventParser
from muxer.testing import Cut, Fail, Say
from muxer.types import FunctionCall, ToolCall, Usage
from tests.proxy import OpenProxy, Proxy
from tests.test_messages import SECTIONS, VENDORS

TOOL = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
CALLED = ToolCall("call_1", FunctionCall("get_weather", '{"city":"Rome"}'))
WELL = Say(text="The capital is Paris.", usage=Usage(100, 20, cached_input_tokens=30))


async def opened(proxy: OpenProxy, *behaviours: Any, **sections: Any) -> Proxy:
    return await proxy(*behaviours, **(SECTIONS | sections))


async def ask(running: Proxy, path: str = "/v1/responses", key: str = "sk-alice", **fields: Any) -> ClientResponse:
    body = {"model": "open", "input": "What is the capital of France?", "max_output_tokens": 50, **fields}
    return await running.client.post(path, json=body, headers={"Authorization": f"Bearer {key}"})


async def events(response: ClientResponse) -> list[dict[str, Any]]:
    found = EventParser().feed(await response.read())
    return [msgspec.json.decode(event.data, type=dict[str, Any]) for event in found]


async def answer(response: ClientResponse) -> dict[str, Any]:
    """The response, which a stream has in its last event."""
    assert response.status == 200
    if response.content_type != "text/event-stream":
        whole: dict[str, Any] = await response.json()
        return whole
    last: dict[str, Any] = (await events(response))[-1]["response"]
    return last


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", VENDORS)
async def test_every_model_answers(proxy: OpenProxy, model: str, stream: bool) -> None:
    running = await opened(proxy, WELL)
    response = await ask(running, model=model, stream=stream, instructions="Be brief.", metadata={"a": "b"})
    said = await answer(response)
    assert said["output"][0]["content"][0]["text"] == "The capital is Paris."
    assert (said["object"], said["status"], said["model"]) == ("response", "completed", model)
    assert (said["instructions"], said["metadata"]) == ("Be brief.", {"a": "b"})
    assert said["usage"]["input_tokens_details"]["cached_tokens"] == 30 and said["usage"]["total_tokens"] == 120
    assert said["router_metadata"]["request_id"] == response.headers["x-request-id"]
    record = await running.record(response)
    assert (record.api, record.model, record.state) == ("openai.responses", model, "done")
    accounts = await running.accounts()
    assert accounts.bill == accounts.spent == accounts.recorded > 0 and accounts.held == accounts.presumed == 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", VENDORS)
async def test_tools_go_there_and_back(proxy: OpenProxy, model: str, stream: bool) -> None:
    running = await opened(proxy, Say(tool_calls=(CALLED,)), WELL)
    first = await answer(await ask(running, model=model, stream=stream, tools=[TOOL]))
    call = first["output"][-1]
    assert (call["type"], call["name"]) == ("function_call", "get_weather")
    assert msgspec.json.decode(call["arguments"]) == {"city": "Rome"}
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
    items = [{"role": "user", "content": "How is it in Rome?"}, *first["output"], result]
    said = await answer(await ask(running, model=model, stream=stream, tools=[TOOL], input=items))
    assert said["output"][0]["content"][0]["text"] == "The capital is Paris."
    sent = msgspec.json.encode(running.upstream.calls[1].body).decode()
    assert "sunny" in sent and "get_weather" in sent and "muxer1." not in sent
    if model == "gemini":
        assert "c2lnbmVk" in sent  # its signature over the thoughts before the call


@pytest.mark.parametrize("path", ["/v1/responses", "/responses"])
@pytest.mark.parametrize(
    ("fields", "key", "status", "code"),
    [
        ({"input": None}, "sk-alice", 400, "invalid_messages"),
        ({"previous_response_id": "resp_1"}, "sk-alice", 400, "unsupported"),
        ({"tools": [{"type": "web_search"}]}, "sk-alice", 400, "unsupported"),
        ({"model": "nobody"}, "sk-alice", 404, "model_not_found"),
        ({}, "sk-nobody", 401, "invalid_api_key"),
        ({"max_output_tokens": 9_000_000}, "sk-alice", 402, "budget_exceeded"),
    ],
)
async def test_refusals_are_openais(
    proxy: OpenProxy, path: str, fields: dict[str, Any], key: str, status: int, code: str
) -> None:
    running = await opened(proxy)
    response = await ask(running, path, key, **fields)
    assert response.status == status
    error = (await response.json())["error"]
    assert error["code"] == code and {"message", "type", "param"} <= error.keys()
    assert not running.upstream.calls


async def test_a_failure_upstream_is_told_before_the_stream(proxy: OpenProxy) -> None:
    running = await opened(proxy, *[Fail(500)] * 3)
    response = await ask(running, stream=True)
    assert (response.status, (await response.json())["error"]["code"]) == (502, "upstream_error")


@pytest.mark.parametrize("model", ["open", "claude"])
async def test_a_stream_that_breaks_has_failed(proxy: OpenProxy, model: str) -> None:
    running = await opened(proxy, Cut(after_bytes=700, then=Say(text="word " * 200)))
    response = await ask(running, model=model, stream=True, max_output_tokens=500)
    *_, last = await events(response)
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"]["code"] == "server_error"
    assert (await running.record(response)).state == "failed"


async def test_an_answer_cut_by_its_cap_is_incomplete(proxy: OpenProxy) -> None:
    running = await opened(proxy, Say(text="word " * 200))
    said = await answer(await ask(running, stream=True, max_output_tokens=5))
    assert (said["status"], said["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


async def test_fields_without_a_counterpart_are_named(proxy: OpenProxy) -> None:
    running = await opened(proxy, WELL)
    response = await ask(running, prompt_cache_key="k")
    assert response.headers["x-muxer-dropped"] == "prompt_cache_key"


async def test_a_guard_changes_what_is_asked_and_answered(proxy: OpenProxy) -> None:
    running = await opened(proxy, WELL, guards="[{kind: odd, before: says, after: shouts, word: psst}]")
    said = await answer(await ask(running, stream=True))
    assert said["output"][0]["content"][0]["text"] == "THE CAPITAL IS PARIS."
    assert b"psst: What is" in msgspec.json.encode(running.upstream.calls[0].body)
