"""`POST /v1/completions`: to those who speak it as it is, to chat models as a chat."""

from typing import Any

import pytest
from aiohttp import ClientResponse

from muxer.testing import Cut, Fail, Raw, Say
from tests.proxy import OpenProxy, Proxy, events

JSON = {"Content-Type": "application/json"}
CHATS: dict[str, Any] = {
    "plugins": "[mistral, sqlite]",
    "providers": '{main: {kind: mistral, api_key: k, base_url: "UPSTREAM/v1"}}',
}
"""A provider that takes chats only."""


async def complete(opened: Proxy, **fields: object) -> ClientResponse:
    return await opened.ask("/v1/completions", {"model": "small", "prompt": "Once upon", **fields})


async def error_of(response: ClientResponse) -> Any:
    return (await response.json())["error"]


async def test_a_server_that_speaks_it_gets_the_bytes_and_gives_them(proxy: OpenProxy) -> None:
    opened = await proxy(Say(text=" a time"))
    response = await complete(opened, prompt=["a", "b"], n=2, suffix="!", logprobs=1, odd={"x": 1})
    body = await response.json()
    assert (response.status, body["id"], body["object"], body["model"]) == (200, "cmpl-1", "text_completion", "small")
    assert [one["text"] for one in body["choices"]] == [" a time"] * 4
    assert body["router_metadata"]["selected_model"] == "small"
    sent = opened.upstream.calls[0]
    assert sent.path == "/v1/completions"
    asked = {"prompt": ["a", "b"], "n": 2, "suffix": "!", "logprobs": 1, "odd": {"x": 1}}
    assert sent.body == asked | {"model": "small-1", "max_tokens": 16}


async def test_the_cap_is_the_reference_s_sixteen_or_the_caller_s(proxy: OpenProxy) -> None:
    opened = await proxy(Say(text="a b c"), Say(text="a b c"))
    for cap in (None, 2):
        await complete(opened, max_tokens=cap)
    assert [call.body["max_tokens"] for call in opened.upstream.calls] == [16, 2]


@pytest.mark.parametrize("wants_usage", [False, True])
async def test_a_stream_is_passed_on_with_usage_only_if_wanted(proxy: OpenProxy, wants_usage: bool) -> None:
    opened = await proxy(Say(text="a b c"))
    options = {"stream_options": {"include_usage": True}} if wants_usage else {}
    response = await complete(opened, stream=True, **options)
    stream = await events(response)
    text = "".join(choice["text"] for one in stream.data for choice in one["choices"])
    assert (text, stream.is_done, {one["model"] for one in stream.data}) == ("a b c", True, {"small"})
    assert bool(stream.data[-1].get("usage")) is wants_usage
    assert (await opened.record(response)).usage.output_tokens == 3


async def test_what_it_costs_is_held_and_settled(proxy: OpenProxy) -> None:
    opened = await proxy(Say(text="a b"))
    response = await complete(opened, prompt=["x" * 40, "x" * 40])
    record = await opened.record(response)
    accounts = await opened.accounts()
    assert accounts.bill == accounts.spent == accounts.recorded == record.cost_nanos
    assert (record.api, record.usage.output_tokens, accounts.held) == ("openai.completions", 4, 0)


async def test_the_bound_is_prompts_times_n_times_best_of(proxy: OpenProxy) -> None:
    opened = await proxy(limits="[{per: user, daily_usd: 0.0001}]")
    error = await error_of(await complete(opened, prompt=["ab", "cd"], n=2, best_of=3, max_tokens=10))
    most = (2 * (2 + 16)) * 1_000 + 2 * 2 * 3 * 10 * 2_000
    assert (error["code"], error["budget"]["asked_usd"]) == ("budget_exceeded", f"0.{most:09}".rstrip("0"))


async def test_tokens_are_priced_by_their_count(proxy: OpenProxy) -> None:
    opened = await proxy()
    response = await complete(opened, prompt=[50256] * 30)
    record = await opened.record(response)
    assert (record.estimate_tokens, record.bound_tokens) == (30, 30 + 16)
    assert opened.upstream.calls[0].body["prompt"] == [50256] * 30


async def test_a_cut_stream_ends_with_an_error_event(proxy: OpenProxy) -> None:
    opened = await proxy(Cut(after_bytes=250, then=Say(text="a b c d e f")))
    stream = await events(await complete(opened, stream=True))
    assert (stream.is_done, stream.data[-1]["error"]["code"]) == (False, "upstream_unreachable")


