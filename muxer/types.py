"""The values that travel through one request: what was asked, what was answered, what is recorded.

The canonical request is shaped like OpenAI's chat completions: the format nearly every caller and upstream speaks
needs no translation, and every other format has one (muxer.wire).
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field

from muxer.gates import Excluded
from muxer.limits import Line
from muxer.parts import Part, TextPart


class FunctionCall(Struct, frozen=True, omit_defaults=True):
    """The function a model wants called; `arguments` is JSON text as the model wrote it."""

    name: str
    arguments: str = ""


ExtraContent = dict[str, object] | None | UnsetType
"""What a vendor wants back with a tool call, under the vendor's name, as Google's OpenAI-compatible API sends it:
`{"google": {"thought_signature": "..."}}`."""


class ToolCall(Struct, frozen=True):
    """One tool call made by a model."""

    id: str
    function: FunctionCall
    type: str = "function"
    extra_content: ExtraContent = UNSET


class Message(Struct, frozen=True, omit_defaults=True):
    """One turn of a conversation; roles are system, developer, user, assistant, tool (and the old `function`)."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | tuple[Part, ...] | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: str | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """The content as parts, whichever form it was sent in."""
        if isinstance(self.content, str):
            return (TextPart(self.content),)
        return self.content or ()

    @property
    def text(self) -> str:
        """All text of the message, parts joined by line breaks."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content or () if isinstance(part, TextPart))


class FunctionSpec(Struct, frozen=True, omit_defaults=True):
    """A function a model may call; `parameters` is a JSON schema that is never resolved or fetched."""

    name: str
    description: str | None = None
    parameters: dict[str, object] | None = None
    strict: bool | None = None


class Tool(Struct, frozen=True, omit_defaults=True):
    """A tool offered to the model. Only functions have a meaning shared by all providers."""

    type: str
    function: FunctionSpec | None = None


class NamedFunction(Struct, frozen=True, omit_defaults=True):
    """The name of one function."""

    name: str


class ToolChoice(Struct, frozen=True, omit_defaults=True):
    """The caller insists on this tool, or allows some of those it offers."""

    type: str
    function: NamedFunction | None = None
    allowed_tools: "AllowedTools | None" = None


class AllowedTools(Struct, frozen=True, omit_defaults=True):
    """The tools that may be called, if the model likes (`auto`) or at least one of them (`required`)."""

    mode: Literal["auto", "required"]
    tools: tuple[ToolChoice, ...]


class ResponseFormat(Struct, frozen=True, omit_defaults=True):
    """Free text, a JSON object, or JSON after a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, object] | None = None


class StreamOptions(Struct, frozen=True, omit_defaults=True):
    """Whether the caller wants the usage chunk at the end of a stream."""

    include_usage: bool = False


class ChatRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A chat request in canonical form. Fields we do not interpret stay in `Call.raw` only."""

    messages: tuple[Message, ...]
    model: str | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: str | tuple[str, ...] | None = None
    seed: int | None = None
    logit_bias: dict[str, float] | None = None
    tools: tuple[Tool, ...] | None = None
    tool_choice: str | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    reasoning_effort: str | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    modalities: tuple[str, ...] | None = None
    service_tier: str | None = None
    web_search_options: dict[str, object] | None = None

    @property
    def question(self) -> str:
        """The text of the last user message: what this request asks, without its history or system prompt."""
        return next((m.text for m in reversed(self.messages) if m.role == "user"), "")

    @property
    def caller_cap(self) -> int | None:
        """The caller's own bound on output tokens, under either of its names."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def wants_usage(self) -> bool:
        """Whether a streaming caller asked for the usage chunk."""
        return self.stream_options is not None and self.stream_options.include_usage


class Usage(Struct, frozen=True):
    """Tokens billed for one attempt. `input_tokens` counts all input, cached and cache-written tokens included;
    `output_tokens` counts all output, reasoning included."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


class Call(Struct, frozen=True, kw_only=True):
    """What a provider is asked to do. One whose format is `api` may send `raw` with `model`, `changes` and `output_cap`
    applied; any other builds its own body from `request`, which already has the changes in it, and drops
    `untranslated`. With `strict` it refuses what it would drop, by `refuse_dropped`. `headers` are the caller's, for a
    provider whose format is `api`. Log-probabilities are asked for where `request` says so, even if `raw` does not."""

    id: str
    api: str
    raw: bytes
    request: ChatRequest
    model: str
    output_cap: int | None = None
    takes_sampling: bool = True
    strict: bool = False
    changes: Mapping[str, object] = field(default_factory=dict)
    untranslated: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


