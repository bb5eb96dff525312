"""What OpenAI's chat completions take, field by field: to a server of the format as it is, from it as it comes."""

import pytest

from muxer import FunctionCall, ToolCall
from muxer.testing import Raw, Say
from tests.proxy import QUESTION, OpenProxy, events

JSON = {"Content-Type": "application/json"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA, "strict": True}}
CALLS = (
    ToolCall(id="call_1", function=FunctionCall("weather", '{"city":"Paris"}')),
    ToolCall(id="call_2", function=FunctionCall("weather", '{"city":"Rome"}')),
)
FIELDS: dict[str, dict[str, object]] = {
    "strict tools in parallel": {"tools": [TOOL], "parallel_tool_calls": True},
    "a named tool": {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
    "any tool": {"tools": [TOOL], "tool_choice": "required"},
    "no tool": {"tools": [TOOL], "tool_choice": "none"},
    "JSON mode": {"response_format": {"type": "json_object"}},
    "a JSON schema": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}
    },
    "several answers": {"n": 3},
    "log-probabilities": {"logprobs": True, "top_logprobs": 20},
    "sampling": {"temperature": 0, "top_p": 0.5, "seed": -5, "presence_penalty": -2, "frequency_penalty": 2},
    "one stop": {"stop": "END"},
    "several stops": {"stop": ["a", "b", "c", "d"]},
    "a bias": {"logit_bias": {"50256": -100}},
    "effort": {"reasoning_effort": "minimal", "verbosity": "low"},
    "metadata": {"metadata": {f"k{number}": "v" * 512 for number in range(16)}, "store": True},
    "who asks": {"user": "u-1", "safety_identifier": "s-1", "prompt_cache_key": "p-1"},
    "text asked for": {"modalities": ["text"]},
    "a prediction": {"prediction": {"type": "content", "content": "x"}},
    "tomorrow's": {"reasoning": {"depth": [1, None, 2.50]}},
}


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
async def test_a_field_reaches_a_server_of_the_format_as_it_is(proxy: OpenProxy, fields: dict[str, object]) -> None:
    opened = await proxy(limits="[]")
    response = await opened.post({"messages": QUESTION, "model": "small", **fields})
    assert response.status == 200 and "x-muxer-dropped" not in response.headers
    assert opened.upstream.calls[0].body == {"messages": list(QUESTION), "model": "small-1", **fields}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_either_name_of_the_cap_is_put_as_the_server_has_it(proxy: OpenProxy, name: str) -> None:
    opened = await proxy()
    await opened.post({"messages": QUESTION, name: 5})
    body = opened.upstream.calls[0].body
    assert (body.get("max_tokens"), body.get("max_completion_tokens")) == (5, None)


PARTS = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
]


async def test_images_by_address_and_as_data_pass(proxy: OpenProxy) -> None:
    opened = await proxy()
    message = {"role": "user", "content": PARTS}
    response = await opened.post({"messages": [message]})
    assert (response.status, opened.upstream.calls[0].body["messages"]) == (200, [message])
    assert (await opened.record(response)).needs.images


async def test_audio_is_refused_with_its_place(proxy: OpenProxy) -> None:
    opened = await proxy()
    part = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
    response = await opened.post({"messages": [{"role": "user", "content": [*PARTS, part]}]})
    error = (await response.json())["error"]
    assert (response.status, error["code"], error["param"]) == (400, "unsupported", "messages[0].content[3]")


async def test_parallel_tool_calls_come_back_whole_and_in_a_stream(proxy: OpenProxy) -> None:
    opened = await proxy(Say(tool_calls=CALLS), Say(tool_calls=CALLS))
    body = await (await opened.chat(tools=[TOOL])).json()
    calls = body["choices"][0]["message"]["tool_calls"]
    assert [(one["id"], one["function"]["arguments"]) for one in calls] == [
        (call.id, call.function.arguments) for call in CALLS
    ]
    stream = await events(await opened.chat(tools=[TOOL], stream=True))
    deltas = [one for event in stream.data for c in event["choices"] for one in c["delta"].get("tool_calls", ())]
    for index, call in enumerate(CALLS):
        pieces = [one for one in deltas if one["index"] == index]
        assert pieces[0]["id"] == call.id
        assert "".join(one["function"]["arguments"] for one in pieces) == call.function.arguments
    assert stream.data[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_a_tool_s_result_goes_there(proxy: OpenProxy) -> None:
    opened = await proxy()
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    turns = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Sunny"},
    ]
    response = await opened.post({"messages": turns, "tools": [TOOL]})
    assert (response.status, opened.upstream.calls[0].body["messages"]) == (200, turns)


async def test_several_answers_with_log_probabilities_come_back_as_they_are(proxy: OpenProxy) -> None:
    token = '{"token":"Hi","logprob":-0.10,"bytes":[72,105],"top_logprobs":[]}'
    choice = (
        '{"index":%d,"message":{"role":"assistant","content":"Hi"},"logprobs":{"content":[%s]},"finish_reason":"stop"}'
    )
    choices = ",".join(choice % (index, token) for index in range(2)).encode()
    opened = await proxy(Raw(pieces=(b'{"choices":[%s],"usage":null}' % choices,), headers=JSON))
    body = await (await opened.chat(n=2, logprobs=True)).read()
    assert body.startswith(b'{"choices":[%s],' % choices)
