"""The content blocks of the Messages API and the request they are sent in, as typed structs."""

from msgspec import Raw, Struct, field

API = "anthropic.messages"


class TextBlock(Struct, frozen=True, tag_field="type", tag="text"):
    """Text; Anthropic refuses it blank."""

    text: str


class Base64Source(Struct, frozen=True, tag_field="type", tag="base64"):
    """An image sent along."""

    media_type: str
    data: str


class URLSource(Struct, frozen=True, tag_field="type", tag="url"):
    """An image Anthropic fetches."""

    url: str


class ImageBlock(Struct, frozen=True, tag_field="type", tag="image"):
    """An image, in user turns and tool results."""

    source: Base64Source | URLSource


class ThinkingBlock(Struct, frozen=True, tag_field="type", tag="thinking"):
    """Reasoning; `signature` proves it is the model's own, and without it Anthropic refuses the block."""

    thinking: str = ""
    signature: str = ""


class RedactedThinkingBlock(Struct, frozen=True, tag_field="type", tag="redacted_thinking"):
    """Reasoning that only Anthropic can read."""

    data: str


Thought = ThinkingBlock | RedactedThinkingBlock


class ToolUseBlock(Struct, frozen=True, tag_field="type", tag="tool_use"):
    """A tool call; `input` is a JSON object."""

    id: str
    name: str
    input: Raw = Raw(b"{}")


class ToolResultBlock(Struct, frozen=True, omit_defaults=True, tag_field="type", tag="tool_result"):
    """What a tool call gave, in the user turn after it and before any other block."""

    tool_use_id: str
    content: str | tuple[TextBlock | ImageBlock, ...] = ""


Block = TextBlock | ImageBlock | Thought | ToolUseBlock | ToolResultBlock


class Turn(Struct, frozen=True):
    """One turn: `user` or `assistant`, which alternate."""

    role: str
    content: list[Block]


class ToolSpec(Struct, frozen=True, omit_defaults=True):
    """A tool on offer."""

    name: str
    input_schema: dict[str, object]
    description: str | None = None


class ToolChoice(Struct, frozen=True, omit_defaults=True):
    """`auto`, `any`, `none`, or `tool` with its name."""

    type: str
    name: str | None = None
    disable_parallel_tool_use: bool = False


class JSONFormat(Struct, frozen=True, tag_field="type", tag="json_schema"):
    """The answer is JSON after this schema."""

    schema: dict[str, object]


class OutputConfig(Struct, frozen=True, omit_defaults=True):
    """How much the model thinks and writes, and in what shape."""

    effort: str | None = None
    format: JSONFormat | None = None


class CacheControl(Struct, frozen=True):
    """The prompt is kept for five minutes; the hour that Anthropic also offers costs more than our bound says."""

    type: str = "ephemeral"


class Metadata(Struct, frozen=True):
    """An opaque id of the end user."""

    user_id: str


class Body(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A request to /v1/messages."""

    model: str
    max_tokens: int
    messages: list[Turn]
    system: str = ""
    tools: list[ToolSpec] = field(default_factory=list)
    tool_choice: ToolChoice | None = None
    stop_sequences: list[str] = field(default_factory=list)
    temperature: float | None = None
    top_p: float | None = None
    output_config: OutputConfig | None = None
    metadata: Metadata | None = None
    cache_control: CacheControl | None = None
    service_tier: str | None = None
    stream: bool = False
