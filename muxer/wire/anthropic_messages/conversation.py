"""Canonical messages as Anthropic's alternating turns."""

import re
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Raw

from muxer.errors import InvalidMessages, InvalidRequest, Unsupported, URLNotAllowed
from muxer.parts import ImagePart, Part, RefusalPart, TextPart, ThinkingPart
from muxer.types import FunctionCall, Message
from muxer.wire.anthropic_messages.blocks import (
    Base64Source,
    Block,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
    URLSource,
)
from muxer.wire.anthropic_messages.thoughts import recalled

_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[^;,]*)*;base64,", re.IGNORECASE)
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]")
# Anthropic wants the first turn to be a user's.
_OPENING = TextBlock("(The conversation begins with your message.)")


def system_and_turns(messages: Sequence[Message], model: str) -> tuple[list[str], list[Turn]]:
    """The system and developer prompts, wherever they stand, and the rest as turns Anthropic takes; `model` is who is
    asked, and gets its own thoughts back.

    Raises InvalidMessages when there is nothing to send, and other InvalidRequests for parts that cannot be sent.
    """
    system = [m.text for m in messages if m.role in ("system", "developer") and m.text.strip()]
    turns = _turns(messages, model)
    if turns:
        return system, turns
    if not system:
        raise InvalidMessages("no message has any text or image", param="messages")
    # A conversation of system prompts alone asks to act on them; Anthropic wants a user's turn for that.
    return [], [Turn("user", [TextBlock("\n\n".join(system))])]


def _turns(messages: Sequence[Message], model: str) -> list[Turn]:
    turns: list[Turn] = []
    for number, message in enumerate(messages):
        if message.role in ("system", "developer"):
            continue
        role = "assistant" if message.role == "assistant" else "user"
        content = list(_message_blocks(message, f"messages[{number}]", model))
        if turns and turns[-1].role == role:
            turns[-1].content.extend(content)
        elif content:
            turns.append(Turn(role, content))
    for turn in turns:
        # Anthropic wants a turn's tool results together and before its text; the sort keeps all else in order.
        turn.content.sort(key=lambda block: not isinstance(block, ToolResultBlock))
    _strip_end(turns)
    if turns and turns[0].role == "assistant":
        turns.insert(0, Turn("user", [_OPENING]))
    return turns


def _strip_end(turns: list[Turn]) -> None:
    """Anthropic refuses a final assistant turn that ends in whitespace."""
    if not turns or turns[-1].role != "assistant":
        return
    content = turns[-1].content
    last = content[-1]
    if isinstance(last, TextBlock):
        content[-1] = TextBlock(last.text.rstrip())


def _message_blocks(message: Message, place: str, model: str) -> Iterator[Block]:
    if message.role == "tool":
        yield ToolResultBlock(tool_id(message.tool_call_id or ""), _result(message, place))
        return
    calls = message.tool_calls or () if message.role == "assistant" else ()
    # The thoughts before the first call come before the text beside it.
    yield from recalled(calls[0], model) if calls else ()
    yield from _part_blocks(message.parts, f"{place}.content")
    for number, call in enumerate(calls):
        yield from recalled(call, model) if number else ()
        yield ToolUseBlock(tool_id(call.id), call.function.name, tool_input(call.function))


def _part_blocks(parts: Sequence[Part], place: str) -> Iterator[TextBlock | ImageBlock | ThinkingBlock]:
    for number, part in enumerate(parts):
        if isinstance(part, TextPart | RefusalPart):
            text = part.text if isinstance(part, TextPart) else part.refusal
            # "text content blocks must contain non-whitespace text"
            if text.strip():
                yield TextBlock(text)
        elif isinstance(part, ImagePart):
            yield _image(part.image_url.url, f"{place}[{number}].image_url.url")
        elif isinstance(part, ThinkingPart):
            if part.signature:
                yield ThinkingBlock(part.thinking, part.signature)
        else:
            raise Unsupported(
                "Anthropic is sent text and images only; leave out audio and files", param=f"{place}[{number}]"
            )


def _image(url: str, place: str) -> ImageBlock:
    if url.startswith("https://"):
        return ImageBlock(URLSource(url))
    if not url.startswith("data:"):
        raise URLNotAllowed("an image is an https:// address or a data: URL", param=place)
    head = _DATA_URL.match(url)
    if head is None:
        raise InvalidRequest("a data: URL of an image names its type and is base64", param=place)
    media_type = head[1].lower().replace("image/jpg", "image/jpeg")
    return ImageBlock(Base64Source(media_type, url[head.end() :]))


def _result(message: Message, place: str) -> str | tuple[TextBlock | ImageBlock, ...]:
    if isinstance(message.content, str):
        return message.content if message.content.strip() else ""
    blocks = _part_blocks(message.parts, f"{place}.content")
    return tuple(block for block in blocks if not isinstance(block, ThinkingBlock)) or ""


def tool_id(id: str) -> str:
    """Anthropic wants ^[a-zA-Z0-9_-]+$; other models, whose calls a conversation may hold, use more (`f.name:0`)."""
    return _NOT_IN_IDS.sub("_", id) or "_"


def tool_input(call: FunctionCall) -> Raw:
    """The arguments as they were written. What is no JSON object is put into one: Anthropic refuses the conversation
    otherwise, and the model should see what was called."""
    try:
        _decode_object(call.arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        return Raw(msgspec.json.encode({"arguments": call.arguments}))
    return Raw((call.arguments or "{}").encode())
