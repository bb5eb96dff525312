"""What `routing.yaml` may say, as types: each field is a key of the file (DESIGN §3), described in its place."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from muxer.errors import Fault
from muxer.expressions import Expression
from muxer.interfaces import Kinds
from muxer.limits import Amounts, Dollars, Positive
from muxer.types import FallbackCause, Role

FREE_SIGNALS: Mapping[str, type] = {
    "tokens": int,
    "chars": int,
    "turns": int,
    "has_tools": bool,
    "has_images": bool,
    "wants_json": bool,
    "stream": bool,
    "key": str,
    "user": str,
    "team": str,
    "model": str,
    "tags": tuple,
}
"""What every `when` may use without a plugin, and the types."""

Seconds = Annotated[float, Meta(gt=0)]
Weight = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]


class ServerSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where and how the proxy listens. Not reloaded live."""

    listen: Annotated[str, Meta(description="HOST:PORT to listen on; IPv6 in brackets")] = "127.0.0.1:8000"
    max_body_bytes: Annotated[Positive, Meta(description="largest request body taken")] = 20_000_000
    max_concurrent: Annotated[Positive, Meta(description="requests that one process serves at once; more wait")] = 2_000
    queue_s: Annotated[float, Meta(ge=0, description="how long a request may wait for its turn")] = 1.0
    workers: Annotated[Positive, Meta(description="processes that serve the port together")] = 1
    drain_delay_s: Annotated[
        float, Meta(ge=0, description="how long new requests are still taken after SIGTERM, while /readyz is 503")
    ] = 0.0
    grace_s: Annotated[float, Meta(ge=0, description="how long running requests may finish after SIGTERM")] = 25.0

    @property
    def stop_s(self) -> float:
        """The longest that a stop may take: the delay, then its requests and its ledger, each the grace period."""
        return self.drain_delay_s + 2 * self.grace_s

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of `listen`; raises ValueError when it is not HOST:PORT."""
        host, colon, port = self.listen.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError("an IPv6 host is written in brackets")
        if not (host and colon and port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536):
            raise ValueError("expected HOST:PORT")
        return host, int(port)


class PriceSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """US dollars per million tokens. Cached input defaults to the input price, cache writes too."""

    input: Annotated[Dollars, Meta(description="for input tokens")]
    output: Annotated[Dollars, Meta(description="for output tokens, reasoning included")]
    cached_input: Annotated[Dollars | None, Meta(description="for input read from the provider's cache")] = None
    cache_write: Annotated[Dollars | None, Meta(description="for input written to the provider's cache")] = None


class PriceTierSettings(PriceSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The prices of the whole request once its input is longer than `above_input_tokens`."""

    above_input_tokens: Annotated[Positive, Meta(description="input tokens above which these prices apply")]


Capability = Literal["tools", "images", "json", "logprobs", "embeddings"]
Order = Literal["listed", "cheapest", "weighted", "cascade", "value"]
_ORDER = Meta(
    description="as listed; cheapest: by this request's expected cost; weighted: at random by weights; cascade: as "
    "listed, and on while an answer is not sure enough; value: by the quality that this request's dollars buy"
)
_WEIGHTS = Meta(description="with order: weighted, one number for each name in use")
_CONFIDENCE = Meta(
    description="with order: cascade, an answer less sure than this is not given while another can be asked"
)
ConfidenceBy = Literal["rule", "mean", "minimum", "first", "self_check"]
_CONFIDENCE_BY = Meta(
    description="with order: cascade, what its tokens' probabilities make of an answer, or the model's own word for it"
)


class ModelSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model callers can name, or (with `use`) a group of models."""

    provider: Annotated[str | None, Meta(description="a name under providers")] = None
    name: Annotated[str | None, Meta(description="the provider's own name; default: the key")] = None
    price_usd_per_million: Annotated[
        PriceSettings | None, Meta(description="overrides the price table; default: its prices")
    ] = None
    price: Annotated[
        Literal["free"] | None,
        Meta(
            description="write free for a model that costs nothing",
            extra={"hint": "a price is written as price_usd_per_million: {input: 1, output: 2}"},
        ),
    ] = None
    price_tiers: Annotated[
        tuple[PriceTierSettings, ...], Meta(description="dearer prices for long inputs, in ascending order")
    ] = ()
    context_tokens: Annotated[
        Positive | None, Meta(description="longest input and output together; default: the price table's")
    ] = None
    max_output_tokens: Annotated[Positive | None, Meta(description="longest output; default: the price table's")] = None
    can: Annotated[
        tuple[Capability, ...] | None, Meta(description="what it can do; default: the price table's answer")
    ] = None
    fallbacks: Annotated[tuple[str, ...], Meta(description="models tried when this one fails, in order")] = ()
    retry_uncertain: Annotated[
        bool, Meta(description="ask it again also after a try that may have been billed: a cut, a deadline")
    ] = False
    tier: Annotated[int | None, Meta(description="how strong it is beside the others; higher is stronger")] = None
    use: Annotated[tuple[str, ...], Meta(description="makes this a group of these models")] = ()
    order: Annotated[Order, _ORDER] = "listed"
    weights: Annotated[tuple[Weight, ...], _WEIGHTS] = ()
    confidence: Annotated[Share | None, _CONFIDENCE] = None
    confidence_by: Annotated[ConfidenceBy, _CONFIDENCE_BY] = "rule"


class RouteSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rule: requests to `auto` that match `when` go to the models in `use`. The first match wins."""

    name: Annotated[str, Meta(min_length=1, description="shown in records and metrics; callers can ask auto:NAME")]
    use: Annotated[tuple[str, ...], Meta(min_length=1, description="models or groups, the candidates")]
    when: Annotated[str | None, Meta(description="an expression over signals; none matches every request")] = None
    order: Annotated[Order, _ORDER] = "listed"
    weights: Annotated[tuple[Weight, ...], _WEIGHTS] = ()
    confidence: Annotated[Share | None, _CONFIDENCE] = None
    confidence_by: Annotated[ConfidenceBy, _CONFIDENCE_BY] = "rule"
    keep_quality: Annotated[
        Share | None,
        Meta(description="how much of the stronger models' quality a cascade, or the choice by value, is to keep"),
    ] = None
    share: Annotated[
        Share | None,
        Meta(description="only this part of the conversations that match; the others go on to the next rules"),
    ] = None
    sticky: Annotated[
        Literal["conversation"] | None,
        Meta(description="a conversation stays on its model while that costs no more than reading it anew elsewhere"),
    ] = None
    on_budget: Annotated[
        Literal["refuse", "downgrade"],
        Meta(description="when the first model does not fit the budget: refuse, or take the next that fits"),
    ] = "refuse"
    timeout_s: Annotated[Seconds | None, Meta(description="one deadline over all attempts")] = None
    fallback_on: Annotated[
        tuple[FallbackCause, ...],
        Meta(description="refusals of a provider after which the next model is asked: content_policy, context_length"),
    ] = ()
    hedge_after_s: Annotated[
        Seconds | None,
        Meta(
            description="when no answer has begun by then, the next model is asked beside the first, and held for, too"
        ),
    ] = None
    learn: Annotated[
        bool, Meta(description="records keep what signals learn from: hashes of words, and never the prompt")
    ] = False
    guards: Annotated[
        tuple[str, ...], Meta(description="guards of this route alone; one that no route names is in force everywhere")
    ] = ()

    @property
    def takes_all(self) -> bool:
        """Whether it takes everything that its condition matches."""
        return self.share in (None, 1)


Scope = Literal["all", "team", "user", "key", "model", "route", "tag"]


