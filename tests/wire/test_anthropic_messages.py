"""Golden pairs pin Anthropic's format, both ways: each file of `anthropic/` is one pair, named for what it shows."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from itertools import cycle, islice
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, Struct, field
from msgspec.structs import replace

from muxer import errors, failures
from muxer.parts import TextPart
from muxer.sse import write_event
from muxer.types import Answer, Call, ChatRequest, Chunk, FunctionCall, Message, ToolCall
from muxer.wire import anthropic_messages

PAIRS = Path(__file__).parent / "anthropic"


class Refused(Struct, forbid_unknown_fields=True):
    error: str
    param: str


class RequestPair(Struct, forbid_unknown_fields=True):
    request: Raw
    call: dict[str, object] = field(default_factory=dict)
    options: dict[str, bool] = field(default_factory=dict)
    stream: bool = False
    body: dict[str, object] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    refused: Refused | None = None


class AnswerPair(Struct, forbid_unknown_fields=True):
    vendor: Raw
    answer: Answer | None = None
    raises: str = ""


class StreamPair(Struct, forbid_unknown_fields=True):
    events: list[Raw]
    chunks: list[Chunk]
    raises: str = ""


class Played:
    """A reply whose body comes in the given pieces."""

    status = 200
    headers: Mapping[str, str] = {}

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces

    async def read(self) -> bytes:
        return b"".join(self._pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def pairs_of(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", sorted(PAIRS.joinpath(kind).iterdir()), ids=lambda path: path.stem)


def encode(pair: RequestPair) -> tuple[bytes, tuple[str, ...]]:
    request = msgspec.json.decode(pair.request, type=ChatRequest)
    call = Call(id="r", api="openai.chat", raw=bytes(pair.request), request=request, model="claude-x")
    return anthropic_messages.encode_request(
        replace(call, **pair.call),
        stream=pair.stream,
        max_tokens_default=64,
        takes_effort=pair.options.get("takes_effort", True),
        takes_forced_tools=pair.options.get("takes_forced_tools", True),
        caches=pair.options.get("caches", False),
    )


async def read(pieces: Sequence[bytes], *, keep_raw: bool = False) -> tuple[list[Chunk], str]:
    """The chunks, and the name of the error that ended them."""
    chunks: list[Chunk] = []
    played = anthropic_messages.read_stream(Played(pieces), "anthropic", model="claude-x", keep_raw=keep_raw)
    async with aclosing(played) as stream:
        try:
            async for chunk in stream:
                chunks.append(chunk)
        except failures.ProviderFailed as error:
            return chunks, type(error).__name__
    return chunks, ""


def stream_of(pair: StreamPair) -> bytes:
    return b"".join(write_event(msgspec.json.format(event, indent=-1)) for event in pair.events)


@pairs_of("requests")
def test_a_request_becomes_its_body_or_is_refused(path: Path) -> None:
    pair = msgspec.json.decode(path.read_bytes(), type=RequestPair)
    if pair.refused is None:
        body, dropped = encode(pair)
        assert (msgspec.json.decode(body), dropped) == (pair.body, pair.dropped)
        return
    with pytest.raises(errors.InvalidRequest) as raised:
        encode(pair)
    assert (type(raised.value).__name__, raised.value.param) == (pair.refused.error, pair.refused.param)


@pairs_of("answers")
def test_an_answer_is_read_or_is_no_answer(path: Path) -> None:
    pair = msgspec.json.decode(path.read_bytes(), type=AnswerPair)
    vendor = msgspec.json.format(bytes(pair.vendor), indent=-1)
    if pair.answer is not None:
        assert anthropic_messages.read_answer(vendor, "anthropic", model="claude-x") == pair.answer
        return
    with pytest.raises(getattr(failures, pair.raises)):
        anthropic_messages.read_answer(vendor, "anthropic")


@pairs_of("streams")
async def test_a_stream_becomes_its_chunks(path: Path) -> None:
    pair = msgspec.json.decode(path.read_bytes(), type=StreamPair)
    assert await read([stream_of(pair)]) == (pair.chunks, pair.raises)


@pairs_of("streams")
async def test_a_stream_to_pass_through_says_the_same_beside_its_bytes(path: Path) -> None:
    pair = msgspec.json.decode(path.read_bytes(), type=StreamPair)
    chunks, raised = await read([stream_of(pair)], keep_raw=True)
    said = [replace(chunk, raw=b"") for chunk in chunks]
    assert ([chunk for chunk in said if chunk != Chunk()], raised) == (pair.chunks, pair.raises)
    kept = [msgspec.json.decode(chunk.raw) for chunk in chunks]
    assert kept == [msgspec.json.decode(event) for event in pair.events[: len(kept)]]


@given(st.data())
def test_a_stream_may_be_cut_into_pieces_anywhere(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(PAIRS.joinpath("streams").iterdir())))
    pair = msgspec.json.decode(path.read_bytes(), type=StreamPair)
    whole = stream_of(pair)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=20)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert asyncio.run(read(pieces)) == (pair.chunks, pair.raises)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_nonsense_is_a_bad_response_and_nothing_else(nonsense: object) -> None:
    event = msgspec.json.encode(nonsense)
    with pytest.raises(failures.UpstreamBadResponse):
        anthropic_messages.read_answer(event, "anthropic")
    assert asyncio.run(read([write_event(event)])) == ([], "UpstreamBadResponse")


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b"\xff\xfe", b"<html>", b'{"content": [5]}'])
def test_a_body_that_is_no_message_is_a_bad_response(body: bytes) -> None:
    with pytest.raises(failures.UpstreamBadResponse):
        anthropic_messages.read_answer(body, "anthropic")


async def test_a_message_about_our_key_is_not_repeated() -> None:
    quoting = b'{"type":"error","error":{"type":"authentication_error","message":"bad key sk-1"}}'
    stream = anthropic_messages.read_stream(Played([write_event(quoting)]), "anthropic")
    with pytest.raises(failures.UpstreamAuth, match="check the provider's api_key") as raised:
        await anext(stream)
    assert "sk-1" not in str(raised.value)


DEEP = '{"a":' + "[" * 2_000
TEXTS = st.sampled_from(["", " ", "\n", "word", "word \n", DEEP])
CALLS = st.lists(st.builds(ToolCall, st.sampled_from(["a", "b:0"]), st.builds(FunctionCall, st.just("f"), TEXTS)))
MESSAGES = st.builds(
    Message,
    role=st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"]),
    content=TEXTS | st.lists(st.builds(TextPart, TEXTS), max_size=3).map(tuple) | st.none(),
    tool_calls=CALLS.map(tuple) | st.none(),
    tool_call_id=st.sampled_from(["a", "b:0"]),
)


@given(st.lists(MESSAGES, max_size=8).map(tuple))
def test_any_conversation_becomes_turns_that_anthropic_takes(messages: tuple[Message, ...]) -> None:
    call = Call(id="r", api="other", raw=b"", request=ChatRequest(messages=messages), model="claude-x")
    try:
        body = msgspec.json.decode(anthropic_messages.encode_request(call, stream=False, max_tokens_default=1)[0])
    except errors.InvalidMessages:
        assert not any(m.text.strip() or m.role == "tool" or (m.role == "assistant" and m.tool_calls) for m in messages)
        return
    assert [turn["role"] for turn in body["messages"]] == [*islice(cycle(["user", "assistant"]), len(body["messages"]))]
    for turn in body["messages"]:
        kinds = [block["type"] for block in turn["content"]]
        assert kinds and kinds == sorted(kinds, key=lambda kind: kind != "tool_result")
        assert all(block["text"].strip() for block in turn["content"] if block["type"] == "text")
    last = body["messages"][-1]
    assert last["role"] == "user" or not last["content"][-1].get("text", "").endswith((" ", "\n"))


def own_call(raw: bytes, **changes: object) -> Call:
    request = ChatRequest(messages=())
    return replace(Call(id="r", api=anthropic_messages.API, raw=raw, request=request, model="claude-x"), **changes)


def own_body(call: Call) -> tuple[bytes, tuple[str, ...]]:
    return anthropic_messages.encode_request(call, stream=True, max_tokens_default=64)


def test_a_call_in_its_own_format_keeps_the_callers_bytes() -> None:
    raw = b'{"model":"auto", "messages":[ {"role": "user"} ], "thinking":{"type": "adaptive"}, "max_tokens":9}'
    body, dropped = own_body(own_call(raw))
    kept = b'"messages":[ {"role": "user"} ],"thinking":{"type": "adaptive"},"max_tokens":9'
    assert body == b'{"model":"claude-x",' + kept + b',"stream":true}'
    assert dropped == ()


def test_a_call_in_its_own_format_takes_the_cap_and_the_changes() -> None:
    body, _ = own_body(own_call(b'{"max_tokens":9}', output_cap=5, changes={"temperature": 0.5}))
    assert msgspec.json.decode(body) == {
        "max_tokens": 5,
        "temperature": 0.5,
        "model": "claude-x",
        "stream": True,
    }


def test_a_call_in_its_own_format_without_a_cap_gets_the_default() -> None:
    body, _ = own_body(own_call(b"{}"))
    assert msgspec.json.decode(body) == {"max_tokens": 64, "model": "claude-x", "stream": True}


def test_a_call_in_its_own_format_loses_sampling_where_the_model_takes_none() -> None:
    raw = b'{"max_tokens":9,"temperature":1,"top_k":5}'
    body, dropped = own_body(own_call(raw, takes_sampling=False))
    assert msgspec.json.decode(body) == {"max_tokens": 9, "model": "claude-x", "stream": True}
    assert dropped == ("temperature", "top_k")
