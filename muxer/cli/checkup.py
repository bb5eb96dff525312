"""Whether a running proxy is well, as its own addresses tell, and the remedy where it is not."""

from collections.abc import Awaitable, Callable

from msgspec import Struct

from muxer.cli.client import Failed, Proxy
from muxer.cli.output import Cell, Column, bad, counted, good, print_table


class _Health(Struct, frozen=True):
    status: str
    version: str
    components: dict[str, str]


class _Provider(Struct, frozen=True):
    name: str
    available: bool
    reason: str | None = None


class _Providers(Struct, frozen=True):
    providers: tuple[_Provider, ...]


class _Stats(Struct, frozen=True):
    user: str
    requests: int
    spent_usd: str


async def check_up(proxy: Proxy) -> bool:
    """Prints a line for each address; whether all are well."""
    checks: dict[str, Callable[[Proxy], Awaitable[str]]] = {
        "/health": _health,
        "/providers": _providers,
        "/metrics": _metrics,
        "/user/stats": _stats,
    }
    is_well, rows = True, list[list[Cell]]()
    for path, check in checks.items():
        try:
            state, words = good("ok"), await check(proxy)
        except Failed as error:
            is_well, state, words = False, bad("failed"), str(error)
        rows.append([path, state, words])
    print_table([Column("address"), Column("is"), Column("says", wraps=True)], rows)
    return is_well


async def _health(proxy: Proxy) -> str:
    health = await proxy.read("/health", _Health)
    down = ", ".join(f"{name} is {state}" for name, state in health.components.items() if state != "ok")
    if health.status != "ok":
        raise Failed(f"{health.status}: {down}; the log of the proxy has the reason")
    return f"version {health.version}{f', {down}' if down else ''}"


async def _providers(proxy: Proxy) -> str:
    providers = (await proxy.read("/providers", _Providers)).providers
    up = ", ".join(provider.name for provider in providers if provider.available)
    down = "; ".join(f"not {provider.name}: {provider.reason}" for provider in providers if not provider.available)
    if not up:
        raise Failed(f"no provider can be asked ({down}); set the key of one, or serve with --demo")
    return f"{up}; {down}" if down else up


async def _metrics(proxy: Proxy) -> str:
    try:
        lines = (await proxy.get("/metrics")).decode("utf-8", "replace").splitlines()
    except Failed as error:
        if error.answered == 404:
            raise Failed("not served: add prometheus to `plugins:` in routing.yaml") from error
        raise
    series = sum(1 for line in lines if line.startswith("muxer_"))
    if not series:
        raise Failed("no line begins with muxer_: another program's metrics?")
    return f"{counted(series, 'line')} of muxer_ metrics"


async def _stats(proxy: Proxy) -> str:
    stats = await proxy.read("/user/stats", _Stats)
    return f"user {stats.user}: {counted(stats.requests, 'request')}, ${stats.spent_usd} spent"
