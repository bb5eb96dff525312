"""The JSON of the vendors a scripted upstream speaks for: OpenAI's chat completions, completions and embeddings,
Mistral's chat, Anthropic's messages, Gemini's generateContent."""

from collections.abc import Iterator, Mapping, Sequence
from math import log

from msgspec import json
from msgspec.structs import replace

from muxer import ToolCall, Usage
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
        logprobs = _logprobs(spoken.words, spoken.probabilities)
        choices = [
            {"index": index, "message": message, "finish_reason": spoken.finish_reason, "logprobs": logprobs}
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
        likely = dict(enumerate(spoken.probabilities, start=1))  # after the event of the role
        for number, (delta, finish) in enumerate([*ends, ({}, spoken.finish_reason)]):
            told = {"logprobs": _logprobs([str(delta.get("content"))], [likely[number]])} if number in likely else {}
            for index in range(asked.choices):
                choice = {"index": index, "delta": delta, "finish_reason": finish, **told}
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


def _logprobs(words: Sequence[str], probabilities: Sequence[float]) -> dict[str, object] | None:
    if not probabilities:
        return None
    pairs = zip(words, probabilities, strict=False)
    return {
        "content": [{"token": word, "logprob": log(p), "bytes": None, "top_logprobs": []} for word, p in pairs],
        "refusal": None,
    }


class MistralChat:
    """`POST /mistral/v1/chat/completions`: OpenAI's, but that a stream always ends with its usage."""

    def answer(self, asked: Asked, spoken: Spoken) -> Act:
        """The answer, whole or streamed."""
        options = {"stream_options": {"include_usage": True}}
        return OpenAIChat().answer(replace(asked, body={**asked.body, **options}), spoken)

    def error(self, status: int, message: str) -> bytes:
        """Mistral's error object."""
        return json.encode({"object": "error", "message": message, "type": "invalid_request_error", "code": None})


class OpenAICompletions:
    """`POST /v1/completions` with prompts, `n` and streams; each prompt has `n` answers."""

    def heard(self, path: str, body: dict[str, object]) -> dict[str, object]:
        """See Hears."""
        inputs = _inputs(body.get("prompt"))
        n = body.get("n")
        answers = len(inputs) * (n if isinstance(n, int) else 1)
        return {**body, "n": answers, "messages": [{"content": text} for text in inputs]}

    def answer(self, asked: Asked, spoken: Spoken) -> Act:
        """The answer, whole or streamed."""
        if asked.is_stream:
            return _act(asked, spoken, tuple(self._events(asked, spoken)))
        choices = [_text(index, spoken.text, spoken.finish_reason) for index in range(asked.choices)]
        body = {**self._frame(asked), "choices": choices}
        if spoken.reports_usage:
            body["usage"] = _counted(spoken.usage)
        return _act(asked, spoken, (json.encode(body),))

    def error(self, status: int, message: str) -> bytes:
        """OpenAI's error object."""
        return OpenAIChat().error(status, message)

    def _events(self, asked: Asked, spoken: Spoken) -> Iterator[bytes]:
        said: list[tuple[str, str | None]] = [(word, None) for word in spoken.words]
        for text, finish in [*said, ("", spoken.finish_reason)]:
            for index in range(asked.choices):
                yield _event({**self._frame(asked), "choices": [_text(index, text, finish)]})
        if asked.wants_usage and spoken.reports_usage:
            yield _event({**self._frame(asked), "choices": [], "usage": _counted(spoken.usage)})
        yield b"data: [DONE]\n\n"

    def _frame(self, asked: Asked) -> dict[str, object]:
        return {"id": f"cmpl-{asked.number}", "object": "text_completion", "created": CREATED, "model": asked.model}


class OpenAIEmbeddings:
    """`POST /v1/embeddings`: a vector an input, whose first number is the place of the input. Only input is billed."""

    def heard(self, path: str, body: dict[str, object]) -> dict[str, object]:
        """See Hears."""
        texts = [{"content": text} for text in _inputs(body.get("input"))]
        return {"model": body.get("model"), "messages": texts, "max_tokens": 0}

    def answer(self, asked: Asked, spoken: Spoken) -> Act:
        """The vectors."""
        places = range(len(_inputs(asked.body.get("input"))))
        data = [{"object": "embedding", "index": place, "embedding": [float(place), 0.5]} for place in places]
        body: dict[str, object] = {"object": "list", "data": data, "model": asked.model}
        if spoken.reports_usage:
            tokens = spoken.usage.input_tokens
            body["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        return _act(asked, spoken, (json.encode(body),))

    def error(self, status: int, message: str) -> bytes:
        """OpenAI's error object."""
        return OpenAIChat().error(status, message)


def _inputs(value: object) -> list[str]:
    """The inputs as texts; a token is one of four letters, which is what this upstream counts for it."""
    if isinstance(value, str):
        return [value]
    items = value if isinstance(value, list) else []
    if items and all(isinstance(item, int) for item in items):
        return ["four" * len(items)]
    return [item if isinstance(item, str) else "".join(_inputs(item)) for item in items]


def _text(index: int, text: str, finish: str | None) -> dict[str, object]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def _counted(usage: Usage) -> dict[str, object]:
    total = usage.input_tokens + usage.output_tokens
    return {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens, "total_tokens": total}


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


class GeminiContent:
    """`POST /v1beta/models/MODEL:generateContent` and `:streamGenerateContent`, with candidates and tools. Zeros are
    left out of the usage, which each event of a stream repeats as it grows, as the vendor does."""

    _FINISH_REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}  # noqa: RUF012
    _STATUSES = {  # noqa: RUF012
        400: "INVALID_ARGUMENT",
        401: "UNAUTHENTICATED",
        403: "PERMISSION_DENIED",
        404: "NOT_FOUND",
        429: "RESOURCE_EXHAUSTED",
        503: "UNAVAILABLE",
        504: "DEADLINE_EXCEEDED",
    }

    def heard(self, path: str, body: dict[str, object]) -> dict[str, object]:
        """See Hears. The model and the kind of answer are in the path."""
        model, _, method = path.rpartition("/")[2].partition(":")
        config = body.get("generationConfig")
        config = config if isinstance(config, dict) else {}
        contents = body.get("contents")
        return {
            "model": model if method in ("generateContent", "streamGenerateContent", "batchEmbedContents") else "",
            "stream": method == "streamGenerateContent",
            "n": config.get("candidateCount"),
            "max_tokens": config.get("maxOutputTokens"),
            "system": _parts(body.get("systemInstruction")),
            "messages": [{"content": _parts(one)} for one in contents] if isinstance(contents, list) else [],
        }

    def answer(self, asked: Asked, spoken: Spoken) -> Act:
        """The answer, whole or streamed."""
        if asked.is_stream:
            return _act(asked, spoken, tuple(self._events(asked, spoken)))
        parts: list[dict[str, object]] = [{"text": spoken.text}] if spoken.words else []
        parts += map(_function_call, spoken.tool_calls)
        body = self._response(asked, parts, self._reason(spoken))
        if spoken.reports_usage:
            body["usageMetadata"] = _usage_metadata(spoken.usage)
        return _act(asked, spoken, (json.format(json.encode(body)),))

    def error(self, status: int, message: str) -> bytes:
        """Google's error object."""
        name = self._STATUSES.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")
        return json.encode({"error": {"code": status, "message": message, "status": name}})

    def _events(self, asked: Asked, spoken: Spoken) -> Iterator[bytes]:
        pieces: list[dict[str, object]] = [{"text": word} for word in spoken.words]
        pieces += map(_function_call, spoken.tool_calls)
        pieces = pieces or [{"text": ""}]
        for number, piece in enumerate(pieces, start=1):
            is_last = number >= len(pieces)
            event = self._response(asked, [piece], self._reason(spoken) if is_last else None)
            if spoken.reports_usage:
                so_far = replace(spoken.usage, output_tokens=min(number, spoken.usage.output_tokens))
                event["usageMetadata"] = _usage_metadata(spoken.usage if is_last else so_far)
            yield _event(event)

    def _response(self, asked: Asked, parts: list[dict[str, object]], reason: str | None) -> dict[str, object]:
        candidate = {"content": {"parts": parts, "role": "model"}, "finishReason": reason}
        if reason is None:
            del candidate["finishReason"]
        # Google leaves out what is zero.
        candidates = [{**candidate, **({"index": index} if index else {})} for index in range(asked.choices)]
        return {"candidates": candidates, "modelVersion": asked.model, "responseId": f"response-{asked.number}"}

    def _reason(self, spoken: Spoken) -> str:
        return self._FINISH_REASONS.get(spoken.finish_reason, spoken.finish_reason)


def _parts(content: object) -> object:
    return content.get("parts") if isinstance(content, dict) else None


def _function_call(call: ToolCall) -> dict[str, object]:
    made = {"id": call.id, "name": call.function.name, "args": json.decode(_arguments(call))}
    return {"functionCall": made, "thoughtSignature": "c2lnbmVk"}


def _usage_metadata(usage: Usage) -> dict[str, object]:
    counts = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
        "cachedContentTokenCount": usage.cached_input_tokens,
        "thoughtsTokenCount": usage.reasoning_tokens,
    }
    return {name: count for name, count in counts.items() if count}


FORMATS: Mapping[str, Format] = {
    "/v1/chat/completions": OpenAIChat(),
    "/mistral/v1/chat/completions": MistralChat(),
    "/v1/completions": OpenAICompletions(),
    "/v1/embeddings": OpenAIEmbeddings(),
    "/v1/messages": AnthropicMessages(),
    "/v1beta/models/*": GeminiContent(),
}
"""The paths a scripted upstream serves by itself."""
