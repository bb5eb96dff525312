"""Anthropic's answers: a whole message, its usage, and the failures it reports under a 200."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Generic, TypeVar, get_args

import msgspec
from msgspec import Meta, Raw, Struct

from muxer.failures import (
    ProviderFailed,
    UpstreamAuth,
    UpstreamBadResponse,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
)
from muxer.types import Answer, Choice, FunctionCall, ToolCall, Usage
from muxer.wire.anthropic_messages.blocks import RedactedThinkingBlock, TextBlock, ThinkingBlock, Thought, ToolUseBlock
from muxer.wire.anthropic_messages.thoughts import carried

T = TypeVar("T")


class TaggedReader(Generic[T]):
    """Reads one of several structs told apart by `type`; another type is None, since Anthropic adds types at will."""

    def __init__(self, union: object) -> None:
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(union)
        self._known = frozenset(struct.__struct_config__.tag for struct in get_args(union))

    def read(self, data: bytes | Raw, who: str) -> T | None:
        """The struct, or None. Raises UpstreamBadResponse."""
        try:
            return self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if _type_of(data) not in {None, *self._known}:
                return None
            raise bad_response(who, error) from error


class _Head(Struct):
    type: str


_decode_head = msgspec.json.Decoder(_Head).decode


def _type_of(data: bytes | Raw) -> str | None:
    try:
        return _decode_head(data).type
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def bad_response(who: str, error: Exception) -> UpstreamBadResponse:
    """The failure to raise for data that is not what the Messages API promises."""
    return UpstreamBadResponse(f"{who} did not answer in the Messages API's format: {error}")


Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]


class OutputDetails(Struct, frozen=True):
    """What the output tokens were spent on."""

    thinking_tokens: Count | None = None


class UsageFields(Struct, frozen=True):
    """Anthropic's usage. In a stream it comes in parts, each cumulative, which may leave out what did not change."""

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    output_tokens_details: OutputDetails | None = None

    def over(self, earlier: "UsageFields") -> "UsageFields":
        """These fields, with what they leave out taken from an earlier report."""
        pairs = ((getattr(self, name), getattr(earlier, name)) for name in self.__struct_fields__)
        return UsageFields(*(old if new is None else new for new, old in pairs))

    @property
    def usage(self) -> Usage | None:
        """The usage as ours; None when it lacks the input or the output."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        cached, written = self.cache_read_input_tokens or 0, self.cache_creation_input_tokens or 0
        details = self.output_tokens_details
        return Usage(
            # Anthropic leaves cached tokens out of input_tokens; ours counts all.
            input_tokens=self.input_tokens + cached + written,
            output_tokens=self.output_tokens,
            cached_input_tokens=cached,
            cache_write_tokens=written,
            reasoning_tokens=(details.thinking_tokens or 0) if details else 0,
        )


NO_USAGE = Raw(b"null")

_usage_decoder: msgspec.json.Decoder[UsageFields | None] = msgspec.json.Decoder(UsageFields | None)


def read_usage_fields(data: Raw) -> UsageFields | None:
    """The usage object; None when it is null or out of range (B57)."""
    try:
        return _usage_decoder.decode(data)
    except msgspec.ValidationError:
        return None


def read_usage(data: Raw) -> Usage | None:
    """A whole answer's usage as ours; None when it is null, incomplete or out of range (B57)."""
    fields = read_usage_fields(data)
    return None if fields is None else fields.usage


FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}

AnswerBlock = TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock
ANSWER_BLOCKS: TaggedReader[AnswerBlock] = TaggedReader(AnswerBlock)


class _Message(Struct):
    content: list[Raw]
    stop_reason: str | None = None
    usage: Raw = NO_USAGE


_decode_message = msgspec.json.Decoder(_Message).decode


def read_answer(data: bytes, who: str, *, model: str = "", keep_raw: bool = False) -> Answer:
    """A whole answer, with its bytes if they are to be passed through; `model` is who was asked. Raises
    UpstreamBadResponse."""
    try:
        message = _decode_message(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_response(who, error) from error
    found = [ANSWER_BLOCKS.read(block, who) for block in message.content]
    texts = [block.text for block in found if isinstance(block, TextBlock)]
    choice = Choice(
        text="".join(texts) if texts else None,
        reasoning="".join(block.thinking for block in found if isinstance(block, ThinkingBlock)),
        tool_calls=tuple(_calls(found, model)),
        finish_reason=FINISH_REASONS.get(message.stop_reason or "", "stop"),
    )
    return Answer(choices=(choice,), usage=read_usage(message.usage), raw=data if keep_raw else b"")


def _calls(found: Sequence[AnswerBlock | None], model: str) -> Iterator[ToolCall]:
    thoughts: list[Thought] = []
    for block in found:
        if isinstance(block, Thought):
            thoughts.append(block)
        elif isinstance(block, ToolUseBlock):
            function = FunctionCall(block.name, bytes(block.input).decode())
            yield ToolCall(block.id, function, extra_content=carried(thoughts, model))
            thoughts = []


_FAILURES: dict[str, type[ProviderFailed]] = {
    "authentication_error": UpstreamAuth,
    "permission_error": UpstreamAuth,
    "billing_error": UpstreamAuth,
    "rate_limit_error": UpstreamRateLimited,
    "timeout_error": UpstreamTimeout,
    "invalid_request_error": UpstreamRefused,
    "not_found_error": UpstreamRefused,
    "request_too_large": UpstreamRefused,
}


def failure(type: str, message: str, who: str) -> ProviderFailed:
    """The failure that an error event means; types not known here are faults of the upstream (`overloaded_error`)."""
    kind = _FAILURES.get(type, UpstreamError)
    if kind is UpstreamAuth:
        # The upstream's own words may quote our key (B51).
        return UpstreamAuth(f"{who} reported {type}: check the provider's api_key and account")
    return kind(f"{who} reported {type or 'an error'}: {message[:500]}")
