"""From a configuration to what serves requests: components opened in order, closed in reverse."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from muxer import measurements
from muxer.access import Callers, Keys
from muxer.admin import Desk
from muxer.admission import Admission, Room, memory_bytes, open_admission, room_bytes
from muxer.background import beside
from muxer.breakers import Breakers
from muxer.budgets import Calendar, FileLimits, key_lines, lines
from muxer.catalog import build_catalog
from muxer.config.settings import Component, Configuration, KeySettings, ServerSettings, Settings
from muxer.conversations import Conversations
from muxer.dispatch import Dispatcher
from muxer.holdings import Holdings
from muxer.inflight import InFlight
from muxer.interfaces import Context, Log, Meter
from muxer.keyring import Keyring, Known
from muxer.keys import KeepsKeys, instant
from muxer.learner import Learner, open_learner
from muxer.ledger import Ledger, open_ledger
from muxer.opener import Held, Meters, Opener
from muxer.pipeline import Parts
from muxer.plans import Rules
from muxer.prices import PriceTable
from muxer.repeats import Repeats
from muxer.retries import RetryBudget
from muxer.scrubbing import Scrubber, scrubbed, secrets_of
from muxer.stores import Store
from muxer.types import Caller
from muxer.upstream import open_client

REPORT_EVERY_S = 5.0
_SHARED_CONNECTIONS = 100


class Assembly(Struct, frozen=True, kw_only=True):
    """Everything that serves by one configuration."""

    configuration: Configuration
    parts: Parts
    store: Store
    callers: Callers
    keys: Desk
    admission: Admission
    extensions: tuple[object, ...]
    begun_at: float
    held: Held


class Assembler:
    """Builds one assembly after another. They share the store and the accounts, and each component whose settings are
    the same in both; use `open_assembler`."""

    def __init__(self, opened: AsyncExitStack, log: Log, clock: Callable[[], float], worker: int) -> None:
        self._scrub = Scrubber()
        self.log = scrubbed(log, self._scrub)
        self.meters = Meters()
        self.holdings = Holdings()
        self._opened = opened
        self._clock = clock
        self._worker = worker
        self._shared: Context | None = None
        self._lasting: _Lasting | None = None

    async def build(self, configuration: Configuration, table: PriceTable, before: Assembly | None = None) -> Assembly:
        """Opens what `before` does not have already. Raises ConfigInvalid when a component cannot be opened; then
        nothing has changed."""
        for component in _components(configuration.settings):
            self._scrub.learn(secrets_of(component.settings))
        opener = Opener(configuration, self.holdings, before.held if before else {}, self.log, self.meters, self._scrub)
        try:
            return await self._build(opener, configuration, table, before)
        except BaseException:
            opener.let_go()
            self.meters.use(before.extensions if before else ())
            raise

    def adopt(self, assembly: Assembly, before: Assembly | None = None) -> None:
        """From now on new requests are served by it: what all share goes by its settings."""
        assert self._lasting is not None, "an assembly was built"
        settings = assembly.configuration.settings
        if before is not None:
            self.meters.set(measurements.CONFIG_INFO, 0, before.configuration.digest)
        self.meters.use(assembly.extensions)
        self.meters.set(measurements.CONFIG_INFO, 1, assembly.configuration.digest)
        assembly.keys.follow([key.name for key in settings.keys], Calendar(settings.timezone))
        self._lasting.ledger.budget_status = settings.budget_status
        was = before.held if before else {}
        changed = {what for what, held in was.items() if assembly.held.get(what) is not held}
        models = assembly.parts.rules.catalog.models.values()
        self._lasting.breakers.keep(
            {(one.name, one.provider) for one in models if f"provider {one.provider}" not in changed}
        )

    def retire(self, assembly: Assembly) -> None:
        """Closes what only it had; call it once, when its last request has ended."""
        for held in reversed(tuple(assembly.held.values())):
            held.let_go()

    async def _build(
        self, opener: Opener, configuration: Configuration, table: PriceTable, before: Assembly | None
    ) -> Assembly:
        settings, meters, clock = configuration.settings, self.meters, self._clock
        context = replace(await self._context(), folder=configuration.folder)
        first = await opener.extensions(context)
        # What is measured while the others are opened is told to both.
        meters.use([*(before.extensions if before else ()), *first])
        store = await opener.store(context)
        last = self._lasting = self._lasting or await self._open_lasting(store, settings)
        extensions = [*first, *await opener.extensions(replace(context, store=store, keys=last.keys))]
        providers = await opener.providers(context)
        signals, guards = await opener.signals(context), await opener.guards(context)
        sinks = await opener.sinks(context)
        dispatcher = Dispatcher(providers, last.breakers, meters, self.log, self._scrub, last.retries)
        return Assembly(
            configuration=configuration,
            parts=Parts(
                rules=rules_of(configuration, table),
                signals=signals,
                guards=guards,
                dispatcher=dispatcher,
                ledger=last.ledger,
                repeats=Repeats(store, last.ledger, self.log, clock),
                sinks=sinks,
                meter=meters,
                log=self.log,
                clock=clock,
                in_flight=last.in_flight,
                conversations=last.conversations,
                learner=last.learner,
            ),
            store=store,
            callers=Callers(Keys(map(known_of, settings.keys), last.ring, clock), await opener.authenticators(context)),
            keys=last.keys,
            admission=last.admission,
            extensions=tuple(extensions),
            begun_at=last.begun_at,
            held=opener.held,
        )

    async def _context(self) -> Context:
        """What components are handed; those that are no providers share one HTTP client."""
        if self._shared is None:
            self._shared = Context(
                http=await self._opened.enter_async_context(open_client(_SHARED_CONNECTIONS)),
                clock=self._clock,
                folder=Path(),
                log=self.log,
                meter=self.meters,
                worker=self._worker,
            )
            self._opened.push_async_callback(self.holdings.close)
        return self._shared

    async def _open_lasting(self, store: Store, settings: Settings) -> "_Lasting":
        ring = Keyring(_keeper(store), self.meters)
        ledger = await self._opened.enter_async_context(
            open_ledger(
                store,
                self.meters,
                self.log,
                self._clock,
                budget_status=settings.budget_status,
                grace_s=settings.server.grace_s,
            )
        )
        admission = await self._opened.enter_async_context(open_admission(self._admission(settings.server)))
        await self._opened.enter_async_context(beside(_report_for_ever(ledger, admission, self.meters)))
        return _Lasting(
            ring=ring,
            keys=Desk(store, (), ring, Calendar(settings.timezone), self.log, self._clock),
            ledger=ledger,
            breakers=Breakers(time.monotonic, self.meters),
            retries=RetryBudget(),
            in_flight=InFlight(self.meters),
            admission=admission,
            conversations=Conversations(self._clock),
            learner=await self._opened.enter_async_context(open_learner(ledger.latest, self._clock)),
            begun_at=self._clock(),
        )

    def _admission(self, server: ServerSettings) -> Admission:
        room = Room(max(server.max_body_bytes, room_bytes(memory_bytes(), server.workers)), server.queue_s)
        return Admission(server.max_concurrent, server.queue_s, room, self.meters, self.log)


class _Lasting(Struct, frozen=True, kw_only=True):
    """What goes on whatever configuration is in force."""

    ring: Keyring
    keys: Desk
    ledger: Ledger
    breakers: Breakers
    retries: RetryBudget
    in_flight: InFlight
    admission: Admission
    conversations: Conversations
    learner: Learner
    begun_at: float


@asynccontextmanager
async def open_assembler(log: Log, clock: Callable[[], float] = time.time, worker: int = 0) -> AsyncIterator[Assembler]:
    """An assembler; leaving the context closes everything it opened."""
    async with AsyncExitStack() as opened:
        yield Assembler(opened, log, clock, worker)


@asynccontextmanager
async def assemble(
    configuration: Configuration, table: PriceTable, log: Log, clock: Callable[[], float] = time.time, worker: int = 0
) -> AsyncIterator[Assembly]:
    """Opens all components of one configuration. Raises ConfigInvalid when one of them cannot be opened."""
    async with open_assembler(log, clock, worker) as assembler:
        assembly = await assembler.build(configuration, table)
        assembler.adopt(assembly)
        yield assembly


def _components(settings: Settings) -> Iterator[Component]:
    """All that is configured, and may have secrets."""
    yield settings.store
    yield from settings.providers.values()
    yield from (*settings.authenticators, *settings.guards, *settings.sinks)


def rules_of(configuration: Configuration, table: PriceTable) -> Rules:
    """All that decides, by one configuration; nothing is opened for it."""
    settings = configuration.settings
    return Rules(
        catalog=build_catalog(settings, table),
        routes=settings.routes,
        conditions=configuration.rules,
        limits=FileLimits(lines(settings.limits), Calendar(settings.timezone)),
        defaults=settings.defaults,
        config=configuration.digest,
        strict=settings.strict_params,
        budget_status=settings.budget_status,
        lines=tuple(configuration.places[f"routes[{index}]"].line for index in range(len(settings.routes))),
    )


def known_of(key: KeySettings) -> Known:
    """A key of the file as requests meet it."""
    caller = Caller(
        key=key.name,
        user=key.user or key.name,
        team=key.team,
        tags=key.tags,
        models=key.models,
        role=key.role,
        limits=key_lines(key.limits, key.name),
    )
    expires_at = None if key.expires is None else instant(key.expires)
    return Known(digest=(key.digest or "").removeprefix("sha256:"), caller=caller, expires_at=expires_at)


def _keeper(store: Store) -> KeepsKeys | None:
    return store if isinstance(store, KeepsKeys) else None


async def _report_for_ever(ledger: Ledger, admission: Admission, meter: Meter) -> None:
    """Keeps the gauges that no request sets."""
    while True:
        meter.set(measurements.STORE_UP, await ledger.measure())
        await asyncio.sleep(REPORT_EVERY_S)
        meter.set(measurements.LOOP_LAG_SECONDS, admission.lateness_s())
