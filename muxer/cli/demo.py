"""`muxer demo`: asks a proxy a prompt of every kind over HTTP and shows who answered, at what cost."""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from msgspec import Struct, structs

from muxer.assemble import assemble
from muxer.cli.checkup import check_up
from muxer.cli.client import Failed, Proxy, Served, open_proxy
from muxer.cli.configuration import Loaded, read
from muxer.cli.output import NOTHING, Cell, Column, bad, print_error, print_table, progress
from muxer.config.settings import Component, Configuration
from muxer.log import JSONLog
from muxer.money import Price, usd
from muxer.plugins import find_kinds
from muxer.server import Server

PROMPT_WIDTH = 32
_WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather at a place now",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}
# The prompts of the README, and what else is asked with each.
SAMPLES: Mapping[str, Mapping[str, object]] = {
    "Write a Python function to calculate fibonacci numbers": {},
    "Write a Python function to sort a list": {},
    "Analyze the time complexity of merge sort": {},
    "What is 2+2?": {},
    "What is the capital of France?": {},
    "Tell me about climate change": {},
    "Count from 1 to 10": {"stream": True, "stream_options": {"include_usage": True}},
    "Do I need an umbrella in Zurich today?": {"tools": [_WEATHER]},
}
MAX_TOKENS = 300
_CLOSE_S = 1.0  # how long requests may take to end


class _Result(Struct, frozen=True, kw_only=True):
    """What came of a prompt: who served it, or why nobody did."""

    prompt: str
    served: Served | None = None
    error: str = ""
    budget_left_usd: str = NOTHING


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the words of the command."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--config", type=Path, metavar="FILE", help="default: routing.yaml here, else the built-in one")
    which.add_argument("--url", help="ask this running proxy, instead of one in this process with offline providers")
    parser.add_argument("--api-key", metavar="KEY", help="the key for --url")


def run(arguments: argparse.Namespace) -> int:
    """Asks and prints; 1 when something was not answered as it should be."""
    try:
        if arguments.url is not None:
            return asyncio.run(_ask_running(arguments.url, arguments.api_key))
        return asyncio.run(_ask_own(read(arguments.config, demo=True)))
    except Failed as error:
        print_error(error)
        return 1


async def _ask_running(url: str, api_key: str | None) -> int:
    async with open_proxy(url, api_key) as proxy:
        prices = await proxy.prices()
        print(f"Asking {proxy.url}\n")
        results = await _ask_all(proxy)
        _print_results(results, prices)
        print()
        is_well = await check_up(proxy)
    return _conclude(results, prices, is_well=is_well)


async def _ask_own(loaded: Loaded) -> int:
    async with _serving(loaded) as url, open_proxy(url) as proxy:
        prices = await proxy.prices()
        print(f"Asking a proxy in this process ({loaded.configuration.file}) whose providers answer offline.\n")
        results = await _ask_all(proxy)
    _print_results(results, prices)
    return _conclude(results, prices, is_well=True)


@asynccontextmanager
async def _serving(loaded: Loaded) -> AsyncIterator[str]:
    """A proxy on a free port of this machine; its store lies in a folder that is removed with it."""
    log = JSONLog(sys.stderr.buffer, time.time, "error")
    with TemporaryDirectory(prefix="muxer-demo-") as folder:
        configuration = _apart(loaded.configuration, Path(folder))
        async with assemble(configuration, loaded.table, log) as assembly:
            listener = Server(assembly, is_loopback=True).listener()
            try:
                yield f"http://127.0.0.1:{await listener.listen('127.0.0.1', 0)}"
            finally:
                await listener.close(_CLOSE_S)


def _apart(configuration: Configuration, folder: Path) -> Configuration:
    """The same configuration without its keys, whose secrets nobody knows, and away from the user's own store."""
    stores = find_kinds(["sqlite"]).stores
    settings = msgspec.convert({"path": str(folder / "demo.db")}, stores["sqlite"].settings)
    store = Component(name="store", kind="sqlite", settings=settings)
    return structs.replace(
        configuration,
        settings=structs.replace(configuration.settings, store=store, keys=()),
        kinds=structs.replace(configuration.kinds, stores=stores),
    )


