"""What stands inside a message: text, pictures, sounds, files, and what a model thought."""

from msgspec import Raw, Struct


class TextPart(Struct, frozen=True, tag_field="type", tag="text"):
    """Text inside a message."""

    text: str


class ImageURL(Struct, frozen=True, omit_defaults=True):
    """Where an image is: an https address or a `data:` URL."""

    url: str
    detail: str | None = None


class ImagePart(Struct, frozen=True, tag_field="type", tag="image_url"):
    """An image inside a message."""

    image_url: ImageURL


class AudioPart(Struct, frozen=True, tag_field="type", tag="input_audio"):
    """Audio inside a message; refused with a clear error (out of scope)."""

    input_audio: Raw


class FilePart(Struct, frozen=True, tag_field="type", tag="file"):
    """A document inside a message, passed on to providers of the same format only."""

    file: Raw


class RefusalPart(Struct, frozen=True, tag_field="type", tag="refusal"):
    """A model's earlier refusal, sent back as history."""

    refusal: str


class ThinkingPart(Struct, frozen=True, tag_field="type", tag="thinking"):
    """A model's earlier reasoning with the vendor's signature over it (Anthropic)."""

    thinking: str
    signature: str = ""


Part = TextPart | ImagePart | AudioPart | FilePart | RefusalPart | ThinkingPart
