"""What a plugin can be: the protocols of its objects, the kinds that build them, and what they are handed."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from muxer.keys import NewKey, StoredKey
from muxer.measurements import Metric
from muxer.secret import Secret
from muxer.stores import Standing, Store
from muxer.types import Answer, Call, Caller, ChatRequest, Chunk, Record, SignalValue

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


class Operation(Struct, frozen=True, kw_only=True):
    """What the OpenAPI document says of a route: types of its body and answer (`str` for plain text), the status of a
    success, and of answers of the same shape that are none (`also`). `error`: where errors have not OpenAI's shape."""

    summary: str = ""
    body: type | None = None
    answer: type | None = None
    error: type | None = None
    status: int = 200
    also: tuple[int, ...] = ()
    media_type: str = "application/json"
    streams: bool = False


class Route(Struct, frozen=True):
    """An HTTP route a component adds. `scope` is the role a caller needs; `public` means no key at all."""

    method: str
    path: str
    handler: Handler
    scope: str = "admin"
    operation: Operation = Operation()


@runtime_checkable
class HasRoutes(Protocol):
    """A component that adds HTTP routes."""

    def routes(self) -> Sequence[Route]:
        """The routes, read once when the server is assembled."""


@runtime_checkable
class AddsHeaders(Protocol):
    """An extension that adds response headers to answers, beside ours."""

    def headers(self, record: Record) -> Mapping[str, str]:
        """The headers of one answer. The record is complete for a whole answer. A stream's is still open: it says who
        serves and which attempts failed before, and nothing of usage, cost and time."""


class KeyDesk(Protocol):
    """The keys in the store, for extensions. What is done here is in force in this process at once, within seconds
    everywhere, and logged with who did it (`by`, a caller's `key`). All raise StoreUnavailable, and Unsupported where
    the store keeps no keys."""

    async def create(self, asked: NewKey, by: str) -> tuple[StoredKey, str]:
        """A new key, and what its caller sends, which nobody can look up again. Raises InvalidRequest, whose `param`
        is the field of NewKey that is wrong, also when the name is taken."""

    async def every(self) -> list[StoredKey]:
        """Every key ever made, the oldest first."""

    async def find(self, word: str) -> StoredKey | None:
        """The key, revoked or not, that `word` is, or is the digest of."""

    async def revoke(self, id: str, by: str) -> StoredKey:
        """Revokes a key for good; once more changes nothing. Raises NotFound."""

    async def standings(self, key: StoredKey) -> Sequence[Standing]:
        """How the budgets of this key alone stand, in the order of its limits."""


class Context(Struct, frozen=True, kw_only=True):
    """What the core hands to a kind when it opens a component.

    `clock` gives Unix seconds, `folder` is where relative paths start, `worker` tells this process from its
    siblings (0 when it is alone). `store`, and `keys` over it, are there for extensions whose kind `needs` it.
    """

    http: HTTPClient
    clock: Callable[[], float]
    folder: Path
    log: Log
    meter: Meter
    worker: int = 0
    store: Store | None = None
    keys: KeyDesk | None = None


class Archive(Protocol):
    """What a store has recorded, opened for reading alone: nothing of it changes, not even by opening it. All raise
    StoreUnavailable."""

    async def count(self, since_s: float, where: Mapping[str, str]) -> int:
        """How many finished requests there are since then with these values of record fields."""

    def history(
        self, since_s: float, where: Mapping[str, str], keep: Callable[[str], bool] | None
    ) -> AsyncIterator[Sequence[Record]]:
        """The finished requests from the oldest to the newest, in batches; of them those whose id `keep` wants. What
        a record has for people to read (reason, notes, error, its cost beside that of its attempts) may be missing."""

    def scored(self, since_s: float) -> AsyncIterator[Sequence[Record]]:
        """The finished requests since then that have feedback, from the oldest to the newest, in batches. Of a record
        may be missing all but id, time, state, model, feedback and features."""

    async def record(self, id: str) -> Record | None:
        """One record."""

    async def keys(self) -> list[StoredKey]:
        """Every key ever made in the store."""