class LimitSettings(Amounts, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Money that each subject of a scope may spend per calendar window. Every line that matches must hold."""

    per: Annotated[Scope, Meta(description="who or what has this limit, each on its own")]
    where: Annotated[
        dict[Literal["user", "team", "key", "tag", "model", "route"], str],
        Meta(description="only for requests whose caller or target has these values"),
    ] = field(default_factory=dict)


class KeySettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who may call. Give `secret` (a reference to the environment) or `digest` (`sha256:` and 64 hex digits).

    A loaded file has only digests, and `user` is always set.
    """

    name: Annotated[str, Meta(min_length=1, description="shown in records; never the secret")]
    secret: Annotated[str | None, Meta(description="what the caller sends, as a reference: ${NAME}")] = None
    digest: Annotated[
        Annotated[str, Meta(pattern="^sha256:[0-9a-f]{64}$")] | None, Meta(description="SHA-256 of the secret")
    ] = None
    user: Annotated[
        Annotated[str, Meta(min_length=1)] | None, Meta(description="who spends; default: the key's name")
    ] = None
    team: Annotated[str, Meta(description="the team that spends")] = ""
    tags: Annotated[tuple[str, ...], Meta(description="tags a request may pick from")] = ()
    models: Annotated[tuple[str, ...], Meta(description="globs of model names; none means all")] = ()
    role: Annotated[Role, Meta(description="what the key may do besides its own requests")] = "user"
    limits: Annotated[tuple[Amounts, ...], Meta(description="limits of this key alone, beside those under limits")] = ()
    expires: Annotated[
        str | None, Meta(description="when it stops working, as 2027-01-31T00:00:00Z; default: never")
    ] = None


class DefaultsSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is filled in where a request leaves it out."""

    model: Annotated[str | None, Meta(description="the model when no route matches")] = None
    max_tokens: Annotated[Positive | None, Meta(description="the output cap of a request without one")] = None
    min_output_tokens: Annotated[
        Positive, Meta(description="an inserted output cap is never lowered below this to fit a budget")
    ] = 256
    temperature: Annotated[
        Annotated[float, Meta(ge=0, le=2)] | None, Meta(description="the temperature of a request without one")
    ] = None


class Listed(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the core reads of an entry in a list of components; the other keys are the plugin's own."""

    name: Annotated[
        Annotated[str, Meta(min_length=1)] | None, Meta(description="tells several of a kind apart; default: the kind")
    ] = None


class ListedSink(Listed, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A sink as the core reads it."""

    required: Annotated[bool, Meta(description="the proxy does not start without it")] = False


class ListedGuard(Listed, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A guard as the core reads it."""

    required: Annotated[bool, Meta(description="refuse requests when it fails, instead of going on without it")] = False
    timeout_s: Annotated[Seconds, Meta(description="the most it may take for one request, or one chunk")] = 0.1


class Component(Struct, frozen=True, kw_only=True):
    """A component as configured: its kind, the plugin's own settings decoded, or why it is unavailable.

    `vendor` and `base_url` say whose prices apply: they are the file's also under --demo, when `kind` is `demo`.
    `required` and `timeout_s` are those of guards and sinks.
    """

    name: str
    kind: str
    settings: Struct
    unavailable: str = ""
    vendor: str = ""
    base_url: str | None = None
    required: bool = False
    timeout_s: float = 0.0


REQUIRED = ("version", "plugins", "providers", "models")
"""The sections every file has."""


class General(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The sections that need no plugin and no other section to be understood."""

    version: Annotated[Literal[1], Meta(description="the version of this format: 1")] = 1
    plugins: Annotated[tuple[str, ...], Meta(description="names of installed plugins, or modules, to load")] = ()
    server: Annotated[ServerSettings, Meta(description="where the proxy listens")] = ServerSettings()
    defaults: Annotated[DefaultsSettings, Meta(description="what is filled in where a request leaves it out")] = (
        DefaultsSettings()
    )
    timezone: Annotated[str, Meta(description="IANA name; days and months of limits begin there")] = "UTC"
    budget_status: Annotated[Literal[402, 429], Meta(description="status of a refusal for budget")] = 402
    strict_params: Annotated[
        bool, Meta(description="refuse parameters a provider cannot take instead of dropping them")
    ] = False


class Settings(General, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file, decoded and checked."""

    store: Annotated[Component, Meta(description="holds, counters and records; default: sqlite, muxer.db")]
    providers: Annotated[dict[str, Component], Meta(description="who runs models, by a name of your choice")]
    models: Annotated[dict[str, ModelSettings], Meta(description="the names callers see, and who serves them")]
    routes: Annotated[
        tuple[RouteSettings, ...], Meta(description="rules for requests to the model auto; the first match wins")
    ] = ()
    limits: Annotated[
        tuple[LimitSettings, ...],
        Meta(description="budgets; default: DEFAULT_DAILY_BUDGET and DEFAULT_MONTHLY_BUDGET per user"),
    ] = ()
    keys: Annotated[
        tuple[KeySettings, ...], Meta(description="who may call; default: the keys in ALLOWED_API_KEYS")
    ] = ()
    authenticators: Annotated[
        tuple[Component, ...], Meta(description="who else knows callers, asked in this order about what no key fits")
    ] = ()
    guards: Annotated[
        tuple[Component, ...], Meta(description="what looks at requests and answers on their way, in this order")
    ] = ()
    sinks: Annotated[tuple[Component, ...], Meta(description="where copies of finished records go")] = ()


class Place(Struct, frozen=True):
    """A place in the file, counted from 1."""

    line: int
    column: int


class Configuration(Struct, frozen=True, kw_only=True):
    """A loaded file: settings, compiled rules (one per route, None matches all), and where things stand in it.

    `folder` is where its relative paths start; `digest` changes when anything in it does.
    """

    settings: Settings
    kinds: Kinds
    rules: tuple[Expression | None, ...]
    file: str
    folder: Path
    digest: str
    places: dict[str, Place] = field(default_factory=dict)
    warnings: tuple[Fault, ...] = ()
    demo: bool = False
    debug: bool = False