async def test_a_fallback_is_asked_as_well(proxy: OpenProxy) -> None:
    opened = await proxy(Fail(500))
    response = await complete(opened, model="auto")
    assert (response.status, response.headers["x-muxer-model"]) == (200, "large")


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"prompt": None}, "invalid_value", "prompt"),
        ({"prompt": []}, "invalid_value", "prompt"),
        ({"prompt": ["a", 1]}, "invalid_value", "prompt"),
        ({"prompt": [1, -1]}, "invalid_value", "prompt[1]"),
        ({"n": 9}, "invalid_value", "n"),
        ({"n": 0}, "invalid_value", "n"),
        ({"best_of": 99}, "invalid_value", "best_of"),
        ({"best_of": 2, "n": 3}, "invalid_value", "best_of"),
        ({"best_of": 2, "stream": True}, "invalid_value", "best_of"),
        ({"logprobs": 99}, "invalid_value", "logprobs"),
        ({"max_tokens": -1}, "invalid_value", "max_tokens"),
        ({"temperature": 9}, "invalid_value", "temperature"),
        ({"stream": "yes"}, "invalid_value", "stream"),
        ({"model": ""}, "invalid_model", "model"),
    ],
)
async def test_a_body_that_makes_no_sense_is_400(
    proxy: OpenProxy, fields: dict[str, object], code: str, param: str
) -> None:
    opened = await proxy()
    response = await complete(opened, **fields)
    error = await error_of(response)
    assert (response.status, error["code"], error["param"]) == (400, code, param)


async def test_zeros_are_taken(proxy: OpenProxy) -> None:
    opened = await proxy(limits="[]")
    assert (await complete(opened, best_of=0, logprobs=0, max_tokens=0, echo=True)).status == 200


async def test_a_chat_model_gets_the_prompt_as_a_message(proxy: OpenProxy) -> None:
    opened = await proxy(Say(text="Hello."), **CHATS)
    response = await complete(opened, stop=["x"], n=1, logit_bias={"5": 1}, odd=1)
    body = await response.json()
    (call,) = opened.upstream.calls
    message = {"role": "user", "content": "Once upon"}
    assert call.path == "/v1/chat/completions"
    assert call.body == {"model": "small-1", "messages": [message], "stop": ["x"], "n": 1, "max_tokens": 16}
    assert sorted(response.headers["x-muxer-dropped"].split(", ")) == ["logit_bias", "odd"]
    assert (body["object"], body["model"]) == ("text_completion", "small")
    assert body["id"] == f"cmpl-{response.headers['x-muxer-request-id']}"
    assert body["choices"] == [{"text": "Hello.", "index": 0, "logprobs": None, "finish_reason": "stop"}]
    assert body["usage"]["completion_tokens"] == 1


async def test_nulls_ask_a_chat_model_for_nothing(proxy: OpenProxy) -> None:
    opened = await proxy(**CHATS)
    nulls = dict.fromkeys(("n", "stop", "stream", "suffix", "logit_bias", "echo", "max_tokens", "user", "odd"))
    response = await complete(opened, **nulls)
    assert response.status == 200 and "x-muxer-dropped" not in response.headers
    message = {"role": "user", "content": "Once upon"}
    assert opened.upstream.calls[0].body == {"model": "small-1", "messages": [message], "max_tokens": 16}


async def test_a_chat_model_s_stream_is_put_as_text(proxy: OpenProxy) -> None:
    opened = await proxy(Say(text="a b c"), **CHATS)
    response = await complete(opened, stream=True, odd=1)
    stream = await events(response)
    assert response.headers["x-muxer-dropped"] == "odd"
    choices = [choice for one in stream.data for choice in one["choices"]]
    assert ("".join(one["text"] for one in choices), choices[-1]["finish_reason"]) == ("a b c", "stop")
    assert {one["object"] for one in stream.data} == {"text_completion"}
    assert stream.is_done


async def test_usage_that_was_asked_for_comes_last_with_the_cost(proxy: OpenProxy) -> None:
    opened = await proxy(plugins="[demo, sqlite]", providers="{main: {kind: demo}}")
    stream = await events(await complete(opened, stream=True, stream_options={"include_usage": True}))
    last = stream.data.pop()
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 16)
    assert last["router_metadata"]["estimated_cost"] > 0
    assert all(one["usage"] is None for one in stream.data)


LOGPROBS = (
    b'{"choices":[{"index":0,"message":{"content":"Hi !"},"finish_reason":"stop","logprobs":{"content":['
    b'{"token":"Hi","logprob":-0.5,"top_logprobs":[{"token":"Yo","logprob":-1.0}]},{"token":" !","logprob":-0.1}]}}]}'
)


