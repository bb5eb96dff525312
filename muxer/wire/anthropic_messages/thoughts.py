"""Signed thoughts of Claude's, carried beside the tool call that follows them, since OpenAI's format has no place."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from muxer.types import ExtraContent, ToolCall
from muxer.wire.anthropic_messages.blocks import RedactedThinkingBlock, ThinkingBlock, Thought

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
