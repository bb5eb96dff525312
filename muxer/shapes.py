"""The JSON of answers as types: what the OpenAPI document declares. A test holds real answers against them."""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

# Answers of upstreams are passed on, so these declare what is always there; more may come.


class ErrorFields(Struct):
    """What went wrong. `budget` is there in a refusal for budget."""

    message: str
    type: str
    param: str | None
    code: str
    budget: dict[str, Any] | UnsetType = UNSET


class Error(Struct):
    """Every answer that is an error."""

    error: ErrorFields


class RouterMetadata(Struct):
    """Who served, why, and at what cost in dollars."""

    request_id: str
    route: str
    selected_provider: str
    selected_model: str
    routing_reason: str
    estimated_cost: float
    response_time_ms: float
    attempts: list[dict[str, Any]]


class ChatMessage(Struct):
    """What a model said."""

    role: str
    content: str | None = None


class ChatChoice(Struct):
    """One of the `n` answers to a chat."""

    index: int
    message: ChatMessage
    finish_reason: str | None


class ChatCompletion(Struct):
    """The answer to a chat."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    router_metadata: RouterMetadata


class TextChoice(Struct):
    """One text gone on with."""

    index: int
    text: str
    finish_reason: str | None


class TextCompletion(Struct):
    """The answer to a request for texts."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    router_metadata: RouterMetadata


class MessagesError(Struct):
    """An error as Anthropic writes it."""

    type: Literal["error"]
    error: ErrorFields
    request_id: str | None


class AnthropicMessage(Struct):
    """The answer to a request in Anthropic's format."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[dict[str, Any]]
    stop_reason: str | None
    usage: dict[str, Any]
    router_metadata: RouterMetadata


class TokenCount(Struct):
    """About how long a request is."""

    input_tokens: int


class Response(Struct):
    """The answer to a request in the format of OpenAI's Responses API."""

    id: str
    object: Literal["response"]
    created_at: int
    model: str
    status: Literal["completed", "incomplete", "failed"]
    output: list[dict[str, Any]]
    router_metadata: RouterMetadata


class Embedding(Struct):
    """The vector of one input: numbers, or in base64 as little-endian 32-bit floats."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingList(Struct):
    """The vectors in the order of their inputs."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    id: str
    router_metadata: RouterMetadata


class ListedModel(Struct, omit_defaults=True):
    """A model, a group or `auto`: OpenAI's four fields, Anthropic's four, and for a model what is known of it."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    type: Literal["model"]
    display_name: str
    created_at: str
    lifecycle: Literal["active"]
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    max_input_tokens: int | None = None
    max_tokens: int | None = None
    price_usd_per_million: dict[str, str] | None = None
    can: list[str] | None = None


class ModelList(Struct):
    """What a key may name, `auto` first."""

    object: Literal["list"]
    data: list[ListedModel]
    has_more: Literal[False]
    first_id: str
    last_id: str


class Spend(Struct):
    """Requests, tokens and dollars (exact decimal strings)."""

    requests: int
    tokens: dict[str, int]
    spent_usd: str
    held_usd: str
    presumed_usd: str
    by_model: list[dict[str, Any]]


class UserStats(Spend):
    """A user's spend, and how the limits stand."""

    user: str
    limits: list[dict[str, Any]]


class ProviderList(Struct):
    """Each provider with its models and their state."""

    providers: list[dict[str, Any]]


class RecordShown(Struct):
    """The record of a request; see docs/http.md for all its fields."""

    id: str
    at: str
    api: str
    state: Literal["open", "done", "failed", "interrupted"]
    model: str
    provider: str
    tokens: dict[str, int]
    cost_usd: str
    feedback: float | None
    attempts: list[dict[str, Any]]


class KeyShown(Struct):
    """A key in the store, without its secret."""

    id: str
    name: str
    state: Literal["active", "expired", "revoked"]
    user: str
    team: str
    tags: list[str]
    models: list[str]
    role: str
    limits: list[dict[str, Any]]
    created: str
    expires: str | None
    revoked: str | None


class KeyMade(KeyShown):
    """The same with what its caller sends, this once."""

    key: str


class KeyList(Struct):
    """Every key ever made, the oldest first."""

    keys: list[KeyShown]


class Health(Struct):
    """The state of each component in a word."""

    status: Literal["ok", "degraded"]
    version: str
    uptime_s: float
    config: str
    components: dict[str, str]


class Alive(Struct):
    """The process runs."""

    status: Literal["ok"]


class Ready(Struct):
    """Whether requests can be served."""

    status: Literal["ok", "draining", "unavailable"]
    components: dict[str, str]
    configuration: Literal["ok", "invalid", "needs restart"]


class Reloaded(Struct):
    """What came of taking over the file."""

    status: Literal["reloaded", "unchanged"]
    config: str
    needs_restart: list[str]


class RuleAsked(Struct):
    """A rule that was asked, and how its condition came out."""

    name: str
    line: int | None
    when: str
    holds: bool
    share: float | None
    drawn: bool | None
    decides: bool
    compared: list[dict[str, Any]]


class CandidateJudged(Struct):
    """A model that could serve, with its costs in dollars; or the gate that removed it."""

    model: str
    chosen: bool
    provider: str | None
    gate: str | None
    why: str | None
    bound_usd: str | None
    expected_usd: str | None
    expected: dict[str, Any] | None
    quality: float | None


class Explained(Struct):
    """How a request would be decided, and everything that led to it."""

    requested: str
    route: str | None
    model: str | None
    provider: str | None
    reason: str | None
    branch: str | None
    cascade: dict[str, Any] | None
    conversation: str
    affinity: dict[str, Any] | None
    error: dict[str, Any] | None
    caller: dict[str, Any]
    signals: dict[str, Any]
    evidence: dict[str, list[str]]
    tokens: dict[str, int | None]
    rules: list[RuleAsked]
    candidates: list[CandidateJudged]
    hedge: dict[str, Any] | None
    limits: list[dict[str, Any]]
    limits_unknown: str | None
    elsewhere: list[dict[str, Any]]
