"""The turns of a request to the Messages API as canonical messages."""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import UNSET, Raw

from muxer.errors import InvalidMessages, URLNotAllowed
from muxer.parts import FilePart, ImagePart, ImageURL, Part, TextPart, ThinkingPart
from muxer.types import FunctionCall, Message, ToolCall
from muxer.wire.anthropic_inbound.body import Block, CacheControl, MessagesBody, Source, Turn
from muxer.wire.bodies import check_image
from muxer.wire.carried import is_packed, unpacked

_encode = msgspec.json.Encoder().encode
_decode_source = msgspec.json.Decoder(Source).decode
_result_decoder: msgspec.json.Decoder[str | tuple[Block, ...] | None] = msgspec.json.Decoder(
    str | tuple[Block, ...] | None
)
_FAILED = "Error: "


class Conversation:
    """Reads the messages of one body, once. `is_priced` afterwards: no block asks for a cache that costs more."""

    def __init__(self, body: MessagesBody) -> None:
        self._body = body
        self._carried: dict[str, dict[str, object]] = {}
        self.is_priced = True
        for control in (body.cache_control, *(tool.cache_control for tool in body.tools or ())):
            self._cache(control)

    def messages(self) -> Iterator[Message]:
        """The system prompt, then each turn. Raises InvalidMessages, URLNotAllowed."""
        system = self._body.system
        if system:
            yield Message("system", self._text(system, "system"))
        for number, turn in enumerate(self._body.messages):
            place = f"messages[{number}].content"
            if isinstance(turn.content, str):
                yield Message(turn.role, turn.content)
            elif turn.role == "user":
                yield from self._user(turn.content, place)
            elif turn.role == "assistant":
                yield self._assistant(turn, turn.content, place)
            else:
                yield Message("system", self._text(turn.content, place))

    def _cache(self, control: CacheControl | None) -> None:
        self.is_priced = self.is_priced and (control is None or control.ttl in (None, "5m"))

    def _text(self, content: str | Sequence[Block], place: str) -> str:
        if isinstance(content, str):
            return content
        parts = self._parts(content, place)
        return "\n\n".join(part.text for part in parts if isinstance(part, TextPart))

    def _user(self, blocks: Sequence[Block], place: str) -> Iterator[Message]:
        """The results of tools, which come first, and the rest."""
        rest: list[Part] = []
        for number, block in enumerate(blocks):
            here = f"{place}[{number}]"
            if block.type != "tool_result":
                rest += self._parts([block], here)
                continue
            self._cache(block.cache_control)
            if not block.tool_use_id:
                raise InvalidMessages(f"{here}.tool_use_id: Field required", param=f"{here}.tool_use_id")
            yield Message("tool", self._result(block, here), tool_call_id=block.tool_use_id)
        if rest or not blocks:
            yield Message("user", _plain(rest))

    def _result(self, block: Block, place: str) -> str | tuple[Part, ...]:
        try:
            content = _result_decoder.decode(block.content)
        except msgspec.DecodeError as error:
            raise InvalidMessages(f"{place}.content: {str(error)[:80]}", param=f"{place}.content") from error
        parts = [TextPart(content)] if isinstance(content, str) else list(self._parts(content or (), place))
        if block.is_error:
            # Other formats have no field for it, and the model should know.
            parts = [TextPart(_FAILED + "".join(_texts(parts))), *(p for p in parts if not isinstance(p, TextPart))]
        return _plain(parts)

    def _assistant(self, turn: Turn, blocks: Sequence[Block], place: str) -> Message:
        parts: list[Part] = []
        calls: list[ToolCall] = []
        for number, block in enumerate(blocks):
            if block.type == "tool_use":
                calls.append(self._call(block, f"{place}[{number}]"))
            else:
                parts += self._parts([block], f"{place}[{number}]")
        return Message(turn.role, _plain(parts), tool_calls=tuple(calls) or None)

    def _call(self, block: Block, place: str) -> ToolCall:
        self._cache(block.cache_control)
        if not block.id or not block.name:
            raise InvalidMessages(f"{place}: a tool_use block has an id and a name", param=place)
        if not bytes(block.input).startswith(b"{"):
            raise InvalidMessages(f"{place}.input: must be an object", param=f"{place}.input")
        function = FunctionCall(block.name, bytes(block.input).decode())
        return ToolCall(block.id, function, extra_content=self._carried.get(block.id, UNSET))

    def _parts(self, blocks: Sequence[Block], place: str) -> list[Part]:
        parts: list[Part] = []
        for block in blocks:
            self._cache(block.cache_control)
            if block.type == "text":
                parts.append(TextPart(block.text))
            elif block.type == "image":
                parts.append(_image(block, place))
            elif block.type == "thinking":
                self._carried.update(unpacked(block.signature))
                parts.append(ThinkingPart(block.thinking, "" if is_packed(block.signature) else block.signature))
            elif block.type != "redacted_thinking":  # which nobody but Anthropic reads
                parts.append(_foreign(block.type))
        return parts


def _foreign(kind: str) -> FilePart:
    """What passes on as bytes only, and has no bound (S3): documents, and what Anthropic's own tools found."""
    return FilePart(Raw(_encode({"type": kind})))


def _image(block: Block, place: str) -> ImagePart | FilePart:
    try:
        source = _decode_source(block.source)
    except msgspec.DecodeError as error:
        raise InvalidMessages(f"{place}.source: {str(error)[:80]}", param=f"{place}.source") from error
    if source.type == "base64":
        if not source.media_type.startswith("image/"):
            raise InvalidMessages(f"{place}.source.media_type: must be an image's", param=f"{place}.source.media_type")
        url = f"data:{source.media_type};base64,{source.data}"
        check_image(url, f"{place}.source.data")
        return ImagePart(ImageURL(url))
    if source.type != "url":
        return _foreign("image")
    if not source.url.startswith("https://"):
        raise URLNotAllowed(f"{place}.source.url: must be an https address", param=f"{place}.source.url")
    return ImagePart(ImageURL(source.url))


def _texts(parts: Sequence[Part]) -> Iterator[str]:
    yield from (part.text for part in parts if isinstance(part, TextPart))


def _plain(parts: Sequence[Part]) -> str | tuple[Part, ...]:
    """Parts, or the text where that is all there is."""
    if not parts:
        return ""
    return parts[0].text if len(parts) == 1 and isinstance(parts[0], TextPart) else tuple(parts)
