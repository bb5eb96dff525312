"""Requests that came in another format, as servers of OpenAI's chat completions take them."""

from msgspec.structs import replace

from muxer.errors import Unsupported
from muxer.parts import FilePart, ImagePart, Part, TextPart, ThinkingPart
from muxer.types import ChatRequest, Message

MAX_USER = 64


def translated(request: ChatRequest) -> ChatRequest:
    """A request that came in another format, as servers of this one take it. Raises Unsupported for what only the
    other format can say."""
    messages: list[Message] = []
    images: list[Part] = []
    for number, message in enumerate(request.messages):
        if images and message.role != "tool":
            messages.append(Message("user", tuple(images)))
            images = []
        content = tuple(part for part in message.parts if not isinstance(part, ThinkingPart))
        if any(isinstance(part, FilePart) for part in content):
            raise Unsupported("only models that speak the request's own format take this", param=f"messages[{number}]")
        if message.role == "tool":
            # Tool messages hold text only; what a tool shows follows its results.
            images += [part for part in content if isinstance(part, ImagePart)]
            content = tuple(part for part in content if isinstance(part, TextPart))
        messages.append(replace(message, content=_plain(content, message)))
    if images:
        messages.append(Message("user", tuple(images)))
    for number, tool in enumerate(request.tools or ()):
        if tool.function is None:
            raise Unsupported(f"only its vendor's own models take {tool.type[:64]!r}", param=f"tools[{number}].type")
    # OpenAI refuses a longer `user`; Claude Code's has some 150 characters.
    user = request.user[:MAX_USER] if request.user else None
    return replace(request, messages=tuple(messages), user=user)


def _plain(content: tuple[Part, ...], message: Message) -> str | tuple[Part, ...] | None:
    """Text alone as a string: many servers take no parts where they expect none."""
    if not all(isinstance(part, TextPart) for part in content):
        return content
    text = "\n\n".join(part.text for part in content if isinstance(part, TextPart))
    return text or (None if message.tool_calls else "")
