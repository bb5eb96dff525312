"""OpenAI's chat completions as callers write them: what is taken, what is refused and with which words; and what they
get where an answer was not OpenAI's to begin with."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from muxer.errors import InvalidRequest
from muxer.sse import EventParser
from muxer.types import Answer, ChatRequest, Choice, Chunk, FunctionCall, TokenLogprob, ToolCall, ToolCallDelta, Usage
from muxer.wire import openai_chat, openai_inbound

HI = {"role": "user", "content": "Hi"}
PARAMETERS = "tools[0].function.parameters"
LOOK = {"type": "function", "function": {"name": "look"}}


def decoded(**fields: object) -> ChatRequest:
    return openai_inbound.decode_request(json.dumps({"messages": [HI], **fields}).encode())


def refused(body: bytes) -> tuple[str, str | None, str]:
    """The code, the param and the message of a refusal."""
    with pytest.raises(InvalidRequest) as raised:
        openai_inbound.decode_request(body)
    return raised.value.code, raised.value.param, raised.value.message


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "m" * 256},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": []}]},
        {"messages": [{"role": role, "content": "Hi"} for role in ("system", "developer", "user", "assistant")]},
        {"messages": [{"role": "tool", "content": "", "tool_call_id": "c"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y"}}]}]},
        {"messages": [{"role": "user", "content": "a\0b"}]},
        {"max_tokens": 0},
        {"max_tokens": 5, "max_completion_tokens": 5},
        {"temperature": 2, "top_p": 0, "n": 8, "presence_penalty": -2},
        {"stop": "x", "tools": [], "tool_choice": "auto", "logprobs": True, "top_logprobs": 0},
        {"tools": [LOOK, {"type": "web_search"}], "modalities": ["text"]},
        {"unknown": {"any": "thing"}, "stream_options": {"include_usage": True}},
    ],
    ids=range(13),
)
def test_what_openai_takes_is_taken(fields: dict[str, Any]) -> None:
    assert decoded(**fields).messages


def a_part(part: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [HI, {"role": "user", "content": [{"type": "text", "text": "a"}, part]}]}


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"messages": [HI, {"role": "tool", "content": "x"}]}, "invalid_messages", "messages[1]"),
        ({"messages": [HI, {"role": "system"}]}, "invalid_messages", "messages[1].content"),
        ({"messages": {}}, "invalid_messages", "messages"),
        ({"messages": ["Hi"]}, "invalid_messages", "messages[0]"),
        (a_part({"type": "video"}), "invalid_messages", "messages[1].content[1].type"),
        (a_part({"text": "x"}), "invalid_messages", "messages[1].content[1]"),
        (a_part({"type": "text"}), "invalid_messages", "messages[1].content[1]"),
        (a_part({"type": "image_url"}), "invalid_messages", "messages[1].content[1]"),
        (a_part({"type": "image_url", "image_url": {}}), "invalid_messages", "messages[1].content[1].image_url"),
        (a_part({"type": "input_audio", "input_audio": {}}), "unsupported", "messages[1].content[1]"),
        ({"modalities": ["audio"]}, "unsupported", "modalities"),
        ({"model": {}}, "invalid_model", "model"),
        ({"tools": "look"}, "invalid_tools", "tools"),
        ({"tools": [{}]}, "invalid_tools", "tools[0]"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "invalid_tools", "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "a", "parameters": "x"}}]}, "invalid_tools", PARAMETERS),
        ({"n": 0}, "invalid_value", "n"),
        ({"n": 9}, "invalid_value", "n"),
        ({"top_logprobs": 21}, "invalid_value", "top_logprobs"),
        ({"top_p": -0.1}, "invalid_value", "top_p"),
        ({"frequency_penalty": 3}, "invalid_value", "frequency_penalty"),
        ({"max_tokens": 1.5}, "invalid_value", "max_tokens"),
        ({"max_tokens": "10"}, "invalid_value", "max_tokens"),
        ({"max_tokens": 2**63}, "invalid_value", "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "invalid_value", "max_tokens"),
        ({"temperature": "hot"}, "invalid_value", "temperature"),
        ({"stop": [1]}, "invalid_value", "stop[0]"),
        ({"response_format": {"type": "xml"}}, "invalid_value", "response_format.type"),
        ({"stream": 1}, "invalid_value", "stream"),
        ({"user": 5}, "invalid_value", "user"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(fields: dict[str, Any], code: str, param: str) -> None:
    found = refused(json.dumps({"messages": [HI], **fields}).encode())
    assert found[:2] == (code, param)


FORBIDDEN = ["http://169.254.169.254/", "file:///etc/passwd", "gopher://x", "data:text/html,x", "javascript:1", ""]


@pytest.mark.parametrize("url", FORBIDDEN)
def test_an_image_is_at_an_https_address_or_in_the_request(url: str) -> None:
    body = json.dumps(a_part({"type": "image_url", "image_url": {"url": url}})).encode()
    assert refused(body)[:2] == ("url_not_allowed", "messages[1].content[1]")


@pytest.mark.parametrize(
    "body",
    [b'{"messages":[{"role":"%s"}]}', b'{"messages":[{"role":"user","content":[{"type":"%s"}]}]}', b'{"%s":', b'"%s"'],
    ids=range(4),
)
def test_a_refusal_never_echoes_more_than_a_few_words(body: bytes) -> None:
    assert len(refused(body % (b"w" * 100_000))[2]) < 200


@pytest.mark.parametrize("half", ["\\ud83d", "\\uD83D\\n", "\\udE00", "\\ude00\\ud83d", "\\ud83d\\ud83d\\ude00"])
def test_half_an_emoji_is_told_from_bad_json(half: str) -> None:
    code, _, message = refused(b'{"messages":[{"role":"user","content":"%s"}]}' % half.encode())
    assert (code, "half of a surrogate pair" in message) == ("invalid_utf8", True)


def test_a_whole_emoji_in_escapes_is_fine() -> None:
    request = openai_inbound.decode_request(b'{"messages":[{"role":"user","content":"\\ud83d\\ude00"}]}')
    assert request.question == "😀"


@given(
    st.binary(max_size=200)
    | st.text().map(str.encode)
    | st.lists(st.none() | st.text()).map(json.dumps).map(str.encode)
)
def test_no_body_does_anything_but_be_taken_or_refused(body: bytes) -> None:
    try:
        openai_inbound.decode_request(body)
    except InvalidRequest as error:
        assert error.status == 400 and error.message.isprintable()


def written(chunks: Sequence[Chunk], *, wants_usage: bool) -> list[dict[str, Any]]:
    """The events a caller gets, decoded."""
    writer = openai_inbound.StreamWriter("r", 0, "served", wants_usage=wants_usage)
    data = b"".join(writer.write(chunk, {"cost": 1} if chunk.usage else {}) for chunk in chunks)
    return [msgspec.json.decode(event.data) for event in EventParser().feed(data)]


def test_a_canonical_answer_is_written_as_openai_would() -> None:
    calls = (ToolCall(id="c1", function=FunctionCall(name="look", arguments="{}")),)
    answer = Answer(
        choices=(Choice(text="Hi", reasoning="Hm."), Choice(tool_calls=calls, finish_reason="tool_calls")),
        usage=Usage(10, 5, 4, 0, 3),
    )
    sent = msgspec.json.decode(openai_inbound.encode_answer(answer, "r", 7, {"selected_model": "served"}))
    first = {"role": "assistant", "content": "Hi", "refusal": None, "reasoning_content": "Hm."}
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    second = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}
    assert sent == {
        "id": "chatcmpl-r",
        "object": "chat.completion",
        "created": 7,
        "model": "served",
        "choices": [
            {"index": 0, "message": first, "logprobs": None, "finish_reason": "stop"},
            {"index": 1, "message": second, "logprobs": None, "finish_reason": "tool_calls"},
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 3},
        },
        "router_metadata": {"selected_model": "served"},
    }


CANONICAL = [
    Chunk(text="Hi"),
    Chunk(reasoning="Hm."),
    Chunk(index=1, text="B"),
    Chunk(tool_calls=(ToolCallDelta(0, "c1", "look", ""),)),
    Chunk(tool_calls=(ToolCallDelta(0, None, None, "{}"),)),
    Chunk(tool_calls=(ToolCallDelta(1, "c2", "look", "{}", {"google": {"thought_signature": "c2ln"}}),)),
    Chunk(text="Ö", logprobs=(TokenLogprob("Ö", -0.5, (TokenLogprob("O", -1.5),)),)),
    Chunk(finish_reason="stop", usage=Usage(10, 5)),
    Chunk(usage=Usage(10, 5)),
]


def test_canonical_chunks_are_written_as_openai_would() -> None:
    deltas = [one["choices"][0]["delta"] for one in written(CANONICAL, wants_usage=False)]
    assert deltas == [
        {"role": "assistant", "content": "Hi"},
        {"reasoning_content": "Hm."},
        {"role": "assistant", "content": "B"},
        {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
        {
            "tool_calls": [
                {
                    "index": 1,
                    "id": "c2",
                    "type": "function",
                    "function": {"name": "look", "arguments": "{}"},
                    "extra_content": {"google": {"thought_signature": "c2ln"}},
                }
            ]
        },
        {"content": "Ö"},
        {},
    ]


def test_log_probabilities_are_written_as_openai_would() -> None:
    (event,) = written(CANONICAL[6:7], wants_usage=False)
    top = [{"token": "O", "logprob": -1.5, "bytes": [79]}]
    token = {"token": "Ö", "logprob": -0.5, "bytes": [195, 150], "top_logprobs": top}
    assert event["choices"][0]["logprobs"] == {"content": [token], "refusal": None}


def test_a_canonical_usage_comes_in_a_chunk_of_its_own_to_who_asked() -> None:
    events = written(CANONICAL[-2:-1], wants_usage=True)
    assert [(one["choices"] == [], one["usage"] is None) for one in events] == [(False, True), (True, False)]
    assert events[0]["choices"][0]["finish_reason"] == "stop"
    assert events[1]["router_metadata"] == {"cost": 1}


def test_what_was_written_reads_back_as_the_same_chunks() -> None:
    events = [json.dumps(one).encode() for one in written(CANONICAL[:7], wants_usage=False)]
    assert [replace(openai_chat.read_chunks(event, "ourselves")[0], raw=b"") for event in events] == CANONICAL[:7]


def test_an_error_is_an_event_of_its_own() -> None:
    writer = openai_inbound.StreamWriter("1", 0, "m", wants_usage=False)
    event = writer.error({"message": "a\nb", "type": "t", "param": None, "code": "c"})
    assert event == b'data: {"error":{"message":"a\\nb","type":"t","param":null,"code":"c"}}\n\n'
