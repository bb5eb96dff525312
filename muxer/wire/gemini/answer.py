"""Gemini's answers: whole ones, what one piece of a stream says, usage, and why an answer ended."""

import hashlib
from collections import Counter
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, field

from muxer.failures import UpstreamBadResponse, UpstreamBlocked
from muxer.types import Answer, Choice, FunctionCall, TokenLogprob, ToolCall, ToolCallDelta, Usage
from muxer.wire.gemini.errors import failure

NOTHING = Raw(b"null")
MAX_WORDS = 500

Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]


class _Called(Struct):
    name: str
    args: Raw = NOTHING
    id: str | None = None


class _Part(Struct, rename="camel"):
    text: str = ""
    thought: bool = False
    function_call: _Called | None = None
    thought_signature: str = ""


class _Content(Struct):
    parts: list[_Part] = field(default_factory=list)


class Candidate(Struct, rename="camel"):
    """One of the answers, or a piece of one."""

    index: int = 0
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str = ""
    logprobs_result: Raw = NOTHING


class _Feedback(Struct, rename="camel"):
    block_reason: str = ""
    block_reason_message: str = ""


class Response(Struct, rename="camel"):
    """A whole answer or one event of a stream, which have the same shape."""

    candidates: list[Candidate] = field(default_factory=list)
    prompt_feedback: _Feedback | None = None
    usage_metadata: Raw = NOTHING
    error: Raw = NOTHING


class Said(Struct, frozen=True):
    """What a candidate says."""

    text: str
    reasoning: str
    calls: tuple[ToolCallDelta, ...]
    logprobs: tuple[TokenLogprob, ...]


_decode_response = msgspec.json.Decoder(Response).decode