class ToolCallDelta(Struct, frozen=True):
    """A piece of a tool call in a stream: the first piece of an index has id and name, all append arguments."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    extra_content: ExtraContent = UNSET


class TokenLogprob(Struct, frozen=True):
    """A token of an answer with its log-probability, and the likeliest tokens in its place."""

    token: str
    logprob: float
    top: tuple["TokenLogprob", ...] = ()


class Chunk(Struct, frozen=True, kw_only=True):
    """One piece of a streamed answer. `raw` is the data of one event in the call's own format: it is passed on instead
    of the other fields, and `usage` says what was read in it. `dropped` names request fields the provider left out or
    clamped."""

    text: str = ""
    reasoning: str = ""
    index: int = 0
    tool_calls: tuple[ToolCallDelta, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    raw: bytes = b""
    dropped: tuple[str, ...] = ()


class Choice(Struct, frozen=True, kw_only=True):
    """One of the `n` answers to a request."""

    text: str | None = None
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: str = "stop"


class Answer(Struct, frozen=True, kw_only=True):
    """A whole answer; `raw` as in a chunk. `model` names who gave it, where a guard has it ready."""

    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None
    raw: bytes = b""
    dropped: tuple[str, ...] = ()
    model: str = ""


Role = Literal["user", "metrics", "viewer", "admin"]
"""What a key may do: its own requests; also read metrics; also read everybody's; also change things."""


class Caller(Struct, frozen=True, kw_only=True):
    """Who asks. `models` are the globs of model names this caller may use; empty means all. `limits` are those of this
    caller's key alone."""

    key: str
    user: str
    team: str = ""
    tags: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    role: Role = "user"
    limits: tuple[Line, ...] = ()


SignalValue = float | int | bool | str


class Needs(Struct, frozen=True, kw_only=True):
    """What a request asks of a model, beyond text."""

    tools: bool = False
    images: bool = False
    json: bool = False
    logprobs: bool = False
    embeddings: bool = False
    stream: bool = False
    n: int = 1
    cap_tokens: int | None = None


FallbackCause = Literal["content_policy", "context_length"]
"""For which refusals of an upstream a route may ask the next candidate (`fallback_on`)."""
Outcome = Literal["exact", "none", "presumed", "counted"]
"""How an attempt was billed (S8): by the provider's usage; not at all; unknown, presumed; by our count (soft only)."""
OUTRUN = "outrun"  # the error of an attempt that was given up because another, sent beside it, answered first


class Attempt(Struct, frozen=True, kw_only=True):
    """One upstream try as recorded. `cost_nanos` is what it surely cost, `presumed_nanos` what is counted besides.
    `confidence` is how sure its answer was, where a cascade judged that; `is_check`: it was asked how sure it is."""

    model: str
    provider: str
    upstream: str
    outcome: Outcome
    status: int = 0
    error: str = ""
    cost_nanos: int = 0
    presumed_nanos: int = 0
    ms: float = 0.0
    confidence: float | None = None
    is_check: bool = False


class Affinity(Struct, frozen=True):
    """The model a conversation is on, and how many tokens of its prompt that likely still has; '' when on none."""

    model: str = ""
    cached_tokens: int = 0


RecordState = Literal["open", "done", "failed", "interrupted"]


class Record(Struct, frozen=True, kw_only=True):
    """The row about one request: everything a decision needs and no prompt. Times are Unix seconds. `feedback` is how
    good the answer was, from 0 to 1; `features` is what signals that learn kept of the prompt, each under the name of
    its kind and in its own words."""

    id: str
    at: float
    api: str
    state: RecordState
    user: str
    key: str
    team: str = ""
    tags: tuple[str, ...] = ()
    end_user: str = ""
    conversation: str = ""
    branch: str = ""
    affinity: Affinity = Affinity()
    requested_model: str = ""
    route: str = ""
    reason: str = ""
    signals: dict[str, SignalValue] = field(default_factory=dict)
    needs: Needs = Needs()
    estimate_tokens: int = 0
    bound_tokens: int = 0
    excluded: tuple[Excluded, ...] = ()
    confidence: float | None = None
    feedback: float | None = None
    features: dict[str, str] = field(default_factory=dict)
    model: str = ""
    provider: str = ""
    usage: Usage = Usage()
    cost_nanos: int = 0
    presumed_nanos: int = 0
    expected_nanos: int = 0
    expected_high_nanos: int = 0
    saved_nanos: int = 0
    attempts: tuple[Attempt, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
    status: int = 0
    error: str = ""
    ms: float = 0.0
    first_byte_ms: float = 0.0
    client_gone: bool = False
    config: str = ""
    prices: str = ""
    schema: int = 1

    @property
    def answered(self) -> Attempt | None:
        """The attempt of the model that served, though one that it outran, or that judged it, may stand behind it."""
        for one in reversed(self.attempts):
            if one.model == self.model and not one.is_check and one.error != OUTRUN:
                return one
        return None