async def test_log_probabilities_of_a_chat_come_in_four_lists(proxy: OpenProxy) -> None:
    opened = await proxy(Raw(pieces=(LOGPROBS,), headers=JSON), **CHATS)
    body = await (await complete(opened, logprobs=1)).json()
    sent = opened.upstream.calls[0].body
    assert (sent["logprobs"], sent["top_logprobs"]) == (True, 1)
    assert body["choices"][0]["logprobs"] == {
        "tokens": ["Hi", " !"],
        "token_logprobs": [-0.5, -0.1],
        "top_logprobs": [{"Yo": -1.0}, {}],
        "text_offset": [0, 2],
    }


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("field", "value"), [("prompt", ["a", "b"]), ("prompt", [1, 2]), ("suffix", "!"), ("echo", True), ("best_of", 2)]
)
async def test_what_a_chat_cannot_do_is_refused(proxy: OpenProxy, field: str, value: object, stream: bool) -> None:
    opened = await proxy(**CHATS)
    response = await complete(opened, **{field: value, "stream": stream and field != "best_of"})
    error = await error_of(response)
    assert (response.status, error["code"], error["param"]) == (400, "unsupported", field)
    assert opened.upstream.calls == [] and (await opened.accounts()).spent == 0


async def test_a_model_the_table_knows_for_chats_is_asked_in_one(proxy: OpenProxy) -> None:
    opened = await proxy(
        providers='{main: {kind: openai, api_key: k, base_url: "UPSTREAM/v1"}, real: {kind: openai}}',
        models="{m: {provider: main, price: free}, c: {provider: real, name: gpt-4o, price: free}}",
        routes="[{name: default, use: [m]}]",
    )
    assert [opened.assembly.parts.rules.catalog.models[name].mode for name in "mc"] == ["", "chat"]


async def test_strict_params_refuse_what_a_chat_would_drop(proxy: OpenProxy) -> None:
    opened = await proxy(strict_params="true", **CHATS)
    error = await error_of(await complete(opened, logit_bias={"5": 1}))
    assert (error["code"], error["param"]) == ("unsupported_parameter", "logit_bias")


async def test_secrets_in_prompts_become_placeholders_and_come_back(proxy: OpenProxy) -> None:
    opened = await proxy(
        Say(text="[EMAIL_1]!"), Say(text="[EMAIL_1]!"), plugins="[openai, sqlite, redact]", guards="[{kind: redact}]"
    )
    body = await (await complete(opened, prompt="mail bob@example.com")).json()
    assert opened.upstream.calls[0].body["prompt"] == "mail [EMAIL_1]"
    assert body["choices"][0]["text"] == "bob@example.com!"
    stream = await events(await complete(opened, prompt="mail bob@example.com", stream=True))
    assert "".join(choice["text"] for one in stream.data for choice in one["choices"]) == "bob@example.com!"


LISTS = (
    b'{"choices":[{"index":0,"text":"Hi !","finish_reason":"stop","logprobs":{"tokens":["Hi"," !"],'
    b'"token_logprobs":[-0.5,-0.1],"top_logprobs":[{"Yo":-1.0},{}],"text_offset":[0,2]}}]}'
)


async def test_the_cache_keeps_log_probabilities(proxy: OpenProxy) -> None:
    opened = await proxy(
        Raw(pieces=(LISTS,), headers=JSON), plugins="[openai, sqlite, cache]", guards="[{kind: cache}]"
    )
    first, again = [(await (await complete(opened, logprobs=1)).json())["choices"] for _ in range(2)]
    assert first == again and len(opened.upstream.calls) == 1


@pytest.mark.parametrize("model", ["small", "claude"])
async def test_the_operator_s_temperature_is_in_force(proxy: OpenProxy, model: str) -> None:
    opened = await proxy(
        plugins="[openai, anthropic, sqlite]",
        defaults="{temperature: 0.5}",
        providers="""
  main: {kind: openai, api_key: k, base_url: "UPSTREAM/v1"}
  other: {kind: anthropic, api_key: k, base_url: "UPSTREAM"}""",
        models="""
  small: {provider: main, name: small-1, price: free}
  claude: {provider: other, name: claude-x, price: free}""",
        routes="[{name: default, use: [small]}]",
    )
    assert (await complete(opened, model=model)).status == 200
    body = opened.upstream.calls[0].body
    assert (body["temperature"], body["max_tokens"]) == (0.5, 16)


async def test_an_answer_from_the_cache_is_put_as_text(proxy: OpenProxy) -> None:
    opened = await proxy(Say(text="a b"), plugins="[openai, sqlite, cache]", guards="[{kind: cache}]")
    bodies = [await (await complete(opened)).json() for _ in range(2)]
    assert [body["choices"][0]["text"] for body in bodies] == ["a b", "a b"]
    assert len(opened.upstream.calls) == 1 and bodies[1]["object"] == "text_completion"


@pytest.mark.parametrize("said", [b"<html>", b"{}", b'{"choices":[]}', b'{"error":{"message":"busy"}}'])
async def test_an_answer_that_is_none_is_502(proxy: OpenProxy, said: bytes) -> None:
    opened = await proxy(Raw(pieces=(said,), headers=JSON))
    response = await complete(opened)
    assert (response.status, (await error_of(response))["code"]) == (502, "upstream_bad_response")
