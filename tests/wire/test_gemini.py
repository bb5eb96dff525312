"""Golden pairs pin Gemini's format, both ways: each file of `gemini/` is one pair, named for what it shows."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from itertools import cycle, islice
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw, Struct, field
from msgspec.structs import replace

from muxer import errors, failures
from muxer.parts import TextPart
from muxer.sse import write_event
from muxer.types import Answer, Call, ChatRequest, Chunk, FunctionCall, Message, ToolCall, Usage
from muxer.wire import gemini

PAIRS = Path(__file__).parent / "gemini"


class Refused(Struct, forbid_unknown_fields=True):
    error: str
    param: str


class RequestPair(Struct, forbid_unknown_fields=True):
    request: Raw
    call: dict[str, object] = field(default_factory=dict)
    abilities: gemini.Abilities = gemini.Abilities()
    options: dict[str, bool] = field(default_factory=dict)
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
    candidates: int = 1
    raises: str = ""


class Played:
    """A reply whose body comes in the given pieces."""

    def __init__(self, pieces: Sequence[bytes], status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self._pieces = pieces
        self.status = status
        self.headers: Mapping[str, str] = headers or {}

    async def read(self) -> bytes:
        return b"".join(self._pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def pairs_of(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", sorted(PAIRS.joinpath(kind).iterdir()), ids=lambda path: path.stem)


def encode(pair: RequestPair) -> tuple[bytes, tuple[str, ...]]:
    request = msgspec.json.decode(pair.request, type=ChatRequest)
    call = Call(id="r", api="openai.chat", raw=bytes(pair.request), request=request, model="gemini-x")
    include = pair.options.get("include_thoughts", False)
    return gemini.encode_request(replace(call, **pair.call), pair.abilities, include_thoughts=include)


async def read(pieces: Sequence[bytes], candidates: int = 1) -> tuple[list[Chunk], str]:
    """The chunks, and the name of the error that ended them."""
    chunks: list[Chunk] = []
    async with aclosing(gemini.read_stream(Played(pieces), "gemini", "r", candidates=candidates)) as stream:
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
    vendor = bytes(pair.vendor)
    if pair.answer is not None:
        assert gemini.read_answer(vendor, "gemini", "r") == pair.answer
        return
    with pytest.raises(failures.ProviderFailed) as raised:
        gemini.read_answer(vendor, "gemini", "r")
    assert type(raised.value).__name__ == pair.raises


@pairs_of("streams")
async def test_a_stream_becomes_its_chunks(path: Path) -> None:
    pair = msgspec.json.decode(path.read_bytes(), type=StreamPair)
    assert await read([stream_of(pair)], pair.candidates) == (pair.chunks, pair.raises)


@given(st.data())
def test_a_stream_may_be_cut_into_pieces_anywhere(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(PAIRS.joinpath("streams").iterdir())))
    pair = msgspec.json.decode(path.read_bytes(), type=StreamPair)
    whole = stream_of(pair)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=20)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert asyncio.run(read(pieces, pair.candidates)) == (pair.chunks, pair.raises)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_nonsense_is_no_answer_and_nothing_else(nonsense: object) -> None:
    event = msgspec.json.encode(nonsense)
    with pytest.raises(failures.UpstreamBadResponse):
        gemini.read_answer(event, "gemini", "r")
    chunks, raised = asyncio.run(read([write_event(event)]))
    assert chunks == [] and raised in ("UpstreamBadResponse", "UpstreamCut")


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b"\xff\xfe", b"<html>", b'{"candidates": [5]}', b"[" * 100_000])
def test_a_body_that_is_no_answer_is_a_bad_response(body: bytes) -> None:
    with pytest.raises(failures.UpstreamBadResponse):
        gemini.read_answer(body, "gemini", "r")


@pytest.mark.parametrize("kind", ["blocked_prompt", "broken_malformed_function_call"])
def test_what_is_no_answer_and_billed_all_the_same_says_the_bill(kind: str) -> None:
    pair = msgspec.json.decode(PAIRS.joinpath("answers", f"{kind}.json").read_bytes(), type=AnswerPair)
    with pytest.raises(failures.ProviderFailed) as raised:
        gemini.read_answer(bytes(pair.vendor), "gemini", "r")
    billed = {"blocked_prompt": Usage(input_tokens=12_559)}
    assert raised.value.usage == billed.get(kind, Usage(input_tokens=10, output_tokens=5))


def details(*found: Mapping[str, object]) -> list[object]:
    return [{"@type": "type.googleapis.com/google.rpc.Help", "links": [{"url": "https://example.com"}]}, 5, *found]


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"}
BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}


async def failed(status: int, body: object, **headers: str) -> failures.ProviderFailed:
    """What an answer with an error status raises."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with pytest.raises(failures.ProviderFailed) as raised:
        await gemini.raise_for_status(Played([msgspec.json.encode(body)], status, named), "gemini")
    return raised.value


