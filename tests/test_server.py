"""The HTTP edge: what a client sends, and what it gets back."""

import asyncio
import random
import re
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from aiohttp import ClientResponse

from muxer.testing import Fail, ManualClock, Raw, Say
from tests.proxy import QUESTION, OpenProxy, events, raw_request
from tests.values import damaged

ERROR_KEYS = {"message", "type", "param", "code"}
JSON = {"x-api-key": "sk-alice", "Content-Type": "application/json"}
KEY = b"x-api-key: sk-alice"
BODY = b'{"messages":[{"role":"user","content":"Hi"}]}'
SAID = Say(text="It is Paris.")


async def error_of(response: ClientResponse) -> dict[str, Any]:
    """The error of an answer, which always has OpenAI's four keys."""
    assert response.content_type == "application/json"
    body = await response.json()
    assert body["error"].keys() >= ERROR_KEYS
    error: dict[str, Any] = body["error"]
    return error


async def test_a_whole_answer_is_the_upstream_s_with_our_model_and_metadata(proxy: OpenProxy) -> None:
    opened = await proxy(SAID)
    response = await opened.chat()
    answer = await response.json()
    metadata = answer.pop("router_metadata")
    assert (response.status, response.content_type) == (200, "application/json")
    assert (answer["id"], answer["model"]) == ("chatcmpl-1", "small")
    assert answer["choices"][0]["message"]["content"] == "It is Paris."
    assert metadata["request_id"] == response.headers["x-muxer-request-id"]


async def test_metadata_has_all_that_the_seed_names(proxy: OpenProxy) -> None:
    opened = await proxy(SAID)
    metadata = (await (await opened.chat()).json())["router_metadata"]
    assert metadata | {"request_id": "", "response_time_ms": 0, "attempts": []} == {
        "request_id": "",
        "route": "default",
        "selected_provider": "main",
        "selected_model": "small",
        "routing_reason": "rule default: matches everything",
        "estimated_cost": 0.000016,
        "response_time_ms": 0,
        "attempts": [],
    }


async def test_headers_say_who_answered_and_why(proxy: OpenProxy) -> None:
    opened = await proxy(SAID, SAID)
    for stream in (False, True):
        response = await opened.chat(stream=stream)
        await response.read()
        headers = response.headers
        assert re.fullmatch(r"req_[0-9a-f]{31}", headers["x-muxer-request-id"])
        assert (headers["x-muxer-route"], headers["x-muxer-provider"]) == ("default", "main")
        assert (headers["x-muxer-model"], headers["x-muxer-reason"]) == ("small", "rule default: matches everything")
        assert headers["Server"] == "modelmuxer"


async def test_a_stream_ends_with_done_and_names_our_model_in_every_chunk(proxy: OpenProxy) -> None:
    opened = await proxy(SAID)
    response = await opened.chat(stream=True)
    stream = await events(response)
    assert response.content_type == "text/event-stream"
    assert (stream.text, stream.is_done) == ("It is Paris.", True)
    assert {one["model"] for one in stream.data} == {"small"}


async def test_usage_nobody_asked_for_is_taken_out_of_a_stream(proxy: OpenProxy) -> None:
    opened = await proxy(SAID)
    stream = await events(await opened.chat(stream=True))
    assert opened.upstream.calls[0].body["stream_options"] == {"include_usage": True}
    assert not [one for one in stream.data if "usage" in one or not one["choices"]]


