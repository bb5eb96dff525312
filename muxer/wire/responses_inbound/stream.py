"""Streamed answers as the events of the Responses API."""

from collections.abc import Iterator, Mapping

from msgspec import Struct

from muxer.failures import UpstreamBadResponse
from muxer.sse import write_event
from muxer.types import Chunk, TokenLogprob, ToolCallDelta, Usage
from muxer.wire.carried import packed
from muxer.wire.openai_chat import encode
from muxer.wire.responses_inbound.answer import Writer, logprob_fields, text_part


class _Open(Struct):
    """The item that is being written: a message, a function_call, or reasoning."""

    kind: str
    id: str
    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    call: int = 0
    call_id: str = ""
    name: str = ""


class EventWriter:
    """Writes one stream. What ends a response is written by `end`, since its usage comes last."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._sequence = 0
        self._has_begun = False
        self._open: _Open | None = None
        self._output: list[dict[str, object]] = []
        self._calls: set[int] = set()
        self._finish_reason = "stop"
        self._usage: Usage | None = None
        self._metadata: Mapping[str, object] = {}

    def write(self, chunk: Chunk, metadata: Mapping[str, object]) -> bytes:
        """See StreamWriter."""
        self._metadata = metadata or self._metadata
        return b"".join(self._events(chunk))

    def end(self) -> bytes:
        """See StreamWriter."""
        before = b"".join((*self._begin(), *self._close()))
        response = self._writer.ended(self._finish_reason, self._output, self._usage, self._metadata)
        return before + self._event(f"response.{response['status']}", response=response)

    def error(self, error: Mapping[str, object]) -> bytes:
        """See StreamWriter."""
        before = b"".join(self._begin())
        return before + self._event("response.failed", response=self._writer.failed(error, self._output))

    def _event(self, name: str, /, **fields: object) -> bytes:
        number = self._sequence
        self._sequence += 1
        return write_event(encode({"type": name, "sequence_number": number, **fields}), name)

    def _begin(self) -> Iterator[bytes]:
        if not self._has_begun:
            self._has_begun = True
            response = self._writer.response("in_progress")
            yield self._event("response.created", response=response)
            yield self._event("response.in_progress", response=response)

    def _events(self, chunk: Chunk) -> Iterator[bytes]:
        yield from self._begin()
        if chunk.reasoning:
            yield from self._think(chunk.reasoning)
        if chunk.text:
            yield from self._say(chunk)
        for call in chunk.tool_calls:
            yield from self._call(call)
        self._finish_reason = chunk.finish_reason or self._finish_reason
        self._usage = chunk.usage or self._usage

    def _enter(self, open: _Open, item: Mapping[str, object]) -> bytes:
        self._open = open
        return self._event("response.output_item.added", output_index=len(self._output), item=item)

    def _of(self, open: _Open, **place: int) -> dict[str, object]:
        """Where an event belongs."""
        return {"item_id": open.id, "output_index": len(self._output), **place}

    def _think(self, text: str) -> Iterator[bytes]:
        open = self._open
        if open is None or open.kind != "reasoning":
            yield from self._close()
            number = len(self._output)
            open = _Open("reasoning", self._writer.item_id("rs", number))
            yield self._enter(open, self._writer.reasoning(number, ""))
            part = {"type": "summary_text", "text": ""}
            yield self._event("response.reasoning_summary_part.added", **self._of(open, summary_index=0), part=part)
        open.text += text
        yield self._event("response.reasoning_summary_text.delta", **self._of(open, summary_index=0), delta=text)

    def _say(self, chunk: Chunk) -> Iterator[bytes]:
        open = self._open
        if open is None or open.kind != "message":
            yield from self._close()
            number = len(self._output)
            open = _Open("message", self._writer.item_id("msg", number))
            yield self._enter(open, self._writer.message(number, None, "in_progress"))
            yield self._event("response.content_part.added", **self._of(open, content_index=0), part=text_part(""))
        open.text += chunk.text
        open.logprobs += chunk.logprobs
        where, logprobs = self._of(open, content_index=0), logprob_fields(chunk.logprobs)
        yield self._event("response.output_text.delta", **where, delta=chunk.text, logprobs=logprobs)

    def _call(self, call: ToolCallDelta) -> Iterator[bytes]:
        open = self._open
        if open is None or open.kind != "function_call" or open.call != call.index:
            if call.index in self._calls:
                raise UpstreamBadResponse("the upstream went back to a tool call after it had begun the next")
            yield from self._close()
            id = call.id or self._writer.item_id("call", len(self._output))
            yield from self._seal(packed(id, call.extra_content))
            number = len(self._output)
            open = _Open(
                "function_call", self._writer.item_id("fc", number), call=call.index, call_id=id, name=call.name or ""
            )
            self._calls.add(call.index)
            yield self._enter(open, self._writer.call(number, id, open.name, "", "in_progress"))
        if call.arguments:
            open.text += call.arguments
            yield self._event("response.function_call_arguments.delta", **self._of(open), delta=call.arguments)

    def _seal(self, sealed: str) -> Iterator[bytes]:
        """An item with what a vendor wants back with the call after it."""
        if sealed:
            item = self._writer.reasoning(len(self._output), "", sealed)
            yield self._event("response.output_item.added", output_index=len(self._output), item=item)
            yield from self._done(item)

    def _close(self) -> Iterator[bytes]:
        """The events that end the open item."""
        open, number = self._open, len(self._output)
        self._open = None
        if open is None:
            return
        if open.kind == "reasoning":
            where, part = self._of(open, summary_index=0), {"type": "summary_text", "text": open.text}
            yield self._event("response.reasoning_summary_text.done", **where, text=open.text)
            yield self._event("response.reasoning_summary_part.done", **where, part=part)
            yield from self._done(self._writer.reasoning(number, open.text))
        elif open.kind == "message":
            where, said = self._of(open, content_index=0), text_part(open.text, open.logprobs)
            yield self._event("response.output_text.done", **where, text=open.text, logprobs=said["logprobs"])
            yield self._event("response.content_part.done", **where, part=said)
            yield from self._done(self._writer.message(number, open.text, "completed", open.logprobs))
        else:
            name = {"name": open.name, "arguments": open.text}
            yield self._event("response.function_call_arguments.done", **self._of(open), **name)
            yield from self._done(self._writer.call(number, open.call_id, open.name, open.text, "completed"))

    def _done(self, item: dict[str, object]) -> Iterator[bytes]:
        index = len(self._output)
        self._output.append(item)
        yield self._event("response.output_item.done", output_index=index, item=item)
