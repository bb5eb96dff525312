"""OpenAI's chat completions, the upstream side: requests to send, answers and streams to read."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Protocol, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from msgspec.structs import replace

from muxer.failures import UpstreamBadResponse, UpstreamCut
from muxer.interfaces import Reply
from muxer.sse import EventParser
from muxer.types import (
    Answer,
    Call,
    ChatRequest,
    Choice,
    Chunk,
    ExtraContent,
    FunctionCall,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from muxer.upstream import raise_for_status
from muxer.wire.foreign import translated
from muxer.wire.openai_logprobs import read_logprobs

API = "openai.chat"
# Servers written in Go take `MAX_TOKENS` for `max_tokens`: they would run what we did not read.
_READ = frozenset(ChatRequest.__struct_fields__) | {"prompt", "best_of", "echo", "suffix"}
_NULL = b"null"  # a Raw equals only another Raw, so bytes are compared

encode = msgspec.json.Encoder().encode
decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
"""Splits an object into its fields without reading their values; the order is kept."""


_decode_list = msgspec.json.Decoder(list[dict[str, Raw]]).decode


def raw(value: object) -> Raw:
    """A value as one field of an object that `decode_fields` split."""
    return Raw(encode(value))


def request_fields(call: Call, *, cap_field: str) -> tuple[dict[str, Raw], list[str]]:
    """The fields of the body to send, and the names of those that were left out.

    The caller's own bytes are kept but for what must change, so that fields we do not know pass through. `cap_field`
    is the name this upstream uses for the output cap: `max_tokens`, or `max_completion_tokens` at OpenAI.
    """
    fields = decode_fields(call.raw if call.api == API else encode(translated(call.request)))
    dropped = [*call.untranslated, *(name for name in fields if name not in _READ and name.casefold() in _READ)]
    fields["model"] = raw(call.model)
    fields.update((name, raw(value)) for name, value in call.changes.items())
    if call.request.logprobs:
        fields["logprobs"] = raw(True)  # a cascade asks for them also where the caller did not
    fields.pop("max_tokens", None)
    fields.pop("max_completion_tokens", None)
    if call.output_cap is not None:
        fields[cap_field] = raw(call.output_cap)
    if call.request.stream is None:
        fields.pop("stream", None)  # null is OpenAI's, not every server's
    _ask_for_usage(fields, call)
    if not call.takes_sampling:
        dropped += [name for name in ("temperature", "top_p") if name in fields]
    for name in dropped:
        fields.pop(name, None)
    return fields, dropped


def without_extra_content(fields: dict[str, Raw]) -> list[str]:
    """Takes out of the history what only the vendor of an earlier turn reads (`tool_calls[].extra_content`), for
    servers that refuse what they do not know. It asks for nothing here, so it is no loss to name."""
    if b'"extra_content"' not in bytes(fields["messages"]):
        return []
    messages = _decode_list(fields["messages"])
    for message in messages:
        calls = message.get("tool_calls")
        if calls is None or bytes(calls) == _NULL:
            continue
        kept = _decode_list(calls)
        for call in kept:
            call.pop("extra_content", None)
        message["tool_calls"] = raw(kept)
    fields["messages"] = raw(messages)
    return []


def _ask_for_usage(fields: dict[str, Raw], call: Call) -> None:
    """Streams report usage only when asked; what the caller did not ask for is stripped again on the way out."""
    options = fields.pop("stream_options", None)
    if call.request.stream:
        asked = decode_fields(options) if options is not None and bytes(options) != _NULL else {}
        fields["stream_options"] = raw({**asked, "include_usage": True})


Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]


class _InputDetails(Struct):
    cached_tokens: Count | None = None


class _OutputDetails(Struct):
    reasoning_tokens: Count | None = None


class _Usage(Struct):
    prompt_tokens: Count
    completion_tokens: Count = 0
    total_tokens: Count = 0
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    prompt_cache_hit_tokens: Count = 0


_decode_usage = msgspec.json.Decoder(_Usage).decode


def read_usage(data: Raw | UnsetType) -> Usage | None:
    """The usage object as ours; None when it is missing, null or out of range (B57)."""
    if data is UNSET or bytes(data) == _NULL:
        return None
    try:
        usage = _decode_usage(data)
    except msgspec.ValidationError:
        return None
    details, output = usage.prompt_tokens_details, usage.completion_tokens_details
    cached = details.cached_tokens if details else 0
    return Usage(
        input_tokens=usage.prompt_tokens,
        # xAI's and Gemini's compatible endpoints leave reasoning out of completion_tokens but not out of the total.
        output_tokens=max(usage.completion_tokens, usage.total_tokens - usage.prompt_tokens),
        # DeepSeek names its cached share differently.
        cached_input_tokens=min(usage.prompt_tokens, cached or usage.prompt_cache_hit_tokens),
        reasoning_tokens=(output.reasoning_tokens or 0) if output else 0,
    )


def usage_fields(usage: Usage) -> dict[str, object]:
    """Our usage as OpenAI's object."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


