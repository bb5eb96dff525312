"""OpenAI's chat completions, the caller's side: requests to read and check, answers and streams to write."""

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import Raw

from muxer.errors import InvalidMessages, InvalidModel, InvalidRequest, InvalidTools, Unsupported
from muxer.inbound import Inbound
from muxer.parts import AudioPart, ImagePart
from muxer.sse import write_event
from muxer.types import Answer, ChatRequest, Choice, Chunk, ExtraContent, TokenLogprob, Tool, ToolCall, ToolCallDelta
from muxer.wire import openai_chat
from muxer.wire.bodies import check_image, decoded
from muxer.wire.openai_chat import decode_fields, encode, raw, usage_fields

DONE = b"data: [DONE]\n\n"
MAX_CHOICES = 8
# Far above what OpenAI takes (4, 128), and low enough that nobody's time is taken by counting (B33, B34).
MAX_STOPS, MAX_TOOLS, MAX_BIASES, MAX_SCHEMA_BYTES = 64, 1_024, 1_024, 500_000
MAX_METADATA, MAX_METADATA_KEY, MAX_METADATA_VALUE = 16, 64, 512

_decode = msgspec.json.Decoder(ChatRequest).decode
_BY_FIELD: dict[str, type[InvalidRequest]] = {
    "messages": InvalidMessages,
    "model": InvalidModel,
    "tools": InvalidTools,
}
# https://platform.openai.com/docs/api-reference/chat/create
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "n": (1, MAX_CHOICES),
    "top_logprobs": (0, 20),
    "max_tokens": (0, 10_000_000),
    "max_completion_tokens": (0, 10_000_000),
}
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def decode_request(body: bytes) -> ChatRequest:
    """Reads and checks a request body once. Raises a subclass of InvalidRequest that names the field."""
    request = decoded(_decode, body, _BY_FIELD)
    _check(request)
    _check_tools(request.tools or (), is_long=len(body) > MAX_SCHEMA_BYTES)
    return request


def patched(body: bytes, before: ChatRequest, after: ChatRequest) -> bytes:
    """The body of a request that was changed after it was read: fields nobody changed keep their bytes."""
    fields = decode_fields(body)
    for name in ChatRequest.__struct_fields__:
        value = getattr(after, name)
        if value is None or (name == "stream" and not value):
            fields.pop(name, None)
        elif value != getattr(before, name):
            fields[name] = raw(value)
    return encode(fields)


def _check(request: ChatRequest) -> None:
    if not request.messages:
        raise InvalidMessages("messages: must hold at least one message", param="messages")
    if request.model is not None and not 0 < len(request.model) <= 256:
        raise InvalidModel("model: must be a name of 1 to 256 characters, or be left out for `auto`", param="model")
    check_ranges(request)
    caps = (request.max_tokens, request.max_completion_tokens)
    if None not in caps and caps[0] != caps[1]:
        raise InvalidRequest("max_tokens and max_completion_tokens differ; send one", param="max_tokens")
    if "audio" in (request.modalities or ()):
        raise Unsupported("modalities: audio is not supported", param="modalities")
    _check_metadata(request.metadata or {})
    _check_messages(request)


def _check_tools(tools: Sequence[Tool], *, is_long: bool) -> None:
    """Only a long body can have a schema that is too long; none is looked into (B34)."""
    if len(tools) > MAX_TOOLS:
        raise InvalidTools(f"tools: must be at most {MAX_TOOLS}", param="tools")
    for index, tool in enumerate(tools):
        if is_long and tool.function and len(encode(tool.function.parameters)) > MAX_SCHEMA_BYTES:
            param = f"tools[{index}].function.parameters"
            raise InvalidTools(f"{param}: is longer than {MAX_SCHEMA_BYTES} bytes", param=param)
        if tool.type == "function" and (tool.function is None or not _TOOL_NAME.fullmatch(tool.function.name)):
            param = f"tools[{index}].function.name"
            raise InvalidTools(f"{param}: must be 1 to 64 letters, digits, _ or -", param=param)


