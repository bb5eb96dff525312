"""What a plugin can be: the protocols of its objects, the kinds that build them, and what they are handed."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from muxer.measurements import Metric
from muxer.types import Answer, Attempt, Call, ChatRequest, Chunk, Record, SignalValue

ComponentT = TypeVar("ComponentT", covariant=True)


class Timeouts(Struct, frozen=True):
    """Deadlines of one upstream call, in seconds. `idle_s` bounds the wait between two reads of an answer."""

    connect_s: float = 5.0
    first_byte_s: float = 120.0
    idle_s: float = 60.0
    total_s: float = 600.0


class Reply(Protocol):
    """An upstream's answer whose headers have arrived."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The response headers, case-insensitive."""

    async def read(self) -> bytes:
        """The whole body, at most 32 MB. Raises ProviderFailed."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises ProviderFailed."""


class HTTPClient(Protocol):
    """The core's upstream client: deadlines, connection caps and keep-alive set, redirects off."""

    def post(
        self, url: str, *, headers: Mapping[str, str], body: bytes, timeouts: Timeouts
    ) -> AbstractAsyncContextManager[Reply]:
        """Sends one request. Raises UpstreamUnreachable, UpstreamTimeout, UpstreamCut."""


class Log(Protocol):
    """A structured log: one JSON line an event."""

    def __call__(self, level: str, event: str, **fields: object) -> None:
        """Writes one line; fields never hold secrets, prompts or answers."""


class Meter(Protocol):
    """Takes the core's measurements. `labels` are in the order the metric declares them."""

    def add(self, metric: Metric, amount: float, *labels: str) -> None:
        """Raises a counter."""

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Sets a gauge."""

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Adds one value to a histogram."""


@runtime_checkable
class IsMeter(Protocol):
    """An extension that wants the core's measurements."""

    @property
    def meter(self) -> Meter:
        """Where the core reports to."""


Handler = Callable[[web.Request], Any]


class Route(Struct, frozen=True):
    """An HTTP route a component adds. `scope` is the role a caller needs; `public` means no key at all."""

    method: str
    path: str
    handler: Handler
    scope: str = "admin"


@runtime_checkable
class HasRoutes(Protocol):
    """A component that adds HTTP routes."""

    def routes(self) -> Sequence[Route]:
        """The routes, read once when the server is assembled."""


class Context(Struct, frozen=True, kw_only=True):
    """What the core hands to a kind when it opens a component.

    `clock` gives Unix seconds, `folder` is where relative paths start, `worker` tells this process from its
    siblings (0 when it is alone).
    """

    http: HTTPClient
    clock: Callable[[], float]
    folder: Path
    log: Log
    meter: Meter
    worker: int = 0


