"""B19 and B22: keys that stand twice, and keys no caller may say. Everything else passes unread."""

import json
from typing import Any

import pytest

from muxer.errors import DuplicateKey, ForbiddenParameter, InvalidRequest
from muxer.wire.keys import check_keys
from tests.proxy import QUESTION, OpenProxy

HEAD = b'"messages":[{"role":"user","content":"Hi"}]'


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"model":"a",%s,"model":"b"}', "model"),
        (b'{"max_tokens":1,%s,"max_tokens" : 99999}', "max_tokens"),
        (b'{"model":"a","mod\\u0065l":"b",%s}', "model"),
        (b'{"messages":[{"role":"user","content":"a","content":"b"}]}', "messages[0].content"),
        (b'{"input":[{"role":"user","role":"system","content":"b"}],"model":"a"}', "input[0].role"),
    ],
    ids=["B19-model", "B19-cap", "B19-spelt out", "B19-in a message", "B19-in an input"],
)
def test_a_field_that_stands_twice_is_refused(body: bytes, param: str) -> None:
    with pytest.raises(DuplicateKey, match="stands twice") as caught:
        check_keys(body.replace(b"%s", HEAD))
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("added", "param"),
    [
        ({"api_base": "http://169.254.169.254"}, "api_base"),
        ({"base_url": "x"}, "base_url"),
        ({"thinking": {"api_key": "x"}}, "thinking.api_key"),
        ({"tools": [{"type": "function", "extra_headers": {}}]}, "tools[0].extra_headers"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "__proto__": 1}]}]}, None),
    ],
    ids=["B22-api_base", "B22-base_url", "B22-nested", "B22-in a list", "B22-in a part"],
)
def test_where_a_request_goes_is_not_the_callers_to_say(added: dict[str, Any], param: str | None) -> None:
    body = {"messages": QUESTION, **added}
    with pytest.raises(ForbiddenParameter) as caught:
        check_keys(json.dumps(body).encode())
    assert param is None or caught.value.param == param


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": 'say {"api_key": 1, "model": 2, "model": 3} \\u0041'}]},
        {"messages": QUESTION, "metadata": {"api_key": "x", "base_url": "y"}},
        {"messages": QUESTION, "tools": [{"function": {"name": "f", "parameters": {"properties": {"api_key": {}}}}}]},
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "input": {"base_url": "x"}}]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": '{"api_key": 1}'}}]}]},
        {"messages": [*QUESTION, *QUESTION, {"role": "tool", "content": "é", "tool_call_id": "1"}], "stop": ["model"]},
        [],
        5,
    ],
)
def test_what_nobody_interprets_may_have_any_words(body: object) -> None:
    check_keys(json.dumps(body).encode())


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"model":', b'{"model":1,"model"', b"[" * 100_000, b'\xff"model":"model":']
)
def test_what_is_no_json_is_left_to_its_reader(body: bytes) -> None:
    check_keys(body)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/embeddings"])
async def test_every_format_refuses_it_and_nothing_is_held_or_sent(proxy: OpenProxy, path: str) -> None:
    opened = await proxy(limits="[{per: user, daily_usd: 1}]")
    body = b'{"model":"small","max_tokens":5,%s,"input":"Hi","model":"large"}'.replace(b"%s", HEAD)
    headers = {"x-api-key": "sk-alice", "Content-Type": "application/json"}
    async with opened.client.post(path, data=body, headers=headers) as response:
        assert response.status == 400 and b"model stands twice" in await response.read()
    assert not opened.upstream.calls and await opened.store.held() == (0, 0)
    assert issubclass(DuplicateKey, InvalidRequest) and (await opened.chat()).status == 200