def check_ranges(request: ChatRequest) -> None:
    """Raises InvalidRequest for a number that OpenAI's reference does not allow, and for lists beyond reason."""
    if isinstance(request.stop, tuple) and len(request.stop) > MAX_STOPS:
        raise InvalidRequest(f"stop: must be at most {MAX_STOPS} texts", param="stop")
    if len(request.logit_bias or ()) > MAX_BIASES:
        raise InvalidRequest(f"logit_bias: must have at most {MAX_BIASES} tokens", param="logit_bias")
    for name, (least, most) in _RANGES.items():
        value = getattr(request, name)
        if value is not None and not least <= value <= most:
            raise InvalidRequest(f"{name}: must be from {least} to {most}", param=name)


def _check_metadata(metadata: Mapping[str, str]) -> None:
    """OpenAI's own bounds (B37)."""
    if len(metadata) > MAX_METADATA:
        raise InvalidRequest(f"metadata: must have at most {MAX_METADATA} keys", param="metadata")
    for key, value in metadata.items():
        if len(key) > MAX_METADATA_KEY or len(value) > MAX_METADATA_VALUE:
            raise InvalidRequest(
                f"metadata: a key has at most {MAX_METADATA_KEY} characters, a value {MAX_METADATA_VALUE}",
                param="metadata",
            )


def _check_messages(request: ChatRequest) -> None:
    for index, message in enumerate(request.messages):
        here = f"messages[{index}]"
        if message.role == "tool" and not message.tool_call_id:
            raise InvalidMessages(f"{here}.tool_call_id: a tool message must say which call it answers", param=here)
        if message.content is None and message.role in ("system", "developer", "user", "tool"):
            param = f"{here}.content"
            raise InvalidMessages(f"{param}: a {message.role} message must have content", param=param)
        if isinstance(message.content, str) or message.content is None:
            continue
        for number, part in enumerate(message.content):
            param = f"{here}.content[{number}]"
            if isinstance(part, AudioPart):
                raise Unsupported(f"{param}: audio is not supported", param=param)
            if isinstance(part, ImagePart):
                check_image(part.image_url.url, f"{param}.image_url.url")


def encode_answer(answer: Answer, id: str, created: int, metadata: Mapping[str, object]) -> bytes:
    """The body of a whole answer: the upstream's bytes but for `model`, with `router_metadata` added."""
    if answer.raw:
        fields = decode_fields(answer.raw)
    else:
        fields = {
            "id": raw(f"chatcmpl-{id}"),
            "object": raw("chat.completion"),
            "created": raw(created),
            "choices": raw([_choice(index, choice) for index, choice in enumerate(answer.choices)]),
            "usage": raw(usage_fields(answer.usage) if answer.usage else None),
        }
    fields["model"] = raw(metadata["selected_model"])
    fields["router_metadata"] = raw(metadata)
    return encode(fields)


def _choice(index: int, choice: Choice) -> dict[str, object]:
    message: dict[str, object] = {"role": "assistant", "content": choice.text, "refusal": None}
    if choice.reasoning:
        message["reasoning_content"] = choice.reasoning
    if choice.tool_calls:
        message["tool_calls"] = [_tool_call(call) for call in choice.tool_calls]
    logprobs = _logprobs(choice.logprobs)
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": choice.finish_reason}


def _logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, object] | None:
    if not tokens:
        return None
    return {
        "content": [{**_logprob(token), "top_logprobs": [_logprob(one) for one in token.top]} for token in tokens],
        "refusal": None,
    }


def _logprob(token: TokenLogprob) -> dict[str, object]:
    return {"token": token.token, "logprob": token.logprob, "bytes": list(token.token.encode())}


def _tool_call(call: ToolCall) -> dict[str, object]:
    function = {"name": call.function.name, "arguments": call.function.arguments}
    return {"id": call.id, "type": "function", "function": function, **_extra(call.extra_content)}


def _extra(content: ExtraContent) -> dict[str, object]:
    return {"extra_content": content} if isinstance(content, dict) else {}