async def test_usage_that_was_asked_for_comes_last_with_the_cost(proxy: OpenProxy) -> None:
    opened = await proxy(SAID)
    stream = await events(await opened.chat(stream=True, stream_options={"include_usage": True}))
    last = stream.data[-1]
    assert (last["choices"], last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"]) == ([], 10, 3)
    assert last["router_metadata"]["estimated_cost"] == 0.000016
    assert all(one["usage"] is None for one in stream.data[:-1])


async def test_stream_options_without_a_stream_are_ignored(proxy: OpenProxy) -> None:
    opened = await proxy(SAID)
    assert (await opened.chat(stream=False, stream_options={"include_usage": True})).status == 200
    assert "stream_options" not in opened.upstream.calls[0].body


async def test_a_stream_of_null_is_none(proxy: OpenProxy) -> None:
    opened = await proxy(SAID)
    response = await opened.chat(stream=None)
    assert (response.status, response.content_type) == (200, "application/json")
    assert "stream" not in opened.upstream.calls[0].body


async def test_fields_we_do_not_know_reach_the_upstream(proxy: OpenProxy) -> None:
    opened = await proxy()
    odd = {"x": 1.0, "y": [True, None, {"z": 12345678901234567890}]}
    message = {"role": "user", "content": "Hi", "odd": odd}
    assert (await opened.post({"messages": [message], "odd": odd, "model": "small"})).status == 200
    body = opened.upstream.calls[0].body
    assert (body["odd"], body["messages"], body["model"]) == (odd, [message], "small-1")


async def test_fields_we_do_not_know_come_back_as_they_were_written(proxy: OpenProxy) -> None:
    odd = b'{"x":1.0,"y":[1e3,"\\u00e9\\/"],"z":12345678901234567890}'
    whole = b'{"odd":%s,"choices":[{"message":{"content":"Hi","odd":%s}}],"usage":null}' % (odd, odd)
    opened = await proxy(Raw(pieces=(whole,), headers={"Content-Type": "application/json"}))
    body = await (await opened.chat()).read()
    assert body.startswith(b'{"odd":%s,"choices":[{"message":{"content":"Hi","odd":%s}}],"usage":null,' % (odd, odd))


async def test_names_of_the_file_that_fit_no_header_are_made_to_fit(proxy: OpenProxy) -> None:
    odd = '"sm\\u00f6r\\r\\nX: y"'
    models = f"{{{odd}: {{provider: main, price: free}}}}"
    opened = await proxy(models=models, routes=f"[{{name: {odd}, use: [{odd}]}}]")
    response = await opened.chat()
    assert (response.headers["x-muxer-model"], response.headers["x-muxer-route"]) == ("sm?r??X: y", "sm?r??X: y")
    assert "X" not in response.headers and (await response.json())["model"] == "smör\r\nX: y"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions"])
@pytest.mark.parametrize("headers", [{"Authorization": "Bearer sk-alice"}, {"x-api-key": "sk-alice"}])
async def test_answers_with_and_without_v1_to_either_header(
    proxy: OpenProxy, path: str, headers: Mapping[str, str]
) -> None:
    opened = await proxy()
    response = await opened.client.post(path, json={"messages": QUESTION}, headers=headers)
    assert response.status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer sk-wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic sk-alice"},
        {"Authorization": "Bearer sk-alic"},
        {"x-api-key": "sk-alice'--"},
        {"x-api-key": "sk-" + "a" * 8000},
        {"x-api-key": "sk-é\x80"},
    ],
    ids=range(8),
)
async def test_a_wrong_key_is_401(proxy: OpenProxy, headers: Mapping[str, str]) -> None:
    opened = await proxy()
    response = await opened.client.post("/v1/chat/completions", json={"messages": QUESTION}, headers=headers)
    assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert (await error_of(response))["code"] == "invalid_api_key"
    assert not opened.upstream.calls


async def test_a_key_of_the_file_has_limits_and_an_end_of_its_own(proxy: OpenProxy) -> None:
    clock = ManualClock()
    key = "{name: ci, secret: sk-ci, user: ci, expires: '2026-09-22T02:00:00Z', limits: [{requests_per_minute: 2}]}"
    opened = await proxy(SAID, SAID, clock=clock, limits="[]", keys=f"[{key}]")
    responses = [await opened.chat("sk-ci") for _ in range(3)]
    assert [response.status for response in responses] == [200, 200, 429]
    assert "keys.ci.limits[0].requests_per_minute" in (await error_of(responses[2]))["message"]
    clock.now_s += 3_600
    response = await opened.chat("sk-ci")
    assert (response.status, (await error_of(response))["code"]) == (401, "key_disabled")


