"""From a configuration to what serves requests: components opened in order, closed in reverse."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from msgspec import Struct
from msgspec.structs import replace

from muxer import measurements
from muxer.access import Callers, Keys
from muxer.admin import Desk
from muxer.breakers import Breakers
from muxer.budgets import Calendar, key_lines, lines
from muxer.catalog import build_catalog
from muxer.config.settings import Component, Configuration, KeySettings
from muxer.dispatch import Dispatcher
from muxer.inflight import InFlight
from muxer.interfaces import Log, Meter, ProviderSettings
from muxer.keyring import Keyring, Known
from muxer.keys import KeepsKeys, instant
from muxer.ledger import Ledger, open_ledger
from muxer.opener import Meters, Opener
from muxer.pipeline import Parts
from muxer.prices import PriceTable
from muxer.routing import Rules
from muxer.stores import Store
from muxer.types import Caller

REPORT_EVERY_S = 5.0
_SHORTEST_SECRET = 8  # of shorter ones every other word would be one


class Assembly(Struct, frozen=True, kw_only=True):
    """Everything that was opened for one configuration."""

    configuration: Configuration
    parts: Parts
    store: Store
    callers: Callers
    keys: Desk
    extensions: tuple[object, ...]
    begun_at: float


@asynccontextmanager
async def assemble(
    configuration: Configuration, table: PriceTable, log: Log, clock: Callable[[], float] = time.time, worker: int = 0
) -> AsyncIterator[Assembly]:
    """Opens all components of a configuration. Raises ConfigInvalid when one of them cannot be opened."""
    settings, kinds, meters = configuration.settings, configuration.kinds, Meters()
    async with AsyncExitStack() as opened:
        opener = Opener(configuration, opened, log, meters, clock, worker)
        shared = await opener.context()
        extensions = await opener.extensions(shared)
        store = await opener.open(kinds.stores[settings.store.kind], settings.store.settings, shared, "store")
        ring = Keyring(_keeper(store), meters)
        keys = Desk(store, [key.name for key in settings.keys], ring, Calendar(settings.timezone), log, clock)
        extensions += await opener.extensions(replace(shared, store=store, keys=keys))
        providers = await opener.providers()
        signals, guards = await opener.signals(shared), await opener.guards(shared)
        sinks = await opener.sinks(shared)
        ledger = await opened.enter_async_context(
            open_ledger(
                store, meters, log, clock, budget_status=settings.budget_status, grace_s=settings.server.grace_s
            )
        )
        await opened.enter_async_context(_reporting(ledger, meters))
        meters.set(measurements.CONFIG_INFO, 1, configuration.digest)
        yield Assembly(
            configuration=configuration,
            parts=Parts(
                rules=rules_of(configuration, table),
                signals=signals,
                guards=guards,
                dispatcher=Dispatcher(
                    providers, Breakers(time.monotonic, meters), meters, log, _secrets(settings.providers)
                ),
                ledger=ledger,
                sinks=sinks,
                meter=meters,
                log=log,
                clock=clock,
                in_flight=InFlight(meters),
            ),
            store=store,
            callers=Callers(Keys(map(known_of, settings.keys), ring, clock), await opener.authenticators(shared)),
            keys=keys,
            extensions=tuple(extensions),
            begun_at=clock(),
        )


def _secrets(providers: Mapping[str, Component]) -> dict[str, list[str]]:
    """What each provider is sent that its errors must not quote to callers (B51): its key and header values, the
    longest first."""
    found: dict[str, list[str]] = {}
    for name, entry in providers.items():
        if isinstance(entry.settings, ProviderSettings):
            sent = {entry.settings.api_key or "", *entry.settings.headers.values()}
            found[name] = sorted((one for one in sent if len(one) >= _SHORTEST_SECRET), key=len, reverse=True)
    return found


def rules_of(configuration: Configuration, table: PriceTable) -> Rules:
    """All that decides, by one configuration; nothing is opened for it."""
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


@asynccontextmanager
async def _reporting(ledger: Ledger, meter: Meter) -> AsyncIterator[None]:
    """Keeps the gauges that no request sets, for as long as the context is open."""
    task = asyncio.create_task(_report_for_ever(ledger, meter))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _report_for_ever(ledger: Ledger, meter: Meter) -> None:
    loop = asyncio.get_running_loop()
    while True:
        meter.set(measurements.STORE_UP, await ledger.measure())
        due = loop.time() + REPORT_EVERY_S
        await asyncio.sleep(REPORT_EVERY_S)
        meter.set(measurements.LOOP_LAG_SECONDS, loop.time() - due)
