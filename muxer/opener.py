"""Opens the components of a configuration, each with what it is handed and behind what keeps its faults to itself."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TypeVar

from msgspec import Struct

from muxer.access import Doorkeeper
from muxer.config.settings import Component, Configuration
from muxer.errors import ConfigInvalid, Fault
from muxer.fence import Fence, FencedSignal
from muxer.guards import Armed, Guards
from muxer.interfaces import Context, IsMeter, Kind, Log, Meter, Provider, ProviderSettings, Signal
from muxer.log import frames
from muxer.measurements import Metric
from muxer.sinks import Outlet, Outlets
from muxer.upstream import open_client

T = TypeVar("T")


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


class Opener:
    """Opens components one after the other; leaving the stack it was given closes them in reverse."""

    def __init__(
        self,
        configuration: Configuration,
        opened: AsyncExitStack,
        log: Log,
        meters: Meters,
        clock: Callable[[], float],
        worker: int,
    ) -> None:
        self._settings = configuration.settings
        self._kinds = configuration.kinds
        self._folder = configuration.folder
        self._opened = opened
        self._log = log
        self._meters = meters
        self._clock = clock
        self._worker = worker

    async def context(self, max_connections: int = 100) -> Context:
        """What a component is handed, with an HTTP client of so many connections."""
        return Context(
            http=await self._opened.enter_async_context(open_client(max_connections)),
            clock=self._clock,
            folder=self._folder,
            log=self._log,
            meter=self._meters,
            worker=self._worker,
        )

    async def open(self, kind: Kind[T], settings: Struct, context: Context, path: str) -> T:
        """The component. Raises ConfigInvalid, also for what the plugin did not foresee."""
        try:
            return await self._opened.enter_async_context(kind.open(settings, context))
        except ConfigInvalid:
            raise
        except (Exception, SystemExit) as error:  # foreign code
            self._log("error", "component_failed", component=path, error=type(error).__name__, trace=frames(error))
            fault = Fault(f"kind {kind.name!r} cannot be opened: {type(error).__name__}: {error}", path=path)
            raise ConfigInvalid([fault]) from error

    async def extensions(self, context: Context) -> list[object]:
        """Opens the extensions: those that need the store once it is there, and the others, meters among them, before
        anything that is measured."""
        found: list[object] = []
        for name, kind in self._kinds.extensions.items():
            if bool(kind.needs) == (context.store is not None):
                extension = await self.open(kind, kind.settings(), context, f"extension {name}")
                if isinstance(extension, IsMeter):
                    self._meters.join(extension.meter)
                found.append(extension)
        return found

    async def providers(self) -> dict[str, Provider]:
        """The providers that can be asked, each with connections of its own."""
        providers: dict[str, Provider] = {}
        for name, entry in self._settings.providers.items():
            if not entry.unavailable:
                limit = entry.settings.max_connections if isinstance(entry.settings, ProviderSettings) else 100
                kind, context = self._kinds.providers[entry.kind], await self.context(limit)
                providers[name] = await self.open(kind, entry.settings, context, f"providers.{name}")
        return providers

    async def signals(self, context: Context) -> dict[str, Signal]:
        """The signals, each behind a fence."""
        signals: dict[str, Signal] = {}
        for name, kind in self._kinds.signals.items():
            signal = await self.open(kind, kind.settings(), context, f"signal {name}")
            signals[name] = FencedSignal(signal, kind.signals, self._fence(f"signal {name}"))
        return signals

    async def guards(self, context: Context) -> Guards:
        """The guards: those a route names are in force there, the others everywhere."""
        armed: dict[str, Armed] = {}
        for index, entry in enumerate(self._settings.guards):
            guard = await self._unless_optional(self._kinds.guards[entry.kind], entry, context, f"guards[{index}]")
            if guard is not None:
                fence = self._fence(f"guard {entry.name}")
                armed[entry.name] = Armed(
                    name=entry.name, guard=guard, required=entry.required, timeout_s=entry.timeout_s, fence=fence
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
            sink = await self._unless_optional(self._kinds.sinks[entry.kind], entry, context, f"sinks[{index}]")
            if sink is not None:
                outlets.append(Outlet(entry.name, sink, self._fence(f"sink {entry.name}"), self._meters))
        sinks = Outlets(outlets)
        self._opened.push_async_callback(sinks.close, self._settings.server.grace_s)
        return sinks

    async def authenticators(self, context: Context) -> list[Doorkeeper]:
        """Who else knows callers, in the order of the file."""
        found: list[Doorkeeper] = []
        for index, entry in enumerate(self._settings.authenticators):
            kind = self._kinds.authenticators[entry.kind]
            one = await self.open(kind, entry.settings, context, f"authenticators[{index}]")
            found.append(Doorkeeper(one, self._fence(f"authenticator {entry.name}")))
        return found

    async def _unless_optional(self, kind: Kind[T], entry: Component, context: Context, path: str) -> T | None:
        """The component, or None and a line in the log when it cannot be opened and the file does not require it."""
        try:
            return await self.open(kind, entry.settings, context, path)
        except ConfigInvalid as error:
            if entry.required:
                raise
            self._log("error", "component_left_out", component=path, reason=str(error))
            return None

    def _fence(self, component: str) -> Fence:
        return Fence(component, self._meters, self._log)
