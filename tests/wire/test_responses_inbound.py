"""Golden pairs pin the Responses API as callers speak it: each file of `responses/` is one pair, named for what it
shows."""

from pathlib import Path

import msgspec
import pytest
from msgspec import Raw, Struct, field

from muxer.errors import InvalidRequest
from muxer.failures import UpstreamBadResponse
from muxer.sse import EventParser
from muxer.types import Answer, ChatRequest, Chunk, ToolCallDelta
from muxer.wire.responses_inbound import RESPONSES
from muxer.wire.responses_inbound.request import read

PAIRS = Path(__file__).parent / "responses"
ID = "req_1"
METADATA: dict[str, object] = {"selected_model": "small", "request_id": ID}
HI = b'{"input":"Hi"}'


class Refused(Struct, forbid_unknown_fields=True):
    code: str
    param: str


class RequestPair(Struct, forbid_unknown_fields=True):
    body: Raw
    canonical: dict[str, object] = field(default_factory=dict)
    untranslated: list[str] = field(default_factory=list)
    refused: Refused | None = None


class AnswerPair(Struct, forbid_unknown_fields=True):
    answer: Answer
    response: dict[str, object]
    body: Raw = Raw(HI)


class StreamPair(Struct, forbid_unknown_fields=True):
    chunks: list[Chunk]
    events: list[dict[str, object]]
    error: dict[str, object] | None = None


def pairs_of(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", sorted(PAIRS.joinpath(kind).iterdir()), ids=lambda path: path.stem)


def as_json(request: ChatRequest) -> object:
    return msgspec.json.decode(msgspec.json.encode(request))


def events(chunks: list[Chunk], error: dict[str, object] | None = None) -> list[dict[str, object]]:
    """What a stream's reader gets; each event's name is its type, and all are counted."""
    writer = RESPONSES.stream(ID, 7, "small", read(HI))
    written = b"".join(writer.write(chunk, METADATA if chunk.usage else {}) for chunk in chunks)
    written += writer.end() if error is None else writer.error(error)
    found = EventParser().feed(written)
    data = [msgspec.json.decode(event.data, type=dict[str, object]) for event in found]
    assert [event.name for event in found] == [one["type"] for one in data]
    assert [one["sequence_number"] for one in data] == list(range(len(data)))
    return data


@pairs_of("requests")
def test_a_request_is_read_or_refused(path: Path) -> None:
    pair = msgspec.json.decode(path.read_bytes(), type=RequestPair)
    if pair.refused is not None:
        with pytest.raises(InvalidRequest) as raised:
            read(bytes(pair.body))
        assert (raised.value.code, raised.value.param) == (pair.refused.code, pair.refused.param)
        return
    found = read(bytes(pair.body))
    assert as_json(found.request) == pair.canonical
    assert list(found.untranslated) == pair.untranslated


@pairs_of("answers")
def test_an_answer_becomes_a_response(path: Path) -> None:
    pair = msgspec.json.decode(path.read_bytes(), type=AnswerPair)
    written = RESPONSES.answer(pair.answer, ID, 7, METADATA, read(bytes(pair.body)))
    assert msgspec.json.decode(written) == pair.response


@pairs_of("streams")
def test_chunks_become_events(path: Path) -> None:
    pair = msgspec.json.decode(path.read_bytes(), type=StreamPair)
    assert events(pair.chunks, pair.error) == pair.events


@pairs_of("streams")
def test_what_a_stream_ends_with_is_the_whole_answer(path: Path) -> None:
    last = events(msgspec.json.decode(path.read_bytes(), type=StreamPair).chunks)
    whole = last[-1]["response"]
    assert isinstance(whole, dict)
    done = [one["item"] for one in last if one["type"] == "response.output_item.done"]
    assert whole["output"] == done


def test_what_a_vendor_wants_back_with_a_call_comes_back_with_it() -> None:
    pair = msgspec.json.decode((PAIRS / "answers/a_signed_call.json").read_bytes(), type=AnswerPair)
    body = msgspec.json.encode({"input": [{"role": "user", "content": "Hi"}, *pair.response["output"]]})  # type: ignore[misc]  # a list, in JSON
    assert read(body).request.messages[1].tool_calls == pair.answer.choices[0].tool_calls


def test_going_back_to_an_earlier_call_is_no_stream() -> None:
    calls = [ToolCallDelta(0, "a", "look"), ToolCallDelta(1, "b", "look"), ToolCallDelta(0, arguments="{}")]
    with pytest.raises(UpstreamBadResponse):
        events([Chunk(tool_calls=(call,)) for call in calls])
