"""The JSON of the vendors a scripted upstream speaks for: OpenAI's chat completions, Anthropic's messages."""

from collections.abc import Iterator, Mapping

from msgspec import json

from muxer import ToolCall
from muxer.testing.behaviours import EVENT_STREAM
from muxer.testing.calls import Act, Asked, Format, Spoken, Step

CREATED = 1_790_000_000


def _act(asked: Asked, spoken: Spoken, body: tuple[Step, ...]) -> Act:
    headers = {"x-request-id": f"req-{asked.number}"}
    if asked.is_stream:
        return Act(headers={**headers, **EVENT_STREAM}, body=body, billed=spoken.usage)
    size = str(sum(len(step) for step in body if isinstance(step, bytes)))
    headers |= {"Content-Type": "application/json", "Content-Length": size}
    return Act(headers=headers, body=body, billed=spoken.usage)


class OpenAIChat:
    """`POST /v1/chat/completions` with `n`, tools, streams, and the usage chunk where it is asked for."""

    def answer(self, asked: Asked, spoken: Spoken) -> Act:
        """The answer, whole or streamed."""
        if asked.is_stream:
            return _act(asked, spoken, tuple(self._events(asked, spoken)))
        message: dict[str, object] = {"role": "assistant", "content": spoken.text, "refusal": None}
        if spoken.tool_calls:
            message |= {"tool_calls": spoken.tool_calls, "content": spoken.text or None}
        choices = [
            {"index": index, "message": message, "finish_reason": spoken.finish_reason, "logprobs": None}
            for index in range(asked.choices)
        ]
        body = {**self._frame(asked, "chat.completion"), "choices": choices}
        if spoken.reports_usage:
            body["usage"] = self._usage(spoken)
        return _act(asked, spoken, (json.encode(body),))

    def error(self, status: int, message: str) -> bytes:
        """OpenAI's error object."""
        kind = "invalid_request_error" if status < 500 else "server_error"
        return json.encode({"error": {"message": message, "type": kind, "param": None, "code": None}})

    def _events(self, asked: Asked, spoken: Spoken) -> Iterator[bytes]:
        frame = self._frame(asked, "chat.completion.chunk")
        with_usage = asked.wants_usage and spoken.reports_usage
        if with_usage:
            frame["usage"] = None
        deltas: list[dict[str, object]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": word} for word in spoken.words]
        for index, call in enumerate(spoken.tool_calls):
            deltas += [{"tool_calls": [{"index": index, **piece}]} for piece in _call_pieces(call)]
        ends: list[tuple[Mapping[str, object], str | None]] = [(delta, None) for delta in deltas]
        for delta, finish in [*ends, ({}, spoken.finish_reason)]:
            for index in range(asked.choices):
                choice = {"index": index, "delta": delta, "finish_reason": finish}
                yield _event({**frame, "choices": [choice]})
        if with_usage:
            yield _event({**frame, "choices": [], "usage": self._usage(spoken)})
        yield b"data: [DONE]\n\n"

    def _frame(self, asked: Asked, kind: str) -> dict[str, object]:
        return {"id": f"chatcmpl-{asked.number}", "object": kind, "created": CREATED, "model": asked.model}

    def _usage(self, spoken: Spoken) -> dict[str, object]:
        usage = spoken.usage
        return {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        }


def _call_pieces(call: ToolCall) -> Iterator[dict[str, object]]:
    """A call as OpenAI streams it: first its name, then its arguments in two halves."""
    arguments = call.function.arguments
    yield {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": ""}}
    for half in (arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :]):
        yield {"function": {"arguments": half}}


def _event(data: dict[str, object]) -> bytes:
    return b"data: " + json.encode(data) + b"\n\n"


class AnthropicMessages:
    """`POST /v1/messages` with tools and streams. Cached tokens are left out of `input_tokens`, as the vendor does."""

    _STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}  # noqa: RUF012

    def answer(self, asked: Asked, spoken: Spoken) -> Act:
        """The answer, whole or streamed."""
        if asked.is_stream:
            return _act(asked, spoken, tuple(self._events(asked, spoken)))
        content: list[dict[str, object]] = [{"type": "text", "text": spoken.text}] if spoken.words else []
        content += [{**self._tool(call), "input": json.decode(_arguments(call))} for call in spoken.tool_calls]
        body = {**self._message(asked), "content": content, "stop_reason": self._stop_reason(spoken)}
        if spoken.reports_usage:
            body["usage"] = self._usage(spoken)
        return _act(asked, spoken, (json.encode(body),))

    def error(self, status: int, message: str) -> bytes:
        """Anthropic's error object."""
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 529: "overloaded_error"}
        kind = kinds.get(status, "invalid_request_error" if status < 500 else "api_error")
        return json.encode({"type": "error", "error": {"type": kind, "message": message}})

    def _events(self, asked: Asked, spoken: Spoken) -> Iterator[bytes]:
        message = {**self._message(asked), "content": [], "stop_reason": None}
        last: dict[str, object] = {"delta": {"stop_reason": self._stop_reason(spoken), "stop_sequence": None}}
        if spoken.reports_usage:
            message["usage"] = {**self._usage(spoken), "output_tokens": 1}
            last["usage"] = {"output_tokens": spoken.usage.output_tokens}
        yield self._named("message_start", {"message": message})
        yield self._named("ping", {})
        if spoken.words:
            deltas = [{"type": "text_delta", "text": word} for word in spoken.words]
            yield from self._block(0, {"type": "text", "text": ""}, deltas)
        for index, call in enumerate(spoken.tool_calls, start=1 if spoken.words else 0):
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in ("", _arguments(call))]
            yield from self._block(index, {**self._tool(call), "input": {}}, deltas)
        yield self._named("message_delta", last)
        yield self._named("message_stop", {})

    def _block(self, index: int, start: Mapping[str, object], deltas: list[dict[str, str]]) -> Iterator[bytes]:
        yield self._named("content_block_start", {"index": index, "content_block": start})
        for delta in deltas:
            yield self._named("content_block_delta", {"index": index, "delta": delta})
        yield self._named("content_block_stop", {"index": index})

    def _named(self, name: str, data: Mapping[str, object]) -> bytes:
        return b"event: " + name.encode() + b"\n" + _event({"type": name, **data})

    def _message(self, asked: Asked) -> dict[str, object]:
        number, model = asked.number, asked.model
        return {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": model, "stop_sequence": None}

    def _tool(self, call: ToolCall) -> dict[str, object]:
        return {"type": "tool_use", "id": call.id, "name": call.function.name}

    def _stop_reason(self, spoken: Spoken) -> str:
        return self._STOP_REASONS.get(spoken.finish_reason, spoken.finish_reason)

    def _usage(self, spoken: Spoken) -> dict[str, object]:
        usage = spoken.usage
        return {
            "input_tokens": usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens,
            "cache_creation_input_tokens": usage.cache_write_tokens,
            "cache_read_input_tokens": usage.cached_input_tokens,
            "output_tokens": usage.output_tokens,
        }


def _arguments(call: ToolCall) -> str:
    return call.function.arguments or "{}"


FORMATS: Mapping[str, Format] = {"/v1/chat/completions": OpenAIChat(), "/v1/messages": AnthropicMessages()}
"""The paths a scripted upstream serves by itself."""