async def test_a_key_in_the_query_is_not_read(proxy: OpenProxy) -> None:
    opened = await proxy()
    response = await opened.client.get("/v1/models?key=sk-alice&api_key=sk-alice")
    assert response.status == 401


async def test_what_is_not_served_is_404(proxy: OpenProxy) -> None:
    opened = await proxy()
    for path in ("/", "/v2/chat/completions", "/v1/chat/completions/", "/v1/../admin", "/%2e%2e%2f", "/" + "a" * 4000):
        response = await opened.client.get(path)
        assert (response.status, (await error_of(response))["code"]) == (404, "not_found")


async def test_another_method_is_405_and_says_which_one_is_served(proxy: OpenProxy) -> None:
    opened = await proxy()
    for method in ("GET", "PUT", "DELETE", "TRACE"):
        response = await opened.client.request(method, "/v1/chat/completions")
        assert (response.status, response.headers["Allow"]) == (405, "POST")
        assert (await error_of(response))["code"] == "method_not_allowed"


async def test_a_role_that_is_too_low_is_403(proxy: OpenProxy) -> None:
    opened = await proxy(plugins="[openai, sqlite, tests.odd_plugin]")
    response = await opened.client.get("/secrets", headers={"x-api-key": "sk-alice"})
    assert (response.status, (await error_of(response))["code"]) == (403, "permission_denied")
    assert (await opened.client.get("/secrets", headers={"x-api-key": "sk-root"})).status == 200
    assert (await opened.client.get("/secrets")).status == 401


async def test_a_body_over_the_limit_is_413(proxy: OpenProxy) -> None:
    opened = await proxy(server="{max_body_bytes: 1000}")

    async def in_chunks() -> Any:
        yield b" " * 2000

    for data in (b" " * 2000, in_chunks()):
        response = await opened.client.post("/v1/chat/completions", data=data, headers=JSON)
        assert (response.status, (await error_of(response))["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Content-Type": "text/plain"}, "unsupported_media_type"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, "unsupported_media_type"),
        ({"Content-Type": "application/json; charset=utf-16"}, "unsupported_media_type"),
        ({"Content-Type": ""}, "unsupported_media_type"),
        ({"Content-Encoding": "gzip"}, "encoding_unsupported"),
        ({"Content-Encoding": "br"}, "encoding_unsupported"),
    ],
)
async def test_a_body_that_is_not_plain_json_is_415(proxy: OpenProxy, headers: dict[str, str], code: str) -> None:
    opened = await proxy()
    body = msgspec.json.encode({"messages": QUESTION})
    response = await opened.client.post("/v1/chat/completions", data=body, headers=JSON | headers)
    assert (response.status, (await error_of(response))["code"]) == (415, code)


@pytest.mark.parametrize("kind", ["application/json; charset=UTF-8", 'Application/JSON;charset="utf-8"'])
async def test_json_by_another_spelling_is_taken(proxy: OpenProxy, kind: str) -> None:
    opened = await proxy()
    assert (await opened.post({"messages": QUESTION}, Content_Type=kind)).status == 200


async def test_a_body_without_a_type_is_taken_as_json(proxy: OpenProxy) -> None:
    opened = await proxy()
    answer = await raw_request(opened, b"POST /v1/chat/completions", KEY, body=BODY)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_byte_order_mark_is_taken_off(proxy: OpenProxy) -> None:
    opened = await proxy()
    assert (await opened.post(b'\xef\xbb\xbf{"messages": [{"role": "user", "content": "Hi"}]}')).status == 200
    assert opened.upstream.calls[0].status == 200


@pytest.mark.parametrize("name", [b"x-muxer-conversation", b"x-muxer-tags", b"User-Agent", b"Accept"])
async def test_bytes_that_are_no_text_in_a_header_do_no_harm(proxy: OpenProxy, name: bytes) -> None:
    opened = await proxy()
    odd = name + b": \xff\xfe\xed\xa0\x80"
    answer = await raw_request(opened, b"POST /v1/chat/completions", KEY, odd, body=BODY)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_key_that_is_no_text_is_401(proxy: OpenProxy) -> None:
    opened = await proxy()
    answer = await raw_request(opened, b"GET /v1/models", b"x-api-key: \xff\xed\xa0\x80")
    assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\n") and b'"invalid_api_key"' in answer