class Kind(Generic[ComponentT]):
    """A way to build components: its name in YAML, the type of its settings, and how to open one.

    A kind of Signal also declares the `signals` it measures and their types (float, int, bool, str), since rules are
    type-checked before anything is opened.
    """

    def __init__(
        self,
        name: str,
        settings: type[Struct],
        open: Callable[[Any, Context], AbstractAsyncContextManager[ComponentT]],
        signals: Mapping[str, type] | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.open = open
        self.signals: Mapping[str, type] = signals or {}

    def __repr__(self) -> str:
        return f"Kind({self.name!r})"


class ProviderSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The settings every HTTP provider shares; a plugin's own come in a struct that inherits this one."""

    api_key: str | None = None
    base_url: str | None = None
    timeout_s: Annotated[float, Meta(gt=0, description="a whole answer, in seconds")] = 600.0
    connect_timeout_s: Annotated[float, Meta(gt=0, description="a connection, in seconds")] = 5.0
    first_byte_timeout_s: Annotated[float, Meta(gt=0, description="the first byte of an answer, in seconds")] = 120.0
    idle_timeout_s: Annotated[float, Meta(gt=0, description="between two reads of an answer, in seconds")] = 60.0
    max_connections: Annotated[int, Meta(ge=1, description="connections at the same time")] = 100
    headers: Annotated[dict[str, str], Meta(description="further headers of each request")] = msgspec.field(
        default_factory=dict
    )

    @property
    def timeouts(self) -> Timeouts:
        """The deadlines as the client takes them."""
        return Timeouts(self.connect_timeout_s, self.first_byte_timeout_s, self.idle_timeout_s, self.timeout_s)


@runtime_checkable
class Provider(Protocol):
    """Answers chat requests. Raises ProviderFailed, or InvalidRequest (before anything is sent) for what the vendor
    cannot express; nothing else."""

    def astreaming(self, call: Call) -> AsyncIterator[Chunk]:
        """The answer as it comes; the caller closes the iterator (`aclosing`), which must end the upstream call."""


@runtime_checkable
class Completes(Protocol):
    """A provider that can also answer in one piece; without it the stream is collected."""

    async def acompletion(self, call: Call) -> Answer:
        """The whole answer."""


class Signal(Protocol):
    """Measures a request: pure, fast, no I/O."""

    def measure(self, request: ChatRequest) -> Mapping[str, SignalValue]:
        """A value for each signal its kind declares."""


@runtime_checkable
class HasEvidence(Protocol):
    """A signal that can say what in the text raised it."""

    def evidence(self, request: ChatRequest) -> Mapping[str, Sequence[str]]:
        """Short quotes by signal name, the strongest first."""


class Window(Struct, frozen=True):
    """A span of calendar time [start_s, end_s) in Unix seconds; `total` ends never (end_s 0)."""

    name: str
    start_s: int
    end_s: int


class BudgetClaim(Struct, frozen=True, kw_only=True):
    """Money to be taken from one limit.

    `account` names the counter (`user:alice`), `windows` are the one in force at the caller's clock and the next;
    the store picks by its own clock (S14). A claim without `limit_nanos` only counts.
    """

    limit: str
    per: str
    subject: str
    account: str
    windows: tuple[Window, ...]
    limit_nanos: int | None
    soft: bool = False


class Quota(Struct, frozen=True, kw_only=True):
    """Requests, tokens or slots to be taken from one limit.

    Requests and tokens flow back at `per_minute` up to `capacity` (GCRA); slots come back when the request ends or its
    process dies. Of tokens an estimate is taken, which the settlement corrects by the record's usage.
    """

    limit: str
    per: str
    subject: str
    account: str
    unit: Literal["requests", "tokens", "slots"]
    capacity: int
    per_minute: int = 0
    amount: int = 1


class HoldChoice(Struct, frozen=True, kw_only=True):
    """A model and what holding it takes: `bound_nanos`, or as much as fits but not under `floor_nanos`.

    `quotas` are taken with the opening hold; an extension takes money only.
    """

    model: str
    bound_nanos: int
    floor_nanos: int
    expected_nanos: int
    claims: tuple[BudgetClaim, ...] = ()
    quotas: tuple[Quota, ...] = ()


class Standing(Struct, frozen=True, kw_only=True):
    """How one limit stands: amounts in nano-dollars; `resets_at_s` is 0 for a window without end."""

    limit: str
    per: str
    subject: str
    window: str
    limit_nanos: int | None
    spent_nanos: int
    held_nanos: int
    presumed_nanos: int
    resets_at_s: int


class QuotaStanding(Struct, frozen=True, kw_only=True):
    """How one quota stands. `retry_after_s`: when the amount asked for would fit; `resets_s`: when all is back."""

    limit: str
    per: str
    subject: str
    unit: Literal["requests", "tokens", "slots"]
    capacity: int
    remaining: int
    retry_after_s: float
    resets_s: float


class Granted(Struct, frozen=True, kw_only=True):
    """A hold was taken for `choices[choice]`, of `granted_nanos`; how its limits stand with it taken."""

    choice: int
    granted_nanos: int
    budgets: tuple[Standing, ...] = ()
    quotas: tuple[QuotaStanding, ...] = ()


class Refusal(Struct, frozen=True, kw_only=True):
    """Why one choice did not fit: the limit as it stood and what was asked of it."""

    model: str
    standing: Standing | QuotaStanding
    asked_nanos: int


class Refused(Struct, frozen=True, kw_only=True):
    """No choice fitted; nothing was taken. One refusal per choice, in order."""

    refusals: tuple[Refusal, ...]


class Summary(Struct, frozen=True, kw_only=True):
    """Spend of a group of requests; `group` has the values of the fields asked for."""

    group: dict[str, str]
    requests: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    cost_nanos: int = 0
    held_nanos: int = 0
    presumed_nanos: int = 0


@runtime_checkable
class Store(Protocol):
    """Holds, counters and records. Every change is keyed by request id and safe to repeat (I6).

    All methods raise StoreUnavailable when the store cannot answer; then nothing was changed that a repeat of the
    same call would not also do.
    """

    async def hold(self, opening: Record, choices: Sequence[HoldChoice]) -> Granted | Refused:
        """Takes the first choice that fits all its claims and writes the open record: all or nothing."""

    async def extend(self, id: str, leg: int, choice: HoldChoice, ended: Attempt) -> Granted | Refused:
        """Before attempt number `leg` (the opening hold is leg 0): settles the attempt before it, `ended`, and holds
        the next by the same check (S7). Refused still settles `ended`; without refusals it says that the request
        is settled or was never held."""

    async def settle(self, record: Record) -> None:
        """Replaces the hold of each leg by the cost of the attempt of the same number, frees the rest, and completes
        the record (S9). A request that was never held is ignored."""

    async def standings(self, claims: Sequence[BudgetClaim]) -> Sequence[Standing]:
        """How the limits behind the claims stand, one per claim."""

    async def quotas(self, quotas: Sequence[Quota]) -> Sequence[QuotaStanding]:
        """How the quotas stand, one per quota; nothing is taken."""

    async def summary(self, by: Sequence[str], since_s: float, where: Mapping[str, str]) -> list[Summary]:
        """Spend grouped by record fields (`user`, `team`, `key`, `route`, `model`, `provider`, `day`, `state`)."""

    async def record(self, id: str) -> Record | None:
        """One record."""

    def records(self, since_s: float, where: Mapping[str, str], limit: int) -> AsyncIterator[Record]:
        """Records from the newest to the oldest, at most `limit`."""

    async def held(self) -> tuple[int, int]:
        """Nano-dollars held and presumed over all open and unresolved requests."""


@runtime_checkable
class Resolves(Protocol):
    """A store that lets its operator say what presumed spend really cost (S10)."""

    async def presumed(self, limit: int) -> list[Record]:
        """Finished or interrupted requests whose cost is not known, the newest first."""

    async def resolve(self, id: str, cost_nanos: int) -> bool:
        """Replaces what is presumed for a request by what it cost; False when nothing is presumed for it (I6)."""


class Kinds(Struct, frozen=True):
    """Every kind the named plugins offer, by name; `origins` says which plugin offers `provider openai` and so on."""

    providers: Mapping[str, Kind[Provider]] = msgspec.field(default_factory=dict)
    stores: Mapping[str, Kind[Store]] = msgspec.field(default_factory=dict)
    signals: Mapping[str, Kind[Signal]] = msgspec.field(default_factory=dict)
    extensions: Mapping[str, Kind[object]] = msgspec.field(default_factory=dict)
    origins: Mapping[str, str] = msgspec.field(default_factory=dict)
