"""The body of a request to the Responses API as callers send it: what we read, and what we refuse by its name."""

from typing import Literal

from msgspec import Raw, Struct, field


def _null() -> Raw:
    return Raw(b"null")  # made anew each time: a schema can have no Raw as its default


class Part(Struct, frozen=True):
    """A piece of a message or of a tool's output; what a type does not have stays as it is here."""

    type: str
    text: str = ""
    refusal: str = ""
    image_url: str | None = None
    detail: str | None = None


class Item(Struct, frozen=True):
    """One item of the input, of any type."""

    type: str = "message"
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | tuple[Part, ...] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str = ""
    output: str | tuple[Part, ...] | None = None
    encrypted_content: str | None = None


class ToolSpec(Struct, frozen=True):
    """A tool on offer."""

    type: str
    name: str = ""
    description: str | None = None
    parameters: dict[str, object] | None = None
    strict: bool | None = None


class Choice(Struct, frozen=True):
    """The caller insists on this tool, or allows some of those it offers (`allowed_tools`)."""

    type: str
    name: str = ""
    mode: Literal["auto", "required"] = "auto"
    tools: "tuple[Choice, ...]" = ()


class Format(Struct, frozen=True):
    """Free text, a JSON object, or JSON after a schema."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema: dict[str, object] | None = None
    description: str | None = None
    strict: bool | None = None


class Text(Struct, frozen=True):
    """How the text of the answer is to be."""

    format: Format | None = None
    verbosity: str | None = None


class Reasoning(Struct, frozen=True):
    """How hard the model thinks."""

    effort: str | None = None


class ResponsesBody(Struct, frozen=True, kw_only=True):
    """The request. Raw fields ask for state or for work in the background, which is refused."""

    input: str | tuple[Item, ...] | None = None
    model: str | None = None
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    include: tuple[str, ...] | None = None
    tools: tuple[ToolSpec, ...] | None = None
    tool_choice: Literal["auto", "none", "required"] | Choice | None = None
    parallel_tool_calls: bool | None = None
    text: Text | None = None
    reasoning: Reasoning | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    stream_options: Raw = field(default_factory=_null)
    max_tool_calls: int | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: Raw = field(default_factory=_null)
    prompt: Raw = field(default_factory=_null)
