"""OpenAI's older completions, the caller's side: requests to read and check, answers and streams to write."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from muxer.errors import InvalidRequest
from muxer.inbound import Inbound
from muxer.inputs import TextRequest, messages_of
from muxer.sse import write_event
from muxer.types import Answer, Choice, Chunk, StreamOptions, TokenLogprob
from muxer.wire import openai_text
from muxer.wire.bodies import decoded
from muxer.wire.inbound import StreamWriter
from muxer.wire.openai_chat import decode_fields, encode, raw, usage_fields
from muxer.wire.openai_inbound import DONE, MAX_CHOICES, check_ranges, passed_on
from muxer.wire.openai_inputs import KINDS, Inputs, check_model, read_inputs

# https://platform.openai.com/docs/api-reference/completions/create: also what servers do that count by themselves, so
# it is written out, and a budget holds no more than this.
DEFAULT_MAX_TOKENS = 16
MAX_LOGPROBS = 20


class TextBody(Struct, frozen=True):
    """A body of `/v1/completions`: the fields that are read; others are passed on."""

    prompt: Inputs
    model: str | None = None
    n: int | None = None
    best_of: Annotated[int, Meta(ge=0, le=MAX_CHOICES)] | None = None
    suffix: str | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=MAX_LOGPROBS)] | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: str | tuple[str, ...] | None = None
    seed: int | None = None
    logit_bias: dict[str, float] | None = None
    user: str | None = None
    service_tier: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


_decode = msgspec.json.Decoder(TextBody).decode


def decode_request(body: bytes) -> TextRequest:
    """Reads and checks a request body once. Raises a subclass of InvalidRequest that names the field."""
    asked = decoded(_decode, body, KINDS)
    check_model(asked.model)
    inputs = read_inputs(asked.prompt, "prompt")
    request = TextRequest(
        messages=messages_of(inputs),
        inputs=inputs,
        is_list=not isinstance(asked.prompt, str),
        model=asked.model,
        n=asked.n,
        best_of=asked.best_of,
        suffix=asked.suffix,
        echo=bool(asked.echo),
        logprobs=asked.logprobs is not None,
        top_logprobs=asked.logprobs,
        max_tokens=DEFAULT_MAX_TOKENS if asked.max_tokens is None else asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        stop=asked.stop,
        seed=asked.seed,
        logit_bias=asked.logit_bias,
        user=asked.user,
        service_tier=asked.service_tier,
        stream=bool(asked.stream),
        stream_options=asked.stream_options,
    )
    check_ranges(request)
    _check_best_of(request)
    return request


def _check_best_of(request: TextRequest) -> None:
    best_of, n = request.best_of, request.n or 1
    if best_of and best_of < n:
        raise InvalidRequest(f"best_of: must be at least n, which is {n}", param="best_of")
    if best_of and best_of > n and request.stream:
        raise InvalidRequest("best_of: the best of several answers cannot be streamed", param="best_of")


def encode_answer(answer: Answer, id: str, created: int, metadata: Mapping[str, object]) -> bytes:
    """The body of a whole answer: the upstream's bytes but for `model`, with `router_metadata` added."""
    if answer.raw:
        fields = decode_fields(answer.raw)
    else:
        fields = {
            "id": raw(f"cmpl-{id}"),
            "object": raw("text_completion"),
            "created": raw(created),
            "choices": raw([_whole(index, choice) for index, choice in enumerate(answer.choices)]),
            "usage": raw(usage_fields(answer.usage) if answer.usage else None),
        }
    fields["model"] = raw(metadata["selected_model"])
    fields["router_metadata"] = raw(metadata)
    return encode(fields)


def _whole(index: int, choice: Choice) -> dict[str, object]:
    return _choice(index, choice.text or "", _logprobs(choice.logprobs, 0), choice.finish_reason)


def _choice(index: int, text: str, logprobs: object, finish_reason: str | None) -> dict[str, object]:
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish_reason}


def _logprobs(tokens: Sequence[TokenLogprob], begin: int) -> dict[str, object] | None:
    """The log-probabilities in this format: four lists. `begin` is how many characters came before these tokens."""
    if not tokens:
        return None
    offsets: list[int] = []
    for token in tokens:
        offsets.append(begin)
        begin += len(token.token)
    return {
        "tokens": [token.token for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [{one.token: one.logprob for one in token.top} for token in tokens],
        "text_offset": offsets,
    }


class TextWriter:
    """Writes one stream; see StreamWriter. It counts what each choice has said for the offsets of log-probabilities."""

    def __init__(self, id: str, created: int, model: str, *, wants_usage: bool) -> None:
        self._head = {"id": f"cmpl-{id}", "object": "text_completion", "created": created, "model": model}
        self._model = raw(model)
        self._wants_usage = wants_usage
        self._said: dict[int, int] = {}

    def write(self, chunk: Chunk, metadata: Mapping[str, object]) -> bytes:
        """See StreamWriter."""
        if chunk.raw:
            event = passed_on(chunk, self._model, metadata, wants_usage=self._wants_usage)
            return write_event(event) if event else b""
        events = b""
        if chunk.text or chunk.finish_reason is not None:
            said = self._said.get(chunk.index, 0)
            self._said[chunk.index] = said + len(chunk.text)
            choice = _choice(chunk.index, chunk.text, _logprobs(chunk.logprobs, said), chunk.finish_reason)
            usage = {"usage": None} if self._wants_usage else {}
            events += write_event(encode({**self._head, "choices": [choice], **usage}))
        if chunk.usage is not None and self._wants_usage:
            last = {"choices": [], "usage": usage_fields(chunk.usage), "router_metadata": metadata}
            events += write_event(encode({**self._head, **last}))
        return events

    def end(self) -> bytes:
        """See StreamWriter."""
        return DONE

    def error(self, error: Mapping[str, object]) -> bytes:
        """See StreamWriter."""
        return write_event(encode({"error": error}))


class Completions:
    """See InboundFormat."""

    api = openai_text.API

    def read(self, body: bytes) -> Inbound:
        """See InboundFormat."""
        return Inbound(api=self.api, raw=body, request=decode_request(body))

    def answer(self, answer: Answer, id: str, created: int, metadata: Mapping[str, object], inbound: Inbound) -> bytes:
        """See InboundFormat."""
        return encode_answer(answer, id, created, metadata)

    def stream(self, id: str, created: int, model: str, inbound: Inbound) -> StreamWriter:
        """See InboundFormat."""
        return TextWriter(id, created, model, wants_usage=inbound.request.wants_usage)

    def error(self, error: Mapping[str, object], request_id: str) -> bytes:
        """See InboundFormat."""
        return encode({"error": error})


COMPLETIONS = Completions()
