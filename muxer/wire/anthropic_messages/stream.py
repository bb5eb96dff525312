"""Anthropic's stream events as chunks."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec import Raw, Struct
from msgspec.structs import replace

from muxer.failures import UpstreamBadResponse, UpstreamCut
from muxer.interfaces import Reply
from muxer.sse import read_events
from muxer.types import Chunk, ToolCallDelta
from muxer.wire.anthropic_messages.answer import (
    ANSWER_BLOCKS,
    FINISH_REASONS,
    NO_USAGE,
    TaggedReader,
    UsageFields,
    failure,
    read_usage_fields,
)
from muxer.wire.anthropic_messages.blocks import TextBlock, ThinkingBlock, Thought, ToolUseBlock
from muxer.wire.anthropic_messages.thoughts import carried


class _Started(Struct):
    usage: Raw = NO_USAGE


class _MessageStart(Struct, tag_field="type", tag="message_start"):
    message: _Started


class _BlockStart(Struct, tag_field="type", tag="content_block_start"):
    index: int
    content_block: Raw


class _BlockDelta(Struct, tag_field="type", tag="content_block_delta"):
    index: int
    delta: Raw


class _BlockStop(Struct, tag_field="type", tag="content_block_stop"):
    index: int


class _Stopped(Struct):
    stop_reason: str | None = None


class _MessageDelta(Struct, tag_field="type", tag="message_delta"):
    delta: _Stopped
    usage: Raw = NO_USAGE


class _MessageStop(Struct, tag_field="type", tag="message_stop"):
    pass


class _ErrorBody(Struct):
    type: str = ""
    message: str = ""


class _Error(Struct, tag_field="type", tag="error"):
    error: _ErrorBody


class _TextDelta(Struct, tag_field="type", tag="text_delta"):
    text: str


class _ThinkingDelta(Struct, tag_field="type", tag="thinking_delta"):
    thinking: str


class _SignatureDelta(Struct, tag_field="type", tag="signature_delta"):
    signature: str


class _InputDelta(Struct, tag_field="type", tag="input_json_delta"):
    partial_json: str


_Event = _BlockDelta | _BlockStart | _BlockStop | _MessageStart | _MessageDelta | _MessageStop | _Error
_Delta = _TextDelta | _ThinkingDelta | _SignatureDelta | _InputDelta
_EVENTS: TaggedReader[_Event] = TaggedReader(_Event)
_DELTAS: TaggedReader[_Delta] = TaggedReader(_Delta)
_NOTHING = Chunk()


class _OpenTool(Struct):
    """A tool call whose arguments are still coming."""

    index: int
    has_arguments: bool = False


class StreamReader:
    """Reads the events of one stream in order; `is_done` once the message has ended."""

    def __init__(self, who: str, model: str) -> None:
        self._who = who
        self._model = model
        self._thoughts: list[Thought] = []
        self._usage = UsageFields()
        self._tools: dict[int, _OpenTool] = {}
        self._tool_count = 0
        self._has_started = False
        self._has_stopped = False
        self.is_done = False

    def read(self, data: bytes) -> Chunk:
        """What one event says, possibly nothing. Raises UpstreamBadResponse, and what an error event means."""
        event = _EVENTS.read(data, self._who)
        if isinstance(event, _BlockDelta):
            return self._delta(event)
        if isinstance(event, _BlockStart):
            return self._block(event)
        if isinstance(event, _BlockStop):
            return self._close(event.index)
        if isinstance(event, _MessageStart):
            self._has_started = True
            self._usage = read_usage_fields(event.message.usage) or self._usage
        elif isinstance(event, _MessageDelta):
            return self._stop(event)
        elif isinstance(event, _MessageStop):
            self.is_done = True
        elif isinstance(event, _Error):
            raise failure(event.error.type, event.error.message, self._who)
        return _NOTHING

    def check_end(self) -> None:
        """Raises UpstreamCut or UpstreamBadResponse if the stream may not end here."""
        if self._has_stopped:
            return
        if self._has_started:
            raise UpstreamCut(f"{self._who} ended its stream before the message was complete")
        raise UpstreamBadResponse(f"{self._who} answered with a stream that has no message")

    def _block(self, event: _BlockStart) -> Chunk:
        block = ANSWER_BLOCKS.read(event.content_block, self._who)
        if isinstance(block, TextBlock):
            return Chunk(text=block.text)
        if isinstance(block, Thought):
            self._thoughts.append(block)
            return Chunk(reasoning=block.thinking) if isinstance(block, ThinkingBlock) else _NOTHING
        if not isinstance(block, ToolUseBlock):
            return _NOTHING
        # OpenAI numbers the tool calls, Anthropic all blocks.
        tool = _OpenTool(self._tool_count)
        self._tool_count += 1
        self._tools[event.index] = tool
        # Anthropic starts with {} and streams the rest; servers like it may give all of it here.
        given = bytes(block.input)
        tool.has_arguments = given.translate(None, b" \r\n\t") not in (b"{}", b"null")
        arguments = given.decode() if tool.has_arguments else ""
        extra = carried(self._thoughts, self._model)
        self._thoughts = []
        return Chunk(tool_calls=(ToolCallDelta(tool.index, block.id, block.name, arguments, extra),))

    def _think(self, thinking: str = "", signature: str = "") -> None:
        """Adds to the block of thoughts that is being written."""
        last = self._thoughts[-1] if self._thoughts else None
        if isinstance(last, ThinkingBlock):
            self._thoughts[-1] = ThinkingBlock(last.thinking + thinking, last.signature + signature)

    def _delta(self, event: _BlockDelta) -> Chunk:
        delta = _DELTAS.read(event.delta, self._who)
        if isinstance(delta, _TextDelta):
            return Chunk(text=delta.text)
        if isinstance(delta, _ThinkingDelta):
            self._think(thinking=delta.thinking)
            return Chunk(reasoning=delta.thinking)
        if isinstance(delta, _SignatureDelta):
            self._think(signature=delta.signature)
            return _NOTHING
        tool = self._tools.get(event.index)
        # Server tools stream their input too; they are no calls of the caller's.
        if not isinstance(delta, _InputDelta) or tool is None or not delta.partial_json:
            return _NOTHING
        tool.has_arguments = True
        return Chunk(tool_calls=(ToolCallDelta(tool.index, arguments=delta.partial_json),))

    def _close(self, index: int) -> Chunk:
        tool = self._tools.pop(index, None)
        if tool is None or tool.has_arguments:
            return _NOTHING
        # A call without arguments streams none at all, and an empty string is no JSON.
        return Chunk(tool_calls=(ToolCallDelta(tool.index, arguments="{}"),))

    def _stop(self, event: _MessageDelta) -> Chunk:
        fields = read_usage_fields(event.usage)
        reason = event.delta.stop_reason
        self._has_stopped = self._has_stopped or reason is not None
        if fields is not None:
            self._usage = fields.over(self._usage)
        return Chunk(
            finish_reason=None if reason is None else FINISH_REASONS.get(reason, "stop"),
            # What message_start reported is only the beginning, so it is no usage without this event's.
            usage=None if fields is None else self._usage.usage,
        )


async def read_stream(
    reply: Reply, who: str, *, model: str = "", keep_raw: bool = False
) -> AsyncGenerator[Chunk, None]:
    """The chunks of a streamed answer: all events with their bytes if those are to be passed through, else what says
    something; `model` is who was asked. What comes after the end is ignored (B57). Raises UpstreamCut when the end is
    missing."""
    reader = StreamReader(who, model)
    async with aclosing(read_events(reply.chunks())) as events:
        async for event in events:
            chunk = reader.read(event.data)
            if keep_raw:
                yield replace(chunk, raw=event.data)
            elif chunk != _NOTHING:
                yield chunk
            if reader.is_done:
                return
    reader.check_end()
