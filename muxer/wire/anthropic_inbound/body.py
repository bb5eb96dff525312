"""The body of a request to the Messages API as callers send it: what we read of it."""

from typing import Literal

from msgspec import Raw, Struct, field


def _null() -> Raw:
    return Raw(b"null")  # made anew each time: a schema can have no Raw as its default


def _nothing() -> Raw:
    return Raw(b"{}")


class CacheControl(Struct, frozen=True):
    """Keep the prompt up to here; an hour costs more than five minutes."""

    ttl: str | None = None


class Block(Struct, frozen=True):
    """A content block of any type; what a type does not have stays as it is here."""

    type: str
    text: str = ""
    source: Raw = field(default_factory=_null)
    id: str = ""
    name: str = ""
    input: Raw = field(default_factory=_nothing)
    tool_use_id: str = ""
    content: Raw = field(default_factory=_null)
    is_error: bool | None = None
    thinking: str = ""
    signature: str = ""
    cache_control: CacheControl | None = None


class Source(Struct, frozen=True):
    """Where an image or a document is."""

    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""


class Turn(Struct, frozen=True):
    """One message."""

    role: Literal["user", "assistant", "system"]
    content: str | tuple[Block, ...]


class ToolSpec(Struct, frozen=True):
    """A tool: the caller's own, or by its `type` one of Anthropic's."""

    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, object] | None = None
    strict: bool | None = None
    cache_control: CacheControl | None = None


class Choice(Struct, frozen=True):
    """Which tool is to be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Struct, frozen=True):
    """Whether the model thinks first, and for how many tokens."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: int | None = None


class Format(Struct, frozen=True):
    """The shape of the answer."""

    type: Literal["json_schema"]
    schema: dict[str, object]


class OutputConfig(Struct, frozen=True):
    """How hard the model tries, and in what shape it answers."""

    effort: str | None = None
    format: Format | None = None


class Metadata(Struct, frozen=True):
    """Whom the request is for."""

    user_id: str | None = None


class Edit(Struct, frozen=True):
    """One way to shorten a long context."""

    type: str


class ContextManagement(Struct, frozen=True):
    """How a long context is shortened."""

    edits: tuple[Edit, ...] = ()


class MessagesBody(Struct, frozen=True, kw_only=True):
    """The request."""

    messages: tuple[Turn, ...] = ()
    max_tokens: int | None = None
    model: str | None = None
    system: str | tuple[Block, ...] | None = None
    stream: bool | None = None
    stop_sequences: tuple[str, ...] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    tools: tuple[ToolSpec, ...] | None = None
    tool_choice: Choice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    cache_control: CacheControl | None = None
    speed: str | None = None
    inference_geo: str | None = None
    context_management: ContextManagement | None = None
