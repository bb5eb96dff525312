"""Canonical messages as Gemini's alternating turns."""

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw

from muxer.errors import InvalidMessages, InvalidRequest, Unsupported, URLNotAllowed
from muxer.parts import ImagePart, Part, RefusalPart, TextPart, ThinkingPart
from muxer.types import Message, ToolCall
from muxer.wire.gemini import body
from muxer.wire.gemini.abilities import Abilities

_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_DATA_URL = re.compile(r"data:(image/[\w.+-]+)(?:;[^;,]*)*;base64,", re.IGNORECASE)
# https://ai.google.dev/gemini-api/docs/image-understanding, "Supported image formats"; bmp is among what it fetches.
_IMAGE_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".bmp": "image/bmp",
}
# Gemini wants the first turn to be the user's.
_OPENING = body.Part(text="(The conversation begins with your message.)")
# https://ai.google.dev/gemini-api/docs/thought-signatures: what stands for the signature of a call that another model
# made. Without any, Gemini 3 refuses the conversation.
NO_SIGNATURE = "skip_thought_signature_validator"


def system_and_contents(messages: Sequence[Message], abilities: Abilities) -> tuple[list[str], list[body.Content]]:
    """The system and developer prompts, wherever they stand, and the rest as turns Gemini takes.

    Raises InvalidMessages when there is nothing to send or a tool's result answers no call, and other InvalidRequests
    for parts that cannot be sent.
    """
    system = [m.text for m in messages if m.role in ("system", "developer") and m.text]
    contents = _contents(messages, abilities)
    if contents:
        return system, contents
    if not system:
        raise InvalidMessages("no message has any text or image", param="messages")
    # A conversation of system prompts alone asks to act on them; Gemini wants a user's turn for that.
    return [], [body.Content([body.Part(text="\n\n".join(system))], "user")]


def _contents(messages: Sequence[Message], abilities: Abilities) -> list[body.Content]:
    contents: list[body.Content] = []
    names: dict[str, str] = {}
    for number, message in enumerate(messages):
        if message.role in ("system", "developer"):
            continue
        role = "model" if message.role == "assistant" else "user"
        parts = list(_message_parts(message, f"messages[{number}]", names, abilities))
        if contents and contents[-1].role == role:
            contents[-1].parts.extend(parts)
        elif parts:
            contents.append(body.Content(parts, role))
    for content in contents:
        # Gemini wants the results of a turn's calls right after it; the sort keeps all else in order.
        content.parts.sort(key=lambda part: part.function_response is None)
    if contents and contents[0].role == "model":
        contents.insert(0, body.Content([_OPENING], "user"))
    return contents


def _message_parts(message: Message, place: str, names: dict[str, str], abilities: Abilities) -> Iterator[body.Part]:
    if message.role == "tool":
        yield from _result(message, place, names, abilities)
        return
    yield from _parts(message.parts, f"{place}.content", abilities)
    calls = message.tool_calls or () if message.role == "assistant" else ()
    names.update((call.id, call.function.name) for call in calls)
    signatures = [_signature(call) for call in calls]
    if signatures and abilities.signs_calls and not any(signatures):
        # Only the first of several calls is signed.
        signatures[0] = NO_SIGNATURE
    for call, signature in zip(calls, signatures, strict=True):
        id = call.id if abilities.signs_calls else None
        made = body.FunctionCall(call.function.name, _arguments(call), id)
        yield body.Part(function_call=made, thought_signature=signature)


def _parts(parts: Sequence[Part], place: str, abilities: Abilities) -> Iterator[body.Part]:
    for number, part in enumerate(parts):
        if isinstance(part, TextPart | RefusalPart):
            text = part.text if isinstance(part, TextPart) else part.refusal
            if text:
                yield body.Part(text=text)
        elif isinstance(part, ImagePart):
            yield _image(part.image_url.url, f"{place}[{number}].image_url.url", abilities)
        elif not isinstance(part, ThinkingPart):  # whose signature is another vendor's
            raise Unsupported(
                "Gemini is sent text and images only; leave out audio and files", param=f"{place}[{number}]"
            )


def _image(url: str, place: str, abilities: Abilities) -> body.Part:
    if url.startswith("data:"):
        head = _DATA_URL.match(url)
        if head is None:
            raise InvalidRequest("a data: URL of an image names its type and is base64", param=place)
        media_type = head[1].lower().replace("image/jpg", "image/jpeg")
        return body.Part(inline_data=body.Blob(media_type, url[head.end() :]))
    if not url.startswith("https://"):
        raise URLNotAllowed("an image is an https:// address or a data: URL", param=place)
    if not abilities.fetches_images:
        raise Unsupported("this Gemini model fetches no images; send a data: URL", param=place)
    media_type = _IMAGE_TYPES.get(posixpath.splitext(_path(url))[1].lower(), "")
    if not media_type:
        # Without its type Google would take any file from there, and a document has no bound of tokens (S3).
        endings = ", ".join(_IMAGE_TYPES)
        raise Unsupported(
            f"Gemini must be told an image's type: the address must end in one of {endings}; or send a data: URL",
            param=place,
        )
    return body.Part(file_data=body.FileData(media_type, url))


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def _result(message: Message, place: str, names: Mapping[str, str], abilities: Abilities) -> Iterator[body.Part]:
    id = message.tool_call_id or ""
    name = names.get(id)
    if name is None:
        raise InvalidMessages(
            "a tool message must answer a call of an assistant message before it; Gemini wants the function's name",
            param=f"{place}.tool_call_id",
        )
    parts = list(_parts(message.parts, f"{place}.content", abilities))
    text = "\n".join(part.text for part in parts if part.text)
    images = [part for part in parts if part.text is None]
    media = (
        tuple(body.MediaPart(part.inline_data) for part in images if part.inline_data) if abilities.signs_calls else ()
    )
    response = body.FunctionResponse(name, _response(text), id if abilities.signs_calls else None, media)
    yield body.Part(function_response=response)
    # What does not go into the result follows it.
    yield from (part for part in images if not (media and part.inline_data))


def _response(text: str) -> Raw:
    """Gemini takes a JSON object; what is none becomes its `output`."""
    try:
        _decode_object(text)
    except (msgspec.DecodeError, RecursionError):
        return Raw(msgspec.json.encode({"output": text}))
    return Raw(text.encode())


def _arguments(call: ToolCall) -> Raw:
    """The arguments as they were written; what is no JSON object is put into one, so that the model sees it."""
    written = call.function.arguments or "{}"
    try:
        _decode_object(written)
    except (msgspec.DecodeError, RecursionError):
        return Raw(msgspec.json.encode({"arguments": written}))
    return Raw(written.encode())


def _signature(call: ToolCall) -> str | None:
    """The signature of the thoughts before a call, where our answer, and Google's own OpenAI format, has it."""
    extra = call.extra_content if isinstance(call.extra_content, dict) else {}
    google = extra.get("google")
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) and signature else None
