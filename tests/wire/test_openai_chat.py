"""Golden pairs pin OpenAI's format as vendors write it, both ways: each file of `openai/` is one pair, named for what
it shows. Vendors' own documentation is where the shapes are from."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, Struct, field
from msgspec.structs import replace

from muxer import failures
from muxer.sse import EventParser, write_event
from muxer.types import Answer, Call, ChatRequest, Chunk, Usage
from muxer.wire import openai_chat, openai_inbound

PAIRS = Path(__file__).parent / "openai"
DONE = b"data: [DONE]\n\n"


class RequestPair(Struct, forbid_unknown_fields=True):
    request: Raw
    body: dict[str, object]
    call: dict[str, Any] = field(default_factory=dict)
    cap_field: str = "max_tokens"
    dropped: list[str] = field(default_factory=list)


class AnswerPair(Struct, forbid_unknown_fields=True):
    """`passed` are the choices as they are passed on, where they are not the vendor's."""

    vendor: Raw
    answer: Answer | None = None
    passed: list[object] | None = None
    raises: str = ""


class StreamPair(Struct, forbid_unknown_fields=True):
    """`passed` are the choices of each event as they are passed on, where they are not the vendor's."""

    events: list[Raw]
    chunks: list[Chunk]
    passed: list[list[object]] | None = None
    raises: str = ""

    @property
    def bytes(self) -> bytes:
        """The stream without `[DONE]`."""
        return b"".join(write_event(compact(event)) for event in self.events)