def passed_on(chunk: Chunk, model: Raw, metadata: Mapping[str, object], *, wants_usage: bool) -> bytes:
    """The JSON of an upstream's event as the caller gets it; empty for one that is there only because we asked."""
    fields = decode_fields(chunk.raw)
    if not wants_usage:
        # We asked for the usage; a caller who did not gets neither the extra chunk nor the extra member.
        fields.pop("usage", None)
        if chunk.usage is not None and bytes(fields.get("choices", b"")) == b"[]":
            return b""
    elif chunk.usage is not None:
        fields["router_metadata"] = raw(metadata)
    fields["model"] = model
    return encode(fields)


class StreamWriter:
    """Writes one stream: remembers which choices have begun, since a choice's first delta carries its role."""

    def __init__(self, id: str, created: int, model: str, *, wants_usage: bool) -> None:
        self._head = {"id": f"chatcmpl-{id}", "object": "chat.completion.chunk", "created": created, "model": model}
        self._model = raw(model)
        self._wants_usage = wants_usage
        self._begun: set[int] = set()

    def write(self, chunk: Chunk, metadata: Mapping[str, object]) -> bytes:
        """The events of one chunk as bytes, possibly none; `metadata` is put into the usage chunk."""
        return b"".join(map(write_event, self.events(chunk, metadata)))

    def events(self, chunk: Chunk, metadata: Mapping[str, object]) -> Iterator[bytes]:
        """The same as JSON objects."""
        if not chunk.raw:
            yield from map(encode, self._events(chunk, metadata))
            return
        event = passed_on(chunk, self._model, metadata, wants_usage=self._wants_usage)
        if event:
            yield event

    def end(self) -> bytes:
        """`[DONE]`."""
        return DONE

    def error(self, error: Mapping[str, object]) -> bytes:
        """The event that ends a stream which failed; no `[DONE]` follows it."""
        return write_event(encode({"error": error}))

    def _events(self, chunk: Chunk, metadata: Mapping[str, object]) -> Iterator[dict[str, object]]:
        delta: dict[str, object] = {}
        if chunk.index not in self._begun:
            self._begun.add(chunk.index)
            delta["role"] = "assistant"
        if chunk.text:
            delta["content"] = chunk.text
        if chunk.reasoning:
            delta["reasoning_content"] = chunk.reasoning
        if chunk.tool_calls:
            delta["tool_calls"] = [_tool_delta(call) for call in chunk.tool_calls]
        only_usage = chunk.usage is not None and chunk.finish_reason is None and not delta.keys() - {"role"}
        if not only_usage:
            choice = {
                "index": chunk.index,
                "delta": delta,
                "logprobs": _logprobs(chunk.logprobs),
                "finish_reason": chunk.finish_reason,
            }
            yield {**self._head, "choices": [choice], **({"usage": None} if self._wants_usage else {})}
        if chunk.usage is not None and self._wants_usage:
            yield {**self._head, "choices": [], "usage": usage_fields(chunk.usage), "router_metadata": metadata}


def _tool_delta(call: ToolCallDelta) -> dict[str, object]:
    function = {"arguments": call.arguments, **({"name": call.name} if call.name else {})}
    head = {"id": call.id, "type": "function"} if call.id else {}
    return {"index": call.index, **head, "function": function, **_extra(call.extra_content)}


class Chat:
    """See InboundFormat."""

    api = openai_chat.API

    def read(self, body: bytes) -> Inbound:
        """See InboundFormat."""
        return Inbound(api=self.api, raw=body, request=decode_request(body))

    def answer(self, answer: Answer, id: str, created: int, metadata: Mapping[str, object], inbound: Inbound) -> bytes:
        """See InboundFormat."""
        return encode_answer(answer, id, created, metadata)

    def stream(self, id: str, created: int, model: str, inbound: Inbound) -> StreamWriter:
        """See InboundFormat."""
        return StreamWriter(id, created, model, wants_usage=inbound.request.wants_usage)

    def error(self, error: Mapping[str, object], request_id: str) -> bytes:
        """See InboundFormat."""
        return encode({"error": error})


CHAT = Chat()
