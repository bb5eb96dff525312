"""OpenAI's older completions, the upstream side: requests to send or to put as a chat, answers and streams to read."""

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import replace

from muxer.errors import Unsupported
from muxer.failures import UpstreamBadResponse
from muxer.inputs import TextRequest
from muxer.types import Answer, Call, ChatRequest, Choice, Chunk, TokenLogprob, Usage
from muxer.upstream import refuse_dropped
from muxer.wire import openai_chat
from muxer.wire.openai_chat import decode_fields, encode, raw, read_body, read_usage, split_choices

API = "openai.completions"
_NULL = b"null"  # a Raw equals only another Raw, so bytes are compared
_IN_BOTH = frozenset({
    "model", "n", "max_tokens", "temperature", "top_p", "presence_penalty", "frequency_penalty", "stop", "seed", "user",
    "stream", "stream_options", "logit_bias",
})  # fmt: skip
_PUT_OTHERWISE = frozenset({"prompt", "logprobs", "best_of", "echo", "suffix"})
_decode_chat = msgspec.json.Decoder(ChatRequest).decode


def request_fields(call: Call) -> tuple[dict[str, Raw], list[str]]:
    """The fields of the body to send to a server that speaks this format, and the names of those left out."""
    return openai_chat.request_fields(replace(call, api=openai_chat.API), cap_field="max_tokens")


def as_chat(call: Call) -> tuple[Call, tuple[str, ...]]:
    """The same asked of a chat model, with the prompt as the only message; and the fields that have no place there.

    Raises Unsupported for what a chat cannot do, and ParametersUnsupported when the call is strict and drops something.
    """
    request = call.request
    assert isinstance(request, TextRequest), "only texts to go on with are put as a chat"
    lacking = _not_in_a_chat(request)
    if lacking:
        raise Unsupported(
            f"{lacking}: the model {call.model!r} takes chats only; name a model with `/completions`", param=lacking
        )
    fields = decode_fields(call.raw)
    asked = {name: value for name, value in fields.items() if bytes(value) != _NULL}
    dropped = tuple(name for name in asked if name not in _IN_BOTH | _PUT_OTHERWISE)
    refuse_dropped(call, "a chat model", dropped)
    fields = {name: value for name, value in asked.items() if name in _IN_BOTH}
    fields |= {name: raw(value) for name, value in call.changes.items()}
    fields |= {"messages": raw(request.messages), "max_tokens": raw(request.max_tokens)}
    if request.logprobs:
        fields |= {"logprobs": raw(value=True), "top_logprobs": raw(request.top_logprobs)}
    body = encode(fields)
    return replace(call, api=openai_chat.API, raw=body, request=_decode_chat(body)), dropped


def _not_in_a_chat(request: TextRequest) -> str:
    """The first field that has no counterpart in a chat, or ''."""
    if len(request.inputs) != 1 or request.token_counts:
        return "prompt"
    if request.suffix:
        return "suffix"
    if request.echo:
        return "echo"
    return "best_of" if (request.best_of or 1) > (request.n or 1) else ""


class _Logprobs(Struct):
    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] | None = None


class _Choice(Struct):
    text: str | None = None
    index: int = 0
    logprobs: Raw = Raw(_NULL)
    finish_reason: str | None = None


class _Body(Struct):
    choices: list[_Choice] | UnsetType = UNSET
    usage: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


_decode_logprobs = msgspec.json.Decoder(_Logprobs).decode
_decode_body = msgspec.json.Decoder(_Body).decode


def read_answer(data: bytes, who: str) -> Answer:
    """A whole answer. Raises UpstreamBadResponse when it is none."""
    body = read_body(_decode_body, data, who)
    if not body.choices:
        raise UpstreamBadResponse(f"{who} answered without choices")
    choices = tuple(
        Choice(text=one.text, logprobs=_read_logprobs(one.logprobs), finish_reason=one.finish_reason or "stop")
        for one in body.choices
    )
    return Answer(choices=choices, usage=read_usage(body.usage), raw=data)


def read_chunks(data: bytes, who: str) -> list[Chunk]:
    """The chunks of one event of a stream: one for each choice in it. Raises UpstreamBadResponse (B52)."""
    body = read_body(_decode_body, data, who)
    usage, choices = read_usage(body.usage), body.choices or []
    if not choices:
        return [Chunk(usage=usage, raw=data)]
    if len(choices) == 1:
        return [_chunk(choices[0], usage, data)]
    usages = [None] * (len(choices) - 1) + [usage]
    return [_chunk(*parts) for parts in zip(choices, usages, split_choices(data), strict=True)]


def _chunk(choice: _Choice, usage: Usage | None, data: bytes) -> Chunk:
    return Chunk(
        index=choice.index,
        text=choice.text or "",
        logprobs=_read_logprobs(choice.logprobs),
        finish_reason=choice.finish_reason,
        usage=usage,
        raw=data,
    )


def _read_logprobs(data: Raw) -> tuple[TokenLogprob, ...]:
    if bytes(data) == _NULL:
        return ()
    try:
        lists = _decode_logprobs(data)
    except msgspec.ValidationError:
        return ()  # some servers answer in the shape of chats
    tops = lists.top_logprobs or [None] * len(lists.tokens)
    # The first token of an echoed prompt has none; zip stops at the shortest list of a server that miscounts.
    return tuple(
        TokenLogprob(token, logprob or 0.0, tuple(TokenLogprob(*one) for one in (top or {}).items()))
        for token, logprob, top in zip(lists.tokens, lists.token_logprobs, tops, strict=False)
    )
