"""The body of generateContent as typed structs."""

from msgspec import Raw, Struct


class Blob(Struct, frozen=True, rename="camel"):
    """Bytes sent along, as base64."""

    mime_type: str
    data: str


class FileData(Struct, frozen=True, rename="camel"):
    """A file Google fetches."""

    mime_type: str
    file_uri: str


class FunctionCall(Struct, frozen=True, omit_defaults=True):
    """A tool call; `args` is a JSON object."""

    name: str
    args: Raw
    id: str | None = None


class MediaPart(Struct, frozen=True, rename="camel"):
    """An image in a tool's result."""

    inline_data: Blob


class FunctionResponse(Struct, frozen=True, omit_defaults=True):
    """What a tool call gave: a JSON object, and images where the model takes them."""

    name: str
    response: Raw
    id: str | None = None
    parts: tuple[MediaPart, ...] = ()


class Part(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One part of a turn. Exactly one field is set, but for the signature beside a call."""

    text: str | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None
    thought_signature: str | None = None


class Content(Struct, frozen=True, omit_defaults=True):
    """One turn: `user` or `model`, which alternate; the system's instruction has no role."""

    parts: list[Part]
    role: str | None = None


class FunctionDeclaration(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A tool on offer."""

    name: str
    description: str | None = None
    parameters_json_schema: dict[str, object] | None = None


class Tool(Struct, frozen=True, rename="camel"):
    """The functions on offer."""

    function_declarations: list[FunctionDeclaration]


class FunctionCallingConfig(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """`AUTO`, `NONE`, or `ANY` of all tools or of those named."""

    mode: str
    allowed_function_names: tuple[str, ...] = ()


class ToolConfig(Struct, frozen=True, rename="camel"):
    """Whether a tool is to be called."""

    function_calling_config: FunctionCallingConfig


class ThinkingConfig(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """How much the model thinks, by one of two measures, and whether it tells."""

    thinking_level: str | None = None
    thinking_budget: int | None = None
    include_thoughts: bool = False


class GenerationConfig(Struct, frozen=True, omit_defaults=True, kw_only=True, rename="camel"):
    """How the answer is made. `max_output_tokens` bounds each candidate, thoughts included."""

    candidate_count: int | None = None
    stop_sequences: tuple[str, ...] = ()
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_logprobs: bool = False
    logprobs: int | None = None
    response_mime_type: str | None = None
    response_json_schema: dict[str, object] | None = None
    thinking_config: ThinkingConfig | None = None


class Body(Struct, frozen=True, omit_defaults=True, kw_only=True, rename="camel"):
    """A request to generateContent; the model is in the address."""

    contents: list[Content]
    system_instruction: Content | None = None
    tools: tuple[Tool, ...] = ()
    tool_config: ToolConfig | None = None
    generation_config: GenerationConfig | None = None