def read_response(data: bytes, who: str) -> Response:
    """An answer or an event. Raises UpstreamBadResponse, what an error object means, and UpstreamBlocked."""
    try:
        response = _decode_response(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamBadResponse(f"{who} did not answer as generateContent does: {error}") from error
    if bytes(response.error) != b"null":
        raise failure(response.error, who)
    feedback = response.prompt_feedback
    if feedback is not None and feedback.block_reason and not response.candidates:
        words = feedback.block_reason_message[:MAX_WORDS]
        raise UpstreamBlocked(
            f"{who} blocked the prompt ({feedback.block_reason[:64]})" + (f": {words}" if words else ""),
            upstream_status=200,
            usage=read_usage(response.usage_metadata),
        )
    return response


class _UsageFields(Struct, rename="camel"):
    # Google leaves out what is zero.
    prompt_token_count: Count = 0
    tool_use_prompt_token_count: Count = 0
    cached_content_token_count: Count = 0
    candidates_token_count: Count = 0
    thoughts_token_count: Count = 0
    total_token_count: Count = 0


_decode_usage = msgspec.json.Decoder(_UsageFields).decode


def read_usage(data: Raw) -> Usage | None:
    """The usage as ours; None when it is missing, says nothing or is out of range (B57)."""
    try:
        usage = _decode_usage(data)
    except msgspec.ValidationError:
        return None
    if usage == _UsageFields():
        return None
    return Usage(
        # The prompt's count has the cached share in it; what tools at Google's read is beside it.
        input_tokens=usage.prompt_token_count + usage.tool_use_prompt_token_count,
        # Thoughts are beside the candidates' count and cost what they cost.
        output_tokens=usage.candidates_token_count + usage.thoughts_token_count,
        cached_input_tokens=min(usage.cached_content_token_count, usage.prompt_token_count),
        reasoning_tokens=usage.thoughts_token_count,
    )


class CallIds:
    """Ids for the tool calls of one answer where Gemini gives none: each reading gives the same, no other request has
    them."""

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._count: Counter[int] = Counter()

    def next(self, candidate: int, given: str | None) -> tuple[int, str]:
        """The number of a candidate's next call, and its id."""
        number = self._count[candidate]
        self._count[candidate] += 1
        seed = f"{self._request_id}/{candidate}/{number}"
        return number, given or f"call_{hashlib.sha256(seed.encode()).hexdigest()[:24]}"

    def has_called(self, candidate: int) -> bool:
        """Whether the candidate has called a tool."""
        return self._count[candidate] > 0


def read_candidate(candidate: Candidate, ids: CallIds) -> Said:
    """What a candidate, or the next piece of it, says. Parts of kinds that nobody asked for are left out."""
    parts = candidate.content.parts if candidate.content else ()
    return Said(
        text="".join(part.text for part in parts if not part.thought),
        reasoning="".join(part.text for part in parts if part.thought),
        calls=tuple(_call(part, part.function_call, candidate.index, ids) for part in parts if part.function_call),
        logprobs=_logprobs(candidate.logprobs_result),
    )


def _call(part: _Part, called: _Called, candidate: int, ids: CallIds) -> ToolCallDelta:
    number, id = ids.next(candidate, called.id)
    args = bytes(called.args)
    # Google indents whole answers.
    arguments = "{}" if args == b"null" else msgspec.json.format(args, indent=-1).decode()
    signed: dict[str, object] = {"google": {"thought_signature": part.thought_signature}}
    extra = signed if part.thought_signature else UNSET
    return ToolCallDelta(number, id, called.name, arguments, extra)


class _TokenFields(Struct, rename="camel"):
    token: str = ""
    log_probability: float = 0.0


class _TopFields(Struct):
    candidates: list[_TokenFields] = field(default_factory=list)


class _LogprobsFields(Struct, rename="camel"):
    chosen_candidates: list[_TokenFields] = field(default_factory=list)
    top_candidates: list[_TopFields] = field(default_factory=list)


_decode_logprobs = msgspec.json.Decoder(_LogprobsFields).decode


def _logprobs(data: Raw) -> tuple[TokenLogprob, ...]:
    try:
        found = _decode_logprobs(data)
    except msgspec.ValidationError:
        return ()
    tops = [tuple(_token(one) for one in step.candidates) for step in found.top_candidates]
    tops += [()] * (len(found.chosen_candidates) - len(tops))
    return tuple(
        TokenLogprob(chosen.token, chosen.log_probability, top)
        for chosen, top in zip(found.chosen_candidates, tops, strict=False)
    )


def _token(fields: _TokenFields) -> TokenLogprob:
    return TokenLogprob(fields.token, fields.log_probability)


# https://ai.google.dev/api/generate-content#FinishReason
_FINISH_REASONS = {
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    **dict.fromkeys(
        (
            "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "OTHER",
            "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "ESCALATION", "PUP_LIMITED_DISABLED", "MODEL_ARMOR",
        ),
        "content_filter",
    ),
}  # fmt: skip
# The model spoke, and not in a way that is an answer.
_BROKEN = frozenset((
    "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE",
    "MISSING_THOUGHT_SIGNATURE",
))  # fmt: skip


def is_broken(candidate: Candidate) -> bool:
    """Whether what the candidate says is no answer."""
    return candidate.finish_reason in _BROKEN


def broken(candidate: Candidate, who: str, usage: Usage | None) -> UpstreamBadResponse:
    """The failure that a broken candidate is. It is billed."""
    words = f": {candidate.finish_message[:MAX_WORDS]}" if candidate.finish_message else ""
    return UpstreamBadResponse(
        f"{who} ended its answer with {candidate.finish_reason}{words}", upstream_status=200, usage=usage
    )


def finish_reason(reason: str, *, has_called: bool) -> str:
    """OpenAI's word for why a candidate ended; Gemini has none for a tool call."""
    found = _FINISH_REASONS.get(reason, "stop")
    return "tool_calls" if found == "stop" and has_called else found


def read_answer(data: bytes, who: str, request_id: str) -> Answer:
    """A whole answer. Raises UpstreamBadResponse, UpstreamBlocked, and what an error object means."""
    response = read_response(data, who)
    usage = read_usage(response.usage_metadata)
    if not response.candidates:
        raise UpstreamBadResponse(f"{who} answered without candidates", usage=usage)
    ids = CallIds(request_id)
    choices = []
    for candidate in response.candidates:
        if is_broken(candidate):
            raise broken(candidate, who, usage)
        choices.append(_choice(candidate, ids))
    return Answer(choices=tuple(choices), usage=usage)


def _choice(candidate: Candidate, ids: CallIds) -> Choice:
    said = read_candidate(candidate, ids)
    return Choice(
        text=said.text if said.text or not said.calls else None,
        reasoning=said.reasoning,
        tool_calls=tuple(
            ToolCall(call.id or "", FunctionCall(call.name or "", call.arguments), extra_content=call.extra_content)
            for call in said.calls
        ),
        logprobs=said.logprobs,
        finish_reason=finish_reason(candidate.finish_reason or "STOP", has_called=bool(said.calls)),
    )
