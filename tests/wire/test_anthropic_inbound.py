"""Golden pairs pin the Messages API as callers speak it: each file of `anthropic_inbound/` is one pair, named for what
it shows."""

from pathlib import Path

import msgspec
import pytest
from msgspec import Raw, Struct, field

from muxer.errors import InvalidRequest
from muxer.sse import EventParser
from muxer.types import Answer, Call, ChatRequest, Chunk, Usage
from muxer.wire import anthropic_messages
from muxer.wire.anthropic_inbound import MESSAGES, read
from muxer.wire.foreign import translated

PAIRS = Path(__file__).parent / "anthropic_inbound"
ID = "req_1"
METADATA: dict[str, object] = {"selected_model": "small", "request_id": ID}


class Refused(Struct, forbid_unknown_fields=True):
    code: str
    param: str


class RequestPair(Struct, forbid_unknown_fields=True):
    """`chat` is what a chat server gets, where that is not the canonical form; `resent` what Anthropic gets where it is
    not the caller's own body."""

    body: Raw
    canonical: dict[str, object] = field(default_factory=dict)
    chat: dict[str, object] | None = None
    resent: dict[str, object] | None = None
    untranslated: list[str] = field(default_factory=list)
    is_priced: bool = True
    refused: Refused | None = None


class AnswerPair(Struct, forbid_unknown_fields=True):
    answer: Answer
    message: dict[str, object]


class StreamPair(Struct, forbid_unknown_fields=True):
    chunks: list[Chunk]
    events: list[dict[str, object]]


class ErrorPair(Struct, forbid_unknown_fields=True):
    error: dict[str, object]
    written: dict[str, object]


def pairs_of(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", sorted(PAIRS.joinpath(kind).iterdir()), ids=lambda path: path.stem)


def as_json(request: ChatRequest) -> object:
    return msgspec.json.decode(msgspec.json.encode(request))


def resent(body: bytes) -> dict[str, object]:
    """What Anthropic gets of a body that is passed on."""
    inbound = read(body)
    call = Call(id=ID, api=inbound.api, raw=body, request=inbound.request, model="claude-x")
    sent, _ = anthropic_messages.encode_request(call, stream=bool(inbound.request.stream), max_tokens_default=64)
    return msgspec.json.decode(sent, type=dict[str, object])


def events(chunks: list[Chunk]) -> list[dict[str, object]]:
    """What a stream's reader gets; each event's name is its type."""
    writer = MESSAGES.stream(ID, 0, "small", read(b'{"max_tokens":1,"messages":[{"role":"user","content":"Hi"}]}'))
    written = b"".join(writer.write(chunk, METADATA if chunk.usage else {}) for chunk in chunks) + writer.end()
    found = EventParser().feed(written)
    data = [msgspec.json.decode(event.data, type=dict[str, object]) for event in found]
    assert [event.name for event in found] == [one["type"] for one in data]
    return data


@pairs_of("requests")
def test_a_request_is_read_or_refused(path: Path) -> None:
    pair = msgspec.json.decode(path.read_bytes(), type=RequestPair)
    body = msgspec.json.format(bytes(pair.body), indent=-1)
    if pair.refused is not None:
        with pytest.raises(InvalidRequest) as raised:
            read(body)
        assert (raised.value.code, raised.value.param) == (pair.refused.code, pair.refused.param)
        return
    found = read(body)
    assert as_json(found.request) == pair.canonical
    assert (list(found.untranslated), found.is_priced) == (pair.untranslated, pair.is_priced)
    if pair.chat is not None:
        assert as_json(translated(found.request)) == pair.chat
    assert resent(body) == (pair.resent or {**msgspec.json.decode(body), "model": "claude-x", "stream": False})


@pairs_of("answers")
def test_an_answer_becomes_a_message(path: Path) -> None:
    pair = msgspec.json.decode(path.read_bytes(), type=AnswerPair)
    inbound = read(b'{"max_tokens":1,"messages":[{"role":"user","content":"Hi"}]}')
    assert msgspec.json.decode(MESSAGES.answer(pair.answer, ID, 0, METADATA, inbound)) == pair.message


@pairs_of("streams")
def test_chunks_become_events(path: Path) -> None:
    pair = msgspec.json.decode(path.read_bytes(), type=StreamPair)
    assert events(pair.chunks) == pair.events


@pairs_of("errors")
def test_an_error_has_the_vendors_type(path: Path) -> None:
    pair = msgspec.json.decode(path.read_bytes(), type=ErrorPair)
    assert msgspec.json.decode(MESSAGES.error(pair.error, ID)) == pair.written


def test_anthropics_own_events_pass_but_for_the_model_and_the_end_waits() -> None:
    start = b'{"type":"message_start","message":{"id":"m","model":"claude-x","new":1}}'
    delta = b'{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}'
    stop = Chunk(raw=b'{"type":"message_stop"}')
    chunks = [Chunk(raw=start), Chunk(raw=b'{"type":"new","a":[1]}'), Chunk(raw=delta, usage=Usage(1, 3)), stop]
    writer = MESSAGES.stream(ID, 0, "small", read(b'{"max_tokens":1,"messages":[{"role":"user","content":"Hi"}]}'))
    assert writer.write(stop, {}) == b""
    found = events(chunks)
    assert found[0]["message"] == {"id": "m", "model": "small", "new": 1}
    assert found[1] == {"type": "new", "a": [1]}
    assert found[2]["router_metadata"] == METADATA
    assert [one["type"] for one in found[3:]] == ["message_stop"]


def test_what_a_vendor_wants_back_with_a_call_comes_back_with_it() -> None:
    pair = msgspec.json.decode((PAIRS / "answers/a_signed_call.json").read_bytes(), type=AnswerPair)
    content = pair.message["content"]
    assert isinstance(content, list)
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": content}]
    body = msgspec.json.encode({"max_tokens": 1, "messages": turns})
    (call,) = read(body).request.messages[1].tool_calls or ()
    assert call.extra_content == pair.answer.choices[0].tool_calls[0].extra_content
    assert resent(body)["messages"] == [turns[0], {"role": "assistant", "content": content[1:]}]
