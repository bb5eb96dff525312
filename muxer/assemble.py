"""From a configuration to what serves requests: components opened in order, closed in reverse."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from msgspec import Struct

from muxer import measurements
from muxer.access import Keys, Known
from muxer.budgets import Calendar, lines
from muxer.catalog import build_catalog
from muxer.config.settings import Configuration, KeySettings
from muxer.dispatch import Cooldowns, Dispatcher
from muxer.errors import StoreUnavailable
from muxer.interfaces import Context, HasRoutes, IsMeter, Log, Meter, Provider, ProviderSettings, Route, Signal
from muxer.ledger import Ledger, report
from muxer.measurements import Metric
from muxer.pipeline import InFlight, Parts
from muxer.prices import PriceTable
from muxer.routing import Rules
from muxer.stores import Store
from muxer.types import Caller
from muxer.upstream import open_client

REPORT_EVERY_S = 5.0


class Meters:
    """Hands each measurement to every component that takes them."""

    def __init__(self) -> None:
        self._meters: list[Meter] = []

    def join(self, meter: Meter) -> None:
        """From now on this meter is told too."""
        self._meters.append(meter)

    def add(self, metric: Metric, amount: float, *labels: str) -> None:
        """See Meter."""
        for meter in self._meters:
            meter.add(metric, amount, *labels)

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """See Meter."""
        for meter in self._meters:
            meter.set(metric, value, *labels)

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """See Meter."""
        for meter in self._meters:
            meter.observe(metric, value, *labels)


class Assembly(Struct, frozen=True, kw_only=True):
    """Everything that was opened for one configuration."""

    configuration: Configuration
    parts: Parts
    store: Store
    keys: Keys
    routes: tuple[Route, ...]
    begun_at: float


@asynccontextmanager
async def assemble(
    configuration: Configuration, table: PriceTable, log: Log, clock: Callable[[], float] = time.time, worker: int = 0
) -> AsyncIterator[Assembly]:
    """Opens all components of a configuration. Raises ConfigInvalid when one of them cannot be opened."""
    settings, kinds, meters = configuration.settings, configuration.kinds, Meters()
    async with AsyncExitStack() as opened:

        async def context(max_connections: int) -> Context:
            http = await opened.enter_async_context(open_client(max_connections))
            folder = configuration.folder
            return Context(http=http, clock=clock, folder=folder, log=log, meter=meters, worker=worker)

        shared = await context(max_connections=100)
        routes: list[Route] = []
        for extension_kind in kinds.extensions.values():
            extension = await opened.enter_async_context(extension_kind.open(extension_kind.settings(), shared))
            if isinstance(extension, IsMeter):
                meters.join(extension.meter)
            if isinstance(extension, HasRoutes):
                routes += extension.routes()
        store = await opened.enter_async_context(
            kinds.stores[settings.store.kind].open(settings.store.settings, shared)
        )
        providers: dict[str, Provider] = {}
        for name, entry in settings.providers.items():
            if not entry.unavailable:
                limit = entry.settings.max_connections if isinstance(entry.settings, ProviderSettings) else 100
                provider = kinds.providers[entry.kind].open(entry.settings, await context(limit))
                providers[name] = await opened.enter_async_context(provider)
        signals: dict[str, Signal] = {}
        for name, signal_kind in kinds.signals.items():
            signals[name] = await opened.enter_async_context(signal_kind.open(signal_kind.settings(), shared))
        ledger = Ledger(store, meters, log, settings.budget_status)
        opened.push_async_callback(ledger.close, settings.server.grace_s)
        await opened.enter_async_context(_reporting(store, meters, log))
        meters.set(measurements.CONFIG_INFO, 1, configuration.digest)
        yield Assembly(
            configuration=configuration,
            parts=Parts(
                rules=_rules(configuration, table),
                signals=signals,
                dispatcher=Dispatcher(providers, Cooldowns(time.monotonic, meters), meters),
                ledger=ledger,
                meter=meters,
                log=log,
                clock=clock,
                in_flight=InFlight(meters),
            ),
            store=store,
            keys=Keys(_known(key) for key in settings.keys),
            routes=tuple(routes),
            begun_at=clock(),
        )


def _rules(configuration: Configuration, table: PriceTable) -> Rules:
    settings = configuration.settings
    return Rules(
        catalog=build_catalog(settings, table),
        routes=settings.routes,
        conditions=configuration.rules,
        limits=lines(settings.limits),
        calendar=Calendar(settings.timezone),
        defaults=settings.defaults,
        config=configuration.digest,
        strict=settings.strict_params,
    )


def _known(key: KeySettings) -> Known:
    caller = Caller(
        key=key.name, user=key.user or key.name, team=key.team, tags=key.tags, models=key.models, role=key.role
    )
    return Known((key.digest or "").removeprefix("sha256:"), caller)


@asynccontextmanager
async def _reporting(store: Store, meter: Meter, log: Log) -> AsyncIterator[None]:
    """Keeps the gauges that no request sets, for as long as the context is open."""
    task = asyncio.create_task(_report_for_ever(store, meter, log))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _report_for_ever(store: Store, meter: Meter, log: Log) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            await report(store, meter)
        except StoreUnavailable as error:
            log("warning", "store_unavailable", reason=error.message)
        due = loop.time() + REPORT_EVERY_S
        await asyncio.sleep(REPORT_EVERY_S)
        meter.set(measurements.LOOP_LAG_SECONDS, loop.time() - due)
