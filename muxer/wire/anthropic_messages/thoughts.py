"""Signed thoughts of Claude's, carried beside the tool call that follows them, since OpenAI's format has no place."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, Raw, Struct

from muxer.parts import ThinkingPart
from muxer.types import ChatRequest, ExtraContent, ToolCall
from muxer.wire.anthropic_messages.blocks import RedactedThinkingBlock, ThinkingBlock, Thought
from muxer.wire.carried import is_packed

VENDOR = "anthropic"


def carried(thoughts: Sequence[Thought], model: str) -> ExtraContent:
    """What goes with a tool call: the signed thoughts before it, and whose they are. A signature holds for its model
    only, and Anthropic refuses the conversation for any other's."""
    signed = [thought for thought in thoughts if isinstance(thought, RedactedThinkingBlock) or thought.signature]
    if not signed:
        return UNSET
    return {VENDOR: {"model": model, "thinking_blocks": msgspec.to_builtins(signed)}}


def recalled(call: ToolCall, model: str) -> list[Thought]:
    """The thoughts that came with a tool call, if they are this model's; none in any other shape."""
    extra = call.extra_content if isinstance(call.extra_content, dict) else {}
    mine = extra.get(VENDOR)
    if not isinstance(mine, dict) or mine.get("model") != model:
        return []
    try:
        thoughts: list[Thought] = msgspec.convert(mine.get("thinking_blocks"), list[Thought])
    except msgspec.ValidationError:
        return []
    return [one for one in thoughts if not isinstance(one, ThinkingBlock) or one.signature]


class _Head(Struct):
    type: str
    signature: str = ""

    @property
    def is_vendors(self) -> bool:
        return self.type != "thinking" or bool(self.signature and not is_packed(self.signature))


_encode = msgspec.json.Encoder().encode
_decode_head = msgspec.json.Decoder(_Head).decode
_decode_blocks = msgspec.json.Decoder(list[Raw]).decode
_decode_turns = msgspec.json.Decoder(list[dict[str, Raw]]).decode


def has_others(request: ChatRequest) -> bool:
    """Whether a request has thoughts of other vendors' models: they have no signature of Anthropic's."""
    parts = (part for message in request.messages for part in message.parts)
    return any(isinstance(part, ThinkingPart) and not part.signature for part in parts)


def without_others(messages: Raw) -> Raw:
    """The turns of a body without such thoughts, which Anthropic would refuse."""
    turns = _decode_turns(messages)
    for turn in turns:
        if bytes(turn["content"]).startswith(b"["):
            kept = [block for block in _decode_blocks(turn["content"]) if _decode_head(block).is_vendors]
            turn["content"] = Raw(_encode(kept))
    return Raw(_encode([turn for turn in turns if bytes(turn["content"]) != b"[]"]))
