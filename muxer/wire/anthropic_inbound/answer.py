"""Whole answers and errors as the Messages API writes them."""

from collections.abc import Iterator, Mapping

from msgspec import Raw

from muxer.types import Answer, Choice, Usage
from muxer.wire.anthropic_messages.conversation import tool_id, tool_input
from muxer.wire.carried import packed
from muxer.wire.openai_chat import decode_fields, encode, raw

STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
# https://platform.claude.com/docs/en/api/errors
_ERROR_TYPES = {
    "invalid_api_key": "authentication_error",
    "key_disabled": "authentication_error",
    "permission_denied": "permission_error",
    "not_found": "not_found_error",
    "model_not_found": "not_found_error",
    "body_too_large": "request_too_large",
    "budget_exceeded": "billing_error",
    "rate_limit_exceeded": "rate_limit_error",
    "concurrency_limit_exceeded": "rate_limit_error",
    "upstream_rate_limited": "rate_limit_error",
    "upstream_timeout": "timeout_error",
    "no_candidate": "overloaded_error",
    "overloaded": "overloaded_error",
}


def encode_answer(answer: Answer, id: str, metadata: Mapping[str, object]) -> bytes:
    """The message: Anthropic's bytes but for `model`, or written anew, with `router_metadata` added."""
    fields = decode_fields(answer.raw) if answer.raw else _message(answer, id)
    fields["model"] = raw(metadata["selected_model"])
    fields["router_metadata"] = raw(metadata)
    return encode(fields)


def _message(answer: Answer, id: str) -> dict[str, Raw]:
    choice = answer.choices[0]
    message = {
        **head(id, ""),
        "content": list(_blocks(choice)),
        "stop_reason": stop_reason(choice.finish_reason, calls=bool(choice.tool_calls)),
        "usage": usage_fields(answer.usage or Usage()),
    }
    return {name: raw(value) for name, value in message.items()}


def head(id: str, model: str) -> dict[str, object]:
    """A message that has yet to be written."""
    return {
        "id": f"msg_{id.removeprefix('req_')}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def stop_reason(finish_reason: str, *, calls: bool) -> str:
    """Anthropic's word for why an answer ended. Some servers say `stop` beside a tool call."""
    if calls and finish_reason == "stop":
        return "tool_use"
    return STOP_REASONS.get(finish_reason, "end_turn")


def usage_fields(usage: Usage) -> dict[str, object]:
    """Our usage as Anthropic's, whose `input_tokens` leave out what the cache gave or took."""
    fields: dict[str, object] = {
        "input_tokens": usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_input_tokens,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning_tokens:
        fields["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return fields


def _blocks(choice: Choice) -> Iterator[dict[str, object]]:
    if choice.reasoning:
        yield {"type": "thinking", "thinking": choice.reasoning, "signature": ""}
    if choice.text:
        yield {"type": "text", "text": choice.text}
    for number, call in enumerate(choice.tool_calls):
        id = call_id(call.id, number)
        signature = packed(id, call.extra_content)
        if signature:
            yield {"type": "thinking", "thinking": "", "signature": signature}
        yield {"type": "tool_use", "id": id, "name": call.function.name, "input": tool_input(call.function)}


def call_id(id: str, number: int) -> str:
    """An id of a tool call as Anthropic takes it back."""
    return tool_id(id) if id else f"toolu_{number}"


def error_fields(error: Mapping[str, object]) -> dict[str, object]:
    """OpenAI's error object as Anthropic's, with what that has beside it."""
    code = str(error["code"])
    default = "invalid_request_error" if error["type"] == "invalid_request_error" else "api_error"
    return {**error, "type": _ERROR_TYPES.get(code, default)}


def encode_error(error: Mapping[str, object], request_id: str) -> bytes:
    """The body of an error, which is also the data of the event that ends a stream."""
    return encode({"type": "error", "error": error_fields(error), "request_id": request_id or None})