async def test_an_exhausted_quota_says_when_to_come_back() -> None:
    error = {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED", "details": details(RETRY)}
    found = await failed(429, {"error": error})
    assert isinstance(found, failures.UpstreamRateLimited)
    assert (found.retry_after_s, found.upstream_status) == (34.07, 429)
    assert (await failed(429, {"error": error}, Retry_After="7")).retry_after_s == 7


@pytest.mark.parametrize("delay", ["soon", "-3s", "99999999s", "", "1e3s"])
async def test_a_pause_that_makes_no_sense_is_none(delay: str) -> None:
    error = {"status": "RESOURCE_EXHAUSTED", "details": details({"retryDelay": delay})}
    assert (await failed(429, {"error": error})).retry_after_s is None


async def test_a_wrong_key_is_ours_although_it_comes_as_a_400() -> None:
    message = "API key sk-1 not valid. Please pass a valid API key."
    error = {"code": 400, "message": message, "status": "INVALID_ARGUMENT", "details": details(BAD_KEY)}
    for body in ({"error": error}, [{"error": error}]):
        found = await failed(400, body)
        assert isinstance(found, failures.UpstreamAuth) and "sk-1" not in str(found)


async def test_a_project_without_billing_is_ours() -> None:
    error = {"code": 400, "message": "no free tier in your country", "status": "FAILED_PRECONDITION"}
    assert isinstance(await failed(400, {"error": error}), failures.UpstreamAuth)


async def test_a_refusal_is_passed_on_in_googles_words() -> None:
    error = {"code": 400, "message": "Penalty is not enabled for this model", "status": "INVALID_ARGUMENT"}
    found = await failed(400, {"error": error})
    assert isinstance(found, failures.UpstreamRefused) and "Penalty is not enabled" in str(found)


DEEP = '{"a":' + "[" * 2_000
TEXTS = st.sampled_from(["", " ", "\n", "word", '{"a": 1}', "[1]", DEEP])
IDS = st.sampled_from(["a", "b:0"])
CALLS = st.lists(st.builds(ToolCall, IDS, st.builds(FunctionCall, st.just("f"), TEXTS)), max_size=3)
MESSAGES = st.builds(
    Message,
    role=st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"]),
    content=TEXTS | st.lists(st.builds(TextPart, TEXTS), max_size=3).map(tuple) | st.none(),
    tool_calls=CALLS.map(tuple) | st.none(),
    tool_call_id=IDS,
)


@given(st.lists(MESSAGES, max_size=8).map(tuple))
@example((Message(role="user", content=(TextPart(""), TextPart(""))),))
def test_any_conversation_becomes_turns_that_gemini_takes(messages: tuple[Message, ...]) -> None:
    call = Call(id="r", api="other", raw=b"", request=ChatRequest(messages=messages), model="gemini-x")
    try:
        body = msgspec.json.decode(gemini.encode_request(call, gemini.Abilities())[0])
    except errors.InvalidMessages as error:
        called = {one.id for m in messages if m.role == "assistant" for one in m.tool_calls or ()}
        unanswered = any(m.role == "tool" for m in messages)
        has_text = any(isinstance(part, TextPart) and part.text for m in messages for part in m.parts)
        assert unanswered or not (has_text or called), error
        return
    contents = body["contents"]
    assert [turn["role"] for turn in contents] == [*islice(cycle(["user", "model"]), len(contents))]
    for turn in contents:
        kinds = ["functionResponse" in part for part in turn["parts"]]
        assert kinds and kinds == sorted(kinds, reverse=True)
        assert all(part["text"] for part in turn["parts"] if "text" in part)