class Kind(Generic[ComponentT]):
    """A way to build components: its name in YAML, the type of its settings, and how to open one.

    A kind of Signal also declares the `signals` it measures and their types (float, int, bool, str), since rules are
    type-checked before anything is opened. An extension that reads the ledger and the records `needs` the store. A
    kind of Store may also say how to `read` what it recorded and change nothing.
    """

    def __init__(
        self,
        name: str,
        settings: type[Struct],
        open: Callable[[Any, Context], AbstractAsyncContextManager[ComponentT]],
        signals: Mapping[str, type] | None = None,
        needs: Collection[Literal["store"]] = (),
        read: Callable[[Any, Context], AbstractAsyncContextManager[Archive]] | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.open = open
        self.signals: Mapping[str, type] = signals or {}
        self.needs = frozenset(needs)
        self.read = read

    def __repr__(self) -> str:
        return f"Kind({self.name!r})"


class ProviderSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The settings every HTTP provider shares; a plugin's own come in a struct that inherits this one."""

    api_key: Annotated[Secret | None, Meta(description="what it asks for: a reference, such as ${NAME}")] = None
    base_url: Annotated[str | None, Meta(description="another address than the vendor's own")] = None
    timeout_s: Annotated[float, Meta(gt=0, description="a whole answer, in seconds")] = 600.0
    connect_timeout_s: Annotated[float, Meta(gt=0, description="a connection, in seconds")] = 5.0
    first_byte_timeout_s: Annotated[float, Meta(gt=0, description="the first byte of an answer, in seconds")] = 120.0
    idle_timeout_s: Annotated[float, Meta(gt=0, description="between two reads of an answer, in seconds")] = 60.0
    max_connections: Annotated[int, Meta(ge=1, description="connections at the same time")] = 100
    headers: Annotated[dict[str, Secret], Meta(description="further headers of each request")] = msgspec.field(
        default_factory=dict
    )

    @property
    def timeouts(self) -> Timeouts:
        """The deadlines as the client takes them."""
        return Timeouts(self.connect_timeout_s, self.first_byte_timeout_s, self.idle_timeout_s, self.timeout_s)


@runtime_checkable
class PricedAs(Protocol):
    """Settings of a provider that know better than its kind whose prices apply."""

    @property
    def priced_as(self) -> str:
        """The kind whose names the price table is asked for; '' when no name of this provider's has a price there."""


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


@runtime_checkable
class CompletesText(Protocol):
    """A provider that goes on with texts itself (`/v1/completions`); the call's request is a TextRequest. Without it,
    and for models it does not do it for, the prompt is put as a chat."""

    def completes_text(self, model: str) -> bool:
        """Whether this upstream model takes them."""

    async def atext_completion(self, call: Call) -> Answer:
        """The whole answer."""

    def atext_streaming(self, call: Call) -> AsyncIterator[Chunk]:
        """The answer as it comes, as `astreaming`."""


@runtime_checkable
class Embeds(Protocol):
    """A provider that turns texts into vectors; the call's request is an EmbeddingRequest."""

    async def aembedding(self, call: Call) -> Answer:
        """The vectors: `raw` is OpenAI's list of embeddings with one an input, in their order. Raises Unsupported for
        inputs the vendor does not take, such as tokens."""


class Signal(Protocol):
    """Measures a request: pure, fast, no I/O."""

    def measure(self, request: ChatRequest) -> Mapping[str, SignalValue]:
        """A value for each signal its kind declares."""


@runtime_checkable
class HasEvidence(Protocol):
    """A signal that can say what in the text raised it."""

    def evidence(self, request: ChatRequest) -> Mapping[str, Sequence[str]]:
        """Short quotes by signal name, the strongest first."""


class Labelled(Struct, frozen=True):
    """A prompt, and how good the answers of a strong and a cheap model to it were, from 0 to 1."""

    prompt: str
    strong: float
    cheap: float


@runtime_checkable
class Trainable(Protocol):
    """A signal that learns. Its settings have an `artefact`: the path of what it learned, to be used instead of what
    it would use by default."""

    def fit(self, rows: Sequence[Labelled], advance: Callable[[float], None]) -> bytes:
        """What a file is to hold; the same rows give the same bytes. `advance` is told shares of the work, 1 in all."""


class Guarded(Struct, kw_only=True):
    """One request as a guard sees it, without headers or secrets; the same object goes to `before` and to `after`.

    `raw` is its body in the format `api`, `route` is '' while none is chosen, `model` the name that serves once an
    answer begins. `notes` is for the guard
    alone, from its `before` to its `after`; what it writes into `record` is kept in the request's record, and what it
    writes into `headers` is sent as `x-muxer-NAME`.
    """

    id: str
    caller: Caller
    api: str
    raw: bytes
    request: ChatRequest
    route: str = ""
    model: str = ""
    notes: dict[str, Any] = msgspec.field(default_factory=dict)
    record: dict[str, str] = msgspec.field(default_factory=dict)
    headers: dict[str, str] = msgspec.field(default_factory=dict)


@runtime_checkable
class Guard(Protocol):
    """Looks at requests before they are sent, in the order of the file. What it raises but GuardRefused, and a deadline
    it misses, costs its effect only, unless the file marks it `required`."""

    async def before(self, asked: Guarded) -> ChatRequest | Answer | None:
        """The request to go on with, an answer that makes asking anybody unnecessary, or None for no change. Raises
        GuardRefused to refuse."""


@runtime_checkable
class GuardsAnswers(Protocol):
    """A guard that also looks at answers; the last guard of the file sees them first."""

    def after(self, asked: Guarded, chunks: AsyncIterator[Chunk]) -> AsyncIterator[Chunk]:
        """The chunks to go on with; a whole answer comes as one chunk per choice, then its usage. A chunk passed on as
        it is keeps the upstream's bytes; of any other only the fields count."""


class Sink(Protocol):
    """Gets a copy of each finished record, in batches, off the path of requests."""

    async def write(self, records: Sequence[Record]) -> None:
        """Takes a batch; after an exception the same batch is offered again for a while."""


class Authenticator(Protocol):
    """Knows callers by something else than a key of the file or the store."""

    async def caller(self, headers: Mapping[str, str]) -> Caller | None:
        """Who sent these headers; None when they are not for this authenticator. Raises InvalidAPIKey for a credential
        that is, and does not hold."""


class Kinds(Struct, frozen=True):
    """Every kind the named plugins offer, by name; `origins` says which plugin offers `provider openai` and so on.
    `unnamed` are the plugins that are installed and were not asked for."""

    providers: Mapping[str, Kind[Provider]] = msgspec.field(default_factory=dict)
    stores: Mapping[str, Kind[Store]] = msgspec.field(default_factory=dict)
    sinks: Mapping[str, Kind[Sink]] = msgspec.field(default_factory=dict)
    signals: Mapping[str, Kind[Signal]] = msgspec.field(default_factory=dict)
    guards: Mapping[str, Kind[Guard]] = msgspec.field(default_factory=dict)
    authenticators: Mapping[str, Kind[Authenticator]] = msgspec.field(default_factory=dict)
    extensions: Mapping[str, Kind[object]] = msgspec.field(default_factory=dict)
    origins: Mapping[str, str] = msgspec.field(default_factory=dict)
    unnamed: frozenset[str] = frozenset()