class _Piece(Struct):
    text: str = ""
    thinking: "list[_Piece] | str | None" = None

    @property
    def thoughts(self) -> str:
        if isinstance(self.thinking, list):
            return "".join(piece.text for piece in self.thinking)
        return self.thinking or ""


class _Function(Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None
    extra_content: object = UNSET  # Google's own; whatever another server means by it is no fault of the answer

    @property
    def extra(self) -> ExtraContent:
        return self.extra_content if isinstance(self.extra_content, dict) else UNSET


class _Delta(Struct):
    # Mistral's reasoning models answer with a list of parts.
    content: str | list[_Piece] | None = None
    reasoning_content: str | None = None
    reasoning: object = None  # its name at Groq, OpenRouter and newer vLLM; not text everywhere
    tool_calls: list[_ToolCall] | None = None

    @property
    def text(self) -> str | None:
        if isinstance(self.content, list):
            return "".join(piece.text for piece in self.content)
        return self.content

    @property
    def thoughts(self) -> str:
        if isinstance(self.content, list):
            return "".join(piece.thoughts for piece in self.content)
        return self.reasoning_content or (self.reasoning if isinstance(self.reasoning, str) else "")


class _Choice(Struct):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    logprobs: Raw = Raw(_NULL)
    finish_reason: str | None = None

    @property
    def finish(self) -> str | None:
        return _FINISH_REASONS.get(self.finish_reason or "", self.finish_reason)

    @property
    def is_openais(self) -> bool:
        said = self.delta or self.message
        return self.finish == self.finish_reason and not (said and isinstance(said.content, list))


# Mistral's word for a context that is full.
_FINISH_REASONS = {"model_length": "length"}


class _Body(Struct):
    choices: list[_Choice] | UnsetType = UNSET
    usage: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


_decode_body = msgspec.json.Decoder(_Body).decode


class _MayBeError(Protocol):
    @property
    def error(self) -> Raw | UnsetType: ...


BodyT = TypeVar("BodyT", bound=_MayBeError)


def read_body(decode: Callable[[bytes], BodyT], data: bytes, who: str) -> BodyT:
    """What an upstream said. Raises UpstreamBadResponse for what is no such body, and an error object under a 200
    (B52)."""
    try:
        data.decode()  # also what is passed on without being read
        body = decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamBadResponse(f"{who} did not answer in OpenAI's format: {error}") from error
    if body.error is not UNSET and bytes(body.error) != _NULL:
        raise UpstreamBadResponse(f"{who} answered 200 with an error: {_words(body.error)}")
    return body


def _words(error: Raw) -> str:
    try:
        fields = msgspec.json.decode(error, type=dict[str, object])
    except msgspec.ValidationError:
        return bytes(error)[:300].decode("utf-8", "replace")
    return str(fields.get("message") or fields)[:300]


def read_answer(data: bytes, who: str) -> Answer:
    """A whole answer. Raises UpstreamBadResponse when it is none, also for an error object under a 200."""
    body = read_body(_decode_body, data, who)
    if not body.choices:
        raise UpstreamBadResponse(f"{who} answered without choices")
    choices = tuple(_read_choice(choice) for choice in body.choices)
    return Answer(choices=choices, usage=read_usage(body.usage), raw=_in_openais_words(data, body.choices))


def _in_openais_words(data: bytes, choices: list[_Choice]) -> bytes:
    """The bytes to pass on: what a client of OpenAI's would stumble over is said as OpenAI's servers would."""
    if all(choice.is_openais for choice in choices):
        return data
    fields = decode_fields(data)
    written = _decode_list(fields["choices"])
    for choice, one in zip(choices, written, strict=True):
        one["finish_reason"] = raw(choice.finish)
        said = choice.delta or choice.message
        if said is None or not isinstance(said.content, list):
            continue
        name = "message" if choice.delta is None else "delta"
        parts = {**decode_fields(one[name]), "content": raw(said.text)}
        if said.thoughts:
            parts["reasoning_content"] = raw(said.thoughts)
        one[name] = raw(parts)
    fields["choices"] = raw(written)
    return encode(fields)


def _read_choice(choice: _Choice) -> Choice:
    message = choice.message or _Delta()
    calls = tuple(
        ToolCall(id=call.id or "", function=_called(call.function), extra_content=call.extra)
        for call in message.tool_calls or ()
    )
    return Choice(
        text=message.text,
        reasoning=message.thoughts,
        tool_calls=calls,
        logprobs=read_logprobs(choice.logprobs),
        finish_reason=choice.finish or "stop",
    )


def _called(function: _Function | None) -> FunctionCall:
    function = function or _Function()
    return FunctionCall(name=function.name or "", arguments=function.arguments or "")


def read_chunks(data: bytes, who: str) -> list[Chunk]:
    """The chunks of one event of a stream: one for each choice in it, which is one in practice.

    Raises UpstreamBadResponse, also for an error event (B52).
    """
    body = read_body(_decode_body, data, who)
    usage = read_usage(body.usage)
    choices = body.choices or ()
    if len(choices) < 2:
        return [_read_chunk(choices[0] if choices else None, usage, data)]
    usages = [None] * (len(choices) - 1) + [usage]
    return [_read_chunk(*parts) for parts in zip(choices, usages, split_choices(data), strict=True)]


def split_choices(data: bytes) -> list[bytes]:
    """Each choice of an event as an event of its own; what is said of all of them, their usage, is in the last."""
    fields = decode_fields(data)
    each = msgspec.json.decode(fields["choices"], type=list[Raw])
    alone = [encode(fields | {"choices": [one]} | ({"usage": None} if "usage" in fields else {})) for one in each[:-1]]
    return [*alone, encode(fields | {"choices": each[-1:]})]


def _read_chunk(choice: _Choice | None, usage: Usage | None, data: bytes) -> Chunk:
    if choice is None:
        return Chunk(usage=usage, raw=data)
    data = _in_openais_words(data, [choice])
    if choice.delta is None:
        return Chunk(usage=usage, raw=data, finish_reason=choice.finish)
    return Chunk(
        index=choice.index,
        text=choice.delta.text or "",
        reasoning=choice.delta.thoughts,
        tool_calls=tuple(_read_delta(call) for call in choice.delta.tool_calls or ()),
        logprobs=read_logprobs(choice.logprobs),
        finish_reason=choice.finish,
        usage=usage,
        raw=data,
    )


def _read_delta(call: _ToolCall) -> ToolCallDelta:
    function = call.function or _Function()
    return ToolCallDelta(
        index=call.index,
        id=call.id,
        name=function.name,
        arguments=function.arguments or "",
        extra_content=call.extra,
    )


ReadChunks = Callable[[bytes, str], list[Chunk]]


async def read_stream(
    posted: AbstractAsyncContextManager[Reply],
    who: str,
    read: ReadChunks = read_chunks,
    dropped: tuple[str, ...] = (),
) -> AsyncGenerator[Chunk, None]:
    """The chunks of a streamed answer, up to `[DONE]`; what comes after it is ignored (B57). The first has what was
    `dropped` from the request.

    Raises what `raise_for_status` raises, and UpstreamCut when neither `[DONE]` nor a finish reason came: not every
    connection tells that it was cut. One generator for all of it, since each costs every chunk half a microsecond.
    """
    is_stream = is_finished = False
    parser = EventParser()
    async with posted as reply:
        await raise_for_status(reply, who)
        async for piece in reply.chunks():
            for event in parser.feed(piece):
                is_stream = True
                if event.data == b"[DONE]":
                    return
                for chunk in read(event.data, who):
                    is_finished = is_finished or chunk.finish_reason is not None
                    yield replace(chunk, dropped=dropped) if dropped else chunk
                    dropped = ()
    if not is_stream:
        raise UpstreamBadResponse(f"{who} answered a request for a stream without one")
    if not is_finished:
        raise UpstreamCut(f"{who} ended its stream before the answer was complete")