class Played:
    """A reply whose body comes in the given pieces."""

    status = 200
    headers: Mapping[str, str] = {}

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    async def read(self) -> bytes:
        return b"".join(self._pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def pairs_of(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", sorted(PAIRS.joinpath(kind).iterdir()), ids=lambda path: path.stem)


def compact(data: Raw) -> bytes:
    return msgspec.json.format(bytes(data), indent=-1)


async def read(*pieces: bytes) -> tuple[list[Chunk], str]:
    """The chunks, and the name of the error that ended them."""
    chunks: list[Chunk] = []
    async with aclosing(openai_chat.read_stream(nullcontext(Played(*pieces)), "the vendor")) as stream:
        try:
            async for chunk in stream:
                chunks.append(chunk)
        except failures.ProviderFailed as error:
            return chunks, type(error).__name__
    return chunks, ""


def without_raw(chunks: Sequence[Chunk]) -> list[Chunk]:
    return [replace(chunk, raw=b"") for chunk in chunks]


@pairs_of("requests")
def test_a_request_becomes_the_body_to_send(path: Path) -> None:
    pair = msgspec.json.decode(path.read_bytes(), type=RequestPair)
    request = msgspec.json.decode(pair.request, type=ChatRequest)
    call = Call(id="r", api="openai.chat", raw=bytes(pair.request), request=request, model="m-1")
    fields, dropped = openai_chat.request_fields(replace(call, **pair.call), cap_field=pair.cap_field)
    assert (msgspec.json.decode(openai_chat.encode(fields)), dropped) == (pair.body, pair.dropped)


def test_what_need_not_change_keeps_its_bytes_and_its_place() -> None:
    odd = b'{"x": 1.0,\n"y": [1e3, "\\u00e9\\/", 12345678901234567890]}'
    raw = b'{"odd": %s, "model": "auto", "messages": [{"role": "user", "content": "Hi", "odd": %s}]}' % (odd, odd)
    call = Call(id="r", api="openai.chat", raw=raw, request=openai_inbound.decode_request(raw), model="m-1")
    body = openai_chat.encode(openai_chat.request_fields(call, cap_field="max_tokens")[0])
    assert body == b'{"odd":%s,"model":"m-1","messages":[{"role": "user", "content": "Hi", "odd": %s}]}' % (odd, odd)


@pairs_of("answers")
def test_an_answer_is_read_or_is_no_answer(path: Path) -> None:
    pair = msgspec.json.decode(path.read_bytes(), type=AnswerPair)
    if pair.answer is not None:
        assert replace(openai_chat.read_answer(compact(pair.vendor), "the vendor"), raw=b"") == pair.answer
        return
    with pytest.raises(getattr(failures, pair.raises)):
        openai_chat.read_answer(compact(pair.vendor), "the vendor")


@pairs_of("streams")
async def test_a_stream_becomes_its_chunks(path: Path) -> None:
    pair = msgspec.json.decode(path.read_bytes(), type=StreamPair)
    chunks, raised = await read(pair.bytes)
    assert (without_raw(chunks), raised) == (pair.chunks, pair.raises)


@pairs_of("streams")
async def test_a_stream_reads_the_same_in_any_pieces(path: Path) -> None:
    pair = msgspec.json.decode(path.read_bytes(), type=StreamPair)
    bytes_by_themselves = [pair.bytes[i : i + 1] for i in range(len(pair.bytes))]
    assert await read(*bytes_by_themselves) == await read(pair.bytes)


@pytest.mark.parametrize("data", [b"", b"{", b'{"\xff":1}', b"[" * 100_000, b"<html>", b"null"], ids=range(6))
def test_nonsense_is_a_bad_response_and_nothing_else(data: bytes) -> None:
    for read_one in (openai_chat.read_answer, openai_chat.read_chunks):
        with pytest.raises(failures.UpstreamBadResponse):
            read_one(data, "the vendor")


odd = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())
details = st.dictionaries(st.sampled_from(["cached_tokens", "reasoning_tokens"]), odd)
members = ["prompt_tokens", "completion_tokens", "total_tokens", "prompt_cache_hit_tokens"]
member_details = ["prompt_tokens_details", "completion_tokens_details"]


@given(st.dictionaries(st.sampled_from(members), odd), st.dictionaries(st.sampled_from(member_details), odd | details))
def test_no_usage_breaks_an_answer_or_makes_less_than_nothing(one: dict[str, Any], more: dict[str, Any]) -> None:
    body = json.dumps({"choices": [{"message": {"content": "Hi"}}], "usage": {**one, **more}}).replace("NaN", "null")
    answer = openai_chat.read_answer(body.replace("Infinity", "1e999").encode(), "the vendor")
    assert answer.choices[0].text == "Hi"
    assert answer.usage is None or min(msgspec.structs.astuple(answer.usage)) >= 0


@pairs_of("answers")
def test_an_answer_passes_but_for_our_model_and_metadata(path: Path) -> None:
    pair = msgspec.json.decode(path.read_bytes(), type=AnswerPair)
    if pair.answer is None:
        return
    metadata = {"selected_model": "served", "request_id": "r"}
    sent = openai_inbound.encode_answer(openai_chat.read_answer(compact(pair.vendor), "x"), "r", 0, metadata)
    expected = msgspec.json.decode(pair.vendor) | {"model": "served", "router_metadata": metadata}
    expected["choices"] = pair.passed or expected["choices"]
    assert msgspec.json.decode(sent) == expected


def written(chunks: Sequence[Chunk], *, wants_usage: bool) -> list[dict[str, Any]]:
    """The events a caller gets, decoded."""
    writer = openai_inbound.StreamWriter("r", 0, "served", wants_usage=wants_usage)
    data = b"".join(writer.write(chunk, {"cost": 1} if chunk.usage else {}) for chunk in chunks)
    return [msgspec.json.decode(event.data) for event in EventParser().feed(data)]


@pairs_of("streams")
async def test_a_stream_passes_whole_to_who_asked_for_usage(path: Path) -> None:
    pair = msgspec.json.decode(path.read_bytes(), type=StreamPair)
    chunks, _ = await read(pair.bytes)
    events = [msgspec.json.decode(event) for event in pair.events[: len(chunks)]]
    for number, (event, chunk) in enumerate(zip(events, chunks, strict=True)):
        event |= {"choices": pair.passed[number]} if pair.passed else {}
        event |= {"model": "served"} | ({"router_metadata": {"cost": 1}} if chunk.usage else {})
    assert written(chunks, wants_usage=True) == events


@pairs_of("streams")
async def test_a_stream_passes_without_usage_to_who_did_not_ask(path: Path) -> None:
    pair = msgspec.json.decode(path.read_bytes(), type=StreamPair)
    chunks, _ = await read(pair.bytes)
    sent = written(chunks, wants_usage=False)
    assert not [event for event in sent if "usage" in event or "router_metadata" in event]
    assert len(sent) == len(chunks) - sum(chunk.usage is not None and b'"choices":[]' in chunk.raw for chunk in chunks)


def test_an_event_with_several_choices_becomes_one_for_each() -> None:
    event = (
        b'{"id":"x","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"},'
        b'{"index":1,"delta":{"content":"b"},"logprobs":1}],"usage":{"prompt_tokens":1,"completion_tokens":2}}'
    )
    first, second = openai_chat.read_chunks(event, "x")
    assert (first.text, first.index, first.finish_reason, first.usage) == ("a", 0, "stop", None)
    assert (second.text, second.index, second.usage) == ("b", 1, Usage(1, 2))
    alone = [json.loads(chunk.raw) for chunk in (first, second)]
    assert alone[0]["choices"] == [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]
    assert alone[1]["choices"] == [{"index": 1, "delta": {"content": "b"}, "logprobs": 1}]
    assert [one["usage"] for one in alone] == [None, {"prompt_tokens": 1, "completion_tokens": 2}]