class _Limit(Struct, frozen=True):
    limit_usd: str | None = None
    remaining_usd: str | None = None


class _Stats(Struct, frozen=True):
    """The part of `/user/stats` that is read here."""

    limits: tuple[_Limit, ...] = ()


async def _ask_all(proxy: Proxy) -> list[_Result]:
    results = []
    with progress() as say:
        for number, (prompt, fields) in enumerate(SAMPLES.items(), 1):
            say(f"{number} of {len(SAMPLES)}: {prompt}")
            results.append(await _ask(proxy, prompt, fields))
    return results


async def _ask(proxy: Proxy, prompt: str, fields: Mapping[str, object]) -> _Result:
    messages = [{"role": "user", "content": prompt}]
    try:
        served = await proxy.ask({"messages": messages, "max_tokens": MAX_TOKENS, **fields})
        return _Result(prompt=prompt, served=served, budget_left_usd=await _budget_left_usd(proxy))
    except Failed as error:
        return _Result(prompt=prompt, error=str(error))


async def _budget_left_usd(proxy: Proxy) -> str:
    """What is left under the caller's tightest limit."""
    stats = await proxy.read("/user/stats", _Stats)
    left = [limit.remaining_usd for limit in stats.limits if limit.limit_usd is not None and limit.remaining_usd]
    return min(left, key=Decimal, default=NOTHING)


def _dearest(results: Sequence[_Result], prices: Mapping[str, Price]) -> str | None:
    """The model that would have cost most for all that was served."""
    return max(prices, key=lambda model: sum(_costs_at(prices[model], results)), default=None)


def _costs_at(price: Price, results: Sequence[_Result]) -> list[int]:
    return [price.cost_nanos(result.served.usage) for result in results if result.served]


def _print_results(results: Sequence[_Result], prices: Mapping[str, Price]) -> None:
    dearest = _dearest(results, prices)
    columns = [
        Column("prompt"),
        Column("route"),
        Column("model"),
        Column("in", is_number=True, is_spare=True),
        Column("out", is_number=True, is_spare=True),
        Column("cost $", is_number=True),
        Column(f"{dearest} $" if dearest else "dearest $", is_number=True),
        Column("budget left $", is_number=True, is_spare=True),
    ]
    print_table(columns, [_row(result, prices[dearest] if dearest else None) for result in results])
    for result in results:
        if result.error:
            print_error(f"{result.prompt} -> {result.error}")


def _row(result: _Result, dearest: Price | None) -> list[Cell]:
    prompt = result.prompt
    shown = prompt if len(prompt) <= PROMPT_WIDTH else f"{prompt[: PROMPT_WIDTH - 3].rstrip()}..."
    served = result.served
    if served is None:
        return [shown, NOTHING, bad("failed"), *[NOTHING] * 5]
    return [
        shown,
        served.route,
        served.model,
        f"{served.usage.input_tokens:,}",
        f"{served.usage.output_tokens:,}",
        usd(served.cost_nanos),
        usd(dearest.cost_nanos(served.usage)) if dearest else NOTHING,
        result.budget_left_usd,
    ]


def _conclude(results: Sequence[_Result], prices: Mapping[str, Price], *, is_well: bool) -> int:
    """Prints the totals and says whether all went well."""
    cost = sum(result.served.cost_nanos for result in results if result.served)
    failures = sum(1 for result in results if result.served is None)
    dearest = _dearest(results, prices)
    instead = sum(_costs_at(prices[dearest], results)) if dearest else 0
    print()
    if cost < instead:
        less = f"{100 * (instead - cost) // instead} % less"
        print(f"${usd(cost)} instead of ${usd(instead)} with {dearest} for everything: {less}")
    else:
        print(f"${usd(cost)} in all")
    if failures:
        print_error(f"{failures} of {len(results)} requests failed")
    return 0 if is_well and not failures else 1
