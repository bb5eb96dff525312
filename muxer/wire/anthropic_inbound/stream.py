"""Streamed answers as the events of the Messages API."""

from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Struct

from muxer.failures import UpstreamBadResponse
from muxer.sse import write_event
from muxer.types import Chunk, ToolCallDelta, Usage
from muxer.wire.anthropic_inbound.answer import call_id, encode_error, head, stop_reason, usage_fields
from muxer.wire.carried import packed
from muxer.wire.openai_chat import decode_fields, encode, raw

_STOP = "message_stop"


class _Head(Struct):
    type: str


_decode_head = msgspec.json.Decoder(_Head).decode


def _event(name: str, /, **fields: object) -> bytes:
    return write_event(encode({"type": name, **fields}), name)


class EventWriter:
    """Writes one stream: Anthropic's own events with our model's name, or its events out of canonical chunks.

    What ends a message is written by `end`: until then its usage may still come, and the record is not complete.
    """

    def __init__(self, id: str, model: str) -> None:
        self._id = id
        self._model = model
        self._has_begun = False
        self._index = -1
        self._open = ""
        self._tool: int | None = None
        self._tools: set[int] = set()
        self._finish_reason = "stop"
        self._usage = Usage()
        self._metadata: Mapping[str, object] = {}
        self._is_raw = False

    def write(self, chunk: Chunk, metadata: Mapping[str, object]) -> bytes:
        """See StreamWriter."""
        self._metadata = metadata or self._metadata
        return self._passed(chunk.raw, metadata) if chunk.raw else b"".join(self._events(chunk))

    def end(self) -> bytes:
        """See StreamWriter."""
        if self._is_raw:
            return _event(_STOP)
        return b"".join((*self._begin(), *self._close(), *self._finish()))

    def error(self, error: Mapping[str, object]) -> bytes:
        """See StreamWriter."""
        return write_event(encode_error(error, self._id), "error")

    def _passed(self, data: bytes, metadata: Mapping[str, object]) -> bytes:
        self._is_raw = True
        name = _decode_head(data).type
        if name == _STOP:
            return b""
        if name == "message_start":
            fields = decode_fields(data)
            fields["message"] = raw({**decode_fields(fields["message"]), "model": self._model})
            data = encode(fields)
        elif metadata:
            data = encode({**decode_fields(data), "router_metadata": metadata})
        return write_event(data, name)

    def _events(self, chunk: Chunk) -> Iterator[bytes]:
        yield from self._begin()
        if chunk.reasoning:
            yield from self._enter("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            yield self._delta(type="thinking_delta", thinking=chunk.reasoning)
        if chunk.text:
            yield from self._enter("text", {"type": "text", "text": ""})
            yield self._delta(type="text_delta", text=chunk.text)
        for call in chunk.tool_calls:
            yield from self._call(call)
        self._finish_reason = chunk.finish_reason or self._finish_reason
        self._usage = chunk.usage or self._usage

    def _call(self, call: ToolCallDelta) -> Iterator[bytes]:
        if call.index != self._tool or self._open != "tool_use":
            if call.index in self._tools:
                raise UpstreamBadResponse("the upstream went back to a tool call after it had begun the next")
            id = call_id(call.id or "", call.index)
            signature = packed(id, call.extra_content)
            if signature:
                yield from self._enter("thinking", {"type": "thinking", "thinking": "", "signature": ""})
                yield self._delta(type="signature_delta", signature=signature)
            yield from self._close()
            self._tool = call.index
            self._tools.add(call.index)
            block = {"type": "tool_use", "id": id, "name": call.name or "", "input": {}}
            yield from self._enter("tool_use", block)
        if call.arguments:
            yield self._delta(type="input_json_delta", partial_json=call.arguments)

    def _begin(self) -> Iterator[bytes]:
        if not self._has_begun:
            self._has_begun = True
            # What the prompt counts is known at the end only, where every reader takes it from.
            yield _event("message_start", message={**head(self._id, self._model), "usage": usage_fields(Usage())})
            yield _event("ping")

    def _enter(self, kind: str, block: Mapping[str, object]) -> Iterator[bytes]:
        if kind == self._open:
            return
        yield from self._close()
        self._open = kind
        self._index += 1
        yield _event("content_block_start", index=self._index, content_block=block)

    def _delta(self, **delta: str) -> bytes:
        return _event("content_block_delta", index=self._index, delta=delta)

    def _close(self) -> Iterator[bytes]:
        if self._open:
            self._open = ""
            yield _event("content_block_stop", index=self._index)

    def _finish(self) -> Iterator[bytes]:
        reason = stop_reason(self._finish_reason, calls=bool(self._tools))
        ours = {"router_metadata": self._metadata} if self._metadata else {}
        delta = {"stop_reason": reason, "stop_sequence": None}
        yield _event("message_delta", delta=delta, usage=usage_fields(self._usage), **ours)
        yield _event(_STOP)
