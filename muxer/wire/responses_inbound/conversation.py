"""The input items of the Responses API as canonical messages."""

from collections.abc import Iterator, Sequence

from msgspec import UNSET
from msgspec.structs import replace

from muxer.errors import InvalidMessages, Unsupported
from muxer.parts import ImagePart, ImageURL, Part, RefusalPart, TextPart
from muxer.types import FunctionCall, Message, ToolCall
from muxer.wire.bodies import check_image
from muxer.wire.carried import unpacked
from muxer.wire.responses_inbound import body

_TEXTS = ("input_text", "output_text", "text")


def messages(given: str | Sequence[body.Item], instructions: str | None) -> Iterator[Message]:
    """The instructions, then the conversation: calls join the assistant's words before them. Raises InvalidMessages,
    Unsupported, URLNotAllowed, which name the item."""
    if instructions:
        yield Message("system", instructions)
    if isinstance(given, str):
        yield Message("user", given)
        return
    carried: dict[str, dict[str, object]] = {}
    turn: Message | None = None  # the assistant's, as long as its calls may follow
    for number, item in enumerate(given):
        place = f"input[{number}]"
        if item.type == "reasoning":
            carried.update(unpacked(item.encrypted_content or ""))
            continue
        if item.type == "function_call":
            call = _call(item, carried, place)
            turn = turn or Message("assistant")
            turn = replace(turn, tool_calls=(*(turn.tool_calls or ()), call))
            continue
        if turn is not None:
            yield turn
        found = _message(item, place)
        turn = found if found.role == "assistant" else None
        if turn is None:
            yield found
    if turn is not None:
        yield turn


def _message(item: body.Item, place: str) -> Message:
    if item.type == "function_call_output":
        if not item.call_id:
            raise InvalidMessages(f"{place}.call_id: says which call it answers", param=f"{place}.call_id")
        content = _content(item.output, f"{place}.output")
        return Message("tool", content, tool_call_id=item.call_id)
    if item.type != "message":
        raise Unsupported(f"{place}.type: {item.type[:64]!r} is for OpenAI's own models", param=f"{place}.type")
    if item.role is None:
        raise InvalidMessages(f"{place}.role: a message has one", param=f"{place}.role")
    return Message(item.role, _content(item.content, f"{place}.content"))


def _call(item: body.Item, carried: dict[str, dict[str, object]], place: str) -> ToolCall:
    if not item.call_id or not item.name:
        raise InvalidMessages(f"{place}: a function_call has a call_id and a name", param=place)
    extra = carried.get(item.call_id, UNSET)
    return ToolCall(item.call_id, FunctionCall(item.name, item.arguments), extra_content=extra)


def _content(content: str | Sequence[body.Part] | None, place: str) -> str | tuple[Part, ...]:
    if content is None:
        raise InvalidMessages(f"{place}: must be a text or a list", param=place)
    if isinstance(content, str):
        return content
    parts = tuple(_part(part, f"{place}[{number}]") for number, part in enumerate(content))
    if len(parts) == 1 and isinstance(parts[0], TextPart):
        return parts[0].text
    return parts


def _part(part: body.Part, place: str) -> Part:
    if part.type in _TEXTS:
        return TextPart(part.text)
    if part.type == "refusal":
        return RefusalPart(part.refusal)
    if part.type != "input_image" or part.image_url is None:
        raise Unsupported(f"{place}: only texts and images by image_url are taken", param=place)
    check_image(part.image_url, f"{place}.image_url")
    return ImagePart(ImageURL(part.image_url, part.detail))
