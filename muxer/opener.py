"""Opens the components of a configuration, each with what it is handed and behind what keeps its faults to itself.

What the configuration before had open with the same settings is taken over as it is.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from muxer.access import Doorkeeper
from muxer.config.settings import Component, Configuration
from muxer.errors import ConfigInvalid, Fault
from muxer.fence import Fence, FencedSignal
from muxer.guards import Armed, Guards
from muxer.holdings import Holding, Holdings
from muxer.interfaces import Context, IsMeter, Kind, Log, Provider, ProviderSettings, Signal, Sink
from muxer.log import frames
from muxer.measurements import Metric
from muxer.sinks import Outlet, Outlets
from muxer.stores import Store
from muxer.upstream import open_client

T = TypeVar("T")
_STORE = "store store"
CLOSE_S = 10.0  # how long a component may take to close, past the grace period

Held = Mapping[str, Holding[object]]
"""What a configuration has open, by what it is: `provider openai`."""


class Meters:
    """Hands each measurement to every component that takes them: a `Meter` whose methods are those of the one there is,
    in the common case. Look them up at each call, since they change with the configuration."""

    add: Callable[..., None]
    set: Callable[..., None]
    observe: Callable[..., None]

    def __init__(self) -> None:
        self.use(())

    def use(self, extensions: Sequence[object]) -> None:
        """From now on those of these extensions that are meters are told, each once, and no other."""
        once = {id(extension): extension for extension in extensions}.values()
        meters = [extension.meter for extension in once if isinstance(extension, IsMeter)]
        self.add = _all(meter.add for meter in meters)
        self.set = _all(meter.set for meter in meters)
        self.observe = _all(meter.observe for meter in meters)


def _all(takers: Iterable[Callable[..., None]]) -> Callable[..., None]:
    """One for all of these."""
    listed = tuple(takers)
    if len(listed) == 1:
        return listed[0]

    def take(metric: Metric, value: float, *labels: str) -> None:
        for taker in listed:
            taker(metric, value, *labels)

    return take


class Opener:
    """Opens components one after the other, or takes them over from `before`; `held` is what the configuration has."""

    def __init__(
        self,
        configuration: Configuration,
        holdings: Holdings,
        before: Held,
        log: Log,
        meters: Meters,
        scrub: Callable[[str], str],
    ) -> None:
        self._settings = configuration.settings
        self._kinds = configuration.kinds
        self._holdings = holdings
        self._before = before
        self._log = log
        self._meters = meters
        self._scrub = scrub
        self.held: dict[str, Holding[object]] = {}

    def let_go(self) -> None:
        """Closes what only this configuration has."""
        for holding in reversed(tuple(self.held.values())):
            holding.let_go()

    async def store(self, context: Context) -> Store:
        """The store, which stays the one that was opened first."""
        held: Holding[Store] | None = self._before.get(_STORE)  # type: ignore[assignment]  # its name has its type
        if held is not None:
            held.keep()
            self.held[_STORE] = held  # type: ignore[assignment]  # what it holds does not matter here
            return held.component
        entry = self._settings.store
        return (await self._open(_STORE, self._kinds.stores[entry.kind], entry.settings, context)).component

    async def extensions(self, context: Context) -> list[object]:
        """Opens the extensions: those that need the store once it is there, and the others, meters among them, before
        anything that is measured."""
        found: list[object] = []
        for name, kind in self._kinds.extensions.items():
            if bool(kind.needs) == (context.store is not None):
                found.append((await self._open(f"extension {name}", kind, kind.settings(), context)).component)
        return found

    async def providers(self, context: Context) -> dict[str, Provider]:
        """The providers that can be asked, each with connections of its own."""
        providers: dict[str, Provider] = {}
        for name, entry in self._settings.providers.items():
            if not entry.unavailable:
                limit = entry.settings.max_connections if isinstance(entry.settings, ProviderSettings) else 100
                kind = self._kinds.providers[entry.kind]
                opening = _with_client(kind, entry.settings, context, limit)
                held = await self._open(f"provider {name}", kind, entry.settings, context, f"providers.{name}", opening)
                providers[name] = held.component
        return providers

    async def signals(self, context: Context) -> dict[str, Signal]:
        """The signals, each behind a fence."""
        signals: dict[str, Signal] = {}
        for name, kind in self._kinds.signals.items():
            held = await self._open(f"signal {name}", kind, kind.settings(), context)
            signals[name] = FencedSignal(held.component, kind.signals, held.fence)
        return signals

    async def guards(self, context: Context) -> Guards:
        """The guards: those a route names are in force there, the others everywhere."""
        armed: dict[str, Armed] = {}
        for index, entry in enumerate(self._settings.guards):
            kind = self._kinds.guards[entry.kind]
            held = await self._unless_optional(f"guard {entry.name}", kind, entry, context, f"guards[{index}]")
            if held is not None:
                armed[entry.name] = Armed(
                    name=entry.name,
                    guard=held.component,
                    required=entry.required,
                    timeout_s=entry.timeout_s,
                    fence=held.fence,
                )
        by_route = {
            route.name: tuple(guard for name, guard in armed.items() if name in route.guards)
            for route in self._settings.routes
        }
        named = {name for route in self._settings.routes for name in route.guards}
        everywhere = tuple(guard for name, guard in armed.items() if name not in named)
        return Guards(everywhere=everywhere, by_route=by_route)

    async def sinks(self, context: Context) -> Outlets:
        """The sinks, which get what still waits for them when they are closed."""
        outlets: list[Outlet] = []
        for index, entry in enumerate(self._settings.sinks):
            outlet = await self._unless_optional(
                f"sink {entry.name}", self._outlet_kind(entry), entry, context, f"sinks[{index}]"
            )
            if outlet is not None:
                outlets.append(outlet.component)
        return Outlets(outlets)

    def _outlet_kind(self, entry: Component) -> Kind[Outlet]:
        """The kind of an entry's sink, as one that opens the sink behind its outlet."""
        kind = self._kinds.sinks[entry.kind]
        fence, grace_s = self._fence(f"sink {entry.name}"), self._settings.server.grace_s

        @asynccontextmanager
        async def open(settings: Struct, context: Context) -> AsyncIterator[Outlet]:
            sink: Sink
            async with kind.open(settings, context) as sink:
                outlet = Outlet(entry.name, sink, fence, self._meters)
                try:
                    yield outlet
                finally:
                    await outlet.close(grace_s)

        return Kind(kind.name, kind.settings, open)

    async def authenticators(self, context: Context) -> list[Doorkeeper]:
        """Who else knows callers, in the order of the file."""
        found: list[Doorkeeper] = []
        for index, entry in enumerate(self._settings.authenticators):
            kind = self._kinds.authenticators[entry.kind]
            held = await self._open(
                f"authenticator {entry.name}", kind, entry.settings, context, f"authenticators[{index}]"
            )
            found.append(Doorkeeper(held.component, held.fence))
        return found

    async def _open(
        self,
        what: str,
        kind: Kind[T],
        settings: Struct,
        context: Context,
        path: str = "",
        opening: Callable[[], AbstractAsyncContextManager[T]] | None = None,
    ) -> Holding[T]:
        """The component, opened or taken over. Raises ConfigInvalid, also for what the plugin did not foresee."""
        sort = what.partition(" ")[0]
        # A plugin makes its kinds anew whenever it is asked for them: it is its name that they go by.
        identity = (self._kinds.origins.get(f"{sort} {kind.name}"), kind.name, settings)
        held: Holding[T] | None = self._before.get(what)  # type: ignore[assignment]  # its identity has its type
        if held is None or held.identity != identity or held.task.done():
            opening = opening or (lambda: kind.open(settings, context))
            close_s = self._settings.server.grace_s + CLOSE_S
            held = Holding(what, identity, opening, self._fence(what), self._log, close_s)
            self._holdings.add(held)
        held.keep()
        self.held[what] = held  # type: ignore[assignment]  # what it holds does not matter here
        try:
            await held.opened()
        except ConfigInvalid as error:
            error.reword(self._scrub)
            raise
        except (Exception, SystemExit) as error:  # foreign code
            path = path or ("store" if what == _STORE else what)
            self._log("error", "component_failed", component=path, error=type(error).__name__, trace=frames(error))
            words = self._scrub(f"{type(error).__name__}: {error}")
            fault = Fault(f"kind {kind.name!r} cannot be opened: {words}", path=path)
            raise ConfigInvalid([fault]) from error
        return held

    async def _unless_optional(
        self, what: str, kind: Kind[T], entry: Component, context: Context, path: str
    ) -> Holding[T] | None:
        """The component, or None and a line in the log when it cannot be opened and the file does not require it."""
        try:
            return await self._open(what, kind, entry.settings, context, path)
        except ConfigInvalid as error:
            if entry.required:
                raise
            del self.held[what]
            self._log("error", "component_left_out", component=path, reason=str(error))
            return None

    def _fence(self, component: str) -> Fence:
        return Fence(component, self._meters, self._log, scrub=self._scrub)


@asynccontextmanager
async def open_signals(
    kinds: Mapping[str, Kind[Signal]], context: Context, settings_of: Callable[[Kind[Signal]], Struct] | None = None
) -> AsyncIterator[dict[str, Signal]]:
    """Signals by the names of their kinds, for a command: opened with their own settings or those given, closed with
    the context, and behind no fence."""
    async with AsyncExitStack() as opened:
        signals: dict[str, Signal] = {}
        for name, kind in kinds.items():
            settings = settings_of(kind) if settings_of else kind.settings()
            signals[name] = await opened.enter_async_context(kind.open(settings, context))
        yield signals


def _with_client(
    kind: Kind[T], settings: Struct, context: Context, max_connections: int
) -> Callable[[], AbstractAsyncContextManager[T]]:
    """Opens a component with an HTTP client of its own, of so many connections."""

    @asynccontextmanager
    async def open() -> AsyncIterator[T]:
        async with open_client(max_connections) as http:
            component: T
            async with kind.open(settings, replace(context, http=http)) as component:
                yield component

    return open