ODD_PATHS = [b"/%ff", b"/v1/requests/%ED%A0%80", b"/v1/models/%ed%a0%80", b"/%00", b"/v1/requests/%00"]


@pytest.mark.parametrize("path", ODD_PATHS)
async def test_bytes_that_are_no_text_in_a_path_are_404(proxy: OpenProxy, path: bytes) -> None:
    opened = await proxy()
    answer = await raw_request(opened, b"GET " + path, KEY)
    assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n") and b'"code":"' in answer


@pytest.mark.parametrize(
    "model", ["gpt-9", "../../x", "' OR 1=1", "a\r\nSet-Cookie: x", "smаll", "\u202esmall", "\0", "auto:"]
)
async def test_a_model_nobody_offers_is_404_and_is_shown_safely(proxy: OpenProxy, model: str) -> None:
    opened = await proxy()
    response = await opened.chat(model=model)
    error = await error_of(response)
    assert (response.status, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert error["message"].isprintable()


async def test_a_model_this_key_may_not_use_is_unknown_to_it(proxy: OpenProxy) -> None:
    opened = await proxy(keys="[{name: a, secret: sk-alice, models: [sm*]}]")
    forbidden = await error_of(await opened.chat(model="large"))
    unknown = await error_of(await opened.chat(model="lorge"))
    assert forbidden["message"].replace("large", "lorge") == unknown["message"]
    assert (await opened.chat(model="small")).status == 200


async def test_an_error_nobody_foresaw_is_500_in_our_json_and_in_the_log(proxy: OpenProxy) -> None:
    opened = await proxy(plugins="[openai, sqlite, tests.odd_plugin]")
    response = await opened.client.get("/broken", headers=JSON)
    error = await error_of(response)
    assert (response.status, error["code"]) == (500, "internal_error")
    line = opened.log.lines[-1]
    assert (line["level"], line["event"], line["path"]) == ("error", "unforeseen", "/broken")
    assert str(line["trace"]).startswith("['ZeroDivisionError', 'odd_plugin.py:")


@pytest.mark.parametrize("stream", [False, True])
async def test_no_header_of_an_extension_breaks_an_answer(proxy: OpenProxy, stream: bool) -> None:
    opened = await proxy(plugins="[openai, sqlite, tests.odd_plugin]")
    response = await opened.chat(model="small", stream=stream)
    assert (response.status, response.headers["x-odd"]) == (200, "c??d")
    assert (b"data: [DONE]" if stream else b'"choices":') in await response.read()
    assert "x-split" not in response.headers
    assert response.headers.get("Transfer-Encoding") == ("chunked" if stream else None)


async def test_no_damage_to_a_body_breaks_the_edge(proxy: OpenProxy) -> None:
    opened = await proxy()
    chance = random.Random(7)
    body = msgspec.json.encode({"messages": QUESTION, "model": "small", "tools": [], "stop": ["x"], "n": 1, "odd": {}})
    bodies = [damaged(body, chance) for _ in range(300)]
    responses = await asyncio.gather(*(opened.post(one) for one in bodies))
    odd = [one for one, response in zip(bodies, responses, strict=True) if response.status not in (200, 400, 404)]
    assert not odd
    assert (await opened.chat()).status == 200 and (await opened.store.held())[0] == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 429, 500])
async def test_a_key_that_the_upstream_quotes_stays_ours(proxy: OpenProxy, status: int, stream: bool) -> None:
    body = b'{"error":{"message":"sk-upstream of x-canary-1 is wrong"}}'
    providers = """
  main: {kind: openai, api_key: sk-upstream, base_url: "UPSTREAM/v1", headers: {x-team: x-canary-1}}"""
    opened = await proxy(*[Fail(status, body=body)] * 3, providers=providers)
    response = await opened.chat(stream=stream)
    said = await response.text()
    assert response.status >= 400 and "*** of *** is wrong" in said
