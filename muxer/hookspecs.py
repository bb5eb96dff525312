"""The hooks a plugin may implement. They run at start-up, are synchronous, and return kinds (STYLE §3)."""

import pluggy

from muxer.interfaces import Authenticator, Guard, Kind, Provider, Signal, Sink
from muxer.stores import Store

GROUP = "modelmuxer"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def register_providers() -> list[Kind[Provider]]:  # type: ignore[empty-body]  # pluggy never runs a spec
    """Ways to reach models; chosen by `providers.NAME.kind`."""


@hookspec
def register_stores() -> list[Kind[Store]]:  # type: ignore[empty-body]  # pluggy never runs a spec
    """Where holds, counters and records live; chosen by `store.kind`."""


@hookspec
def register_sinks() -> list[Kind[Sink]]:  # type: ignore[empty-body]  # pluggy never runs a spec
    """Where copies of finished records go; chosen by `sinks[].kind`."""


@hookspec
def register_signals() -> list[Kind[Signal]]:  # type: ignore[empty-body]  # pluggy never runs a spec
    """Measures of a request for use in `when`; in force once the plugin is named."""


@hookspec
def register_guards() -> list[Kind[Guard]]:  # type: ignore[empty-body]  # pluggy never runs a spec
    """What looks at requests and answers on their way; chosen by `guards[].kind`."""


@hookspec
def register_authenticators() -> list[Kind[Authenticator]]:  # type: ignore[empty-body]  # pluggy never runs a spec
    """Who else knows callers; chosen by `authenticators[].kind`."""


@hookspec
def register_extensions() -> list[Kind[object]]:  # type: ignore[empty-body]  # pluggy never runs a spec
    """Components that add HTTP routes (`HasRoutes`) or take measurements (`IsMeter`); opened once named."""
