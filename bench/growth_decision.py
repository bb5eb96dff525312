"""How the decision on a request grows with routes, models, keys of the file and the length of its prompt.

It has no command; bench/growth.py uses it. Microseconds of CPU to know the caller, read the request and decide.
"""

import tempfile
import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from bench.gateways import MUXER
from bench.growth_store import Grown
from bench.native import KEY
from bench.steps import PROSE, now
from muxer.access import digest
from muxer.assemble import assemble
from muxer.config.load import load
from muxer.pipeline import decide
from muxer.plugins import find_kinds
from muxer.prices import PriceTable, load_prices
from muxer.records import new_id
from muxer.wire.openai_inbound import CHAT

TEXT = MUXER.format(store="memory", settings="", port=1, upstream=9, key=KEY)
PLAIN_BYTES = 1_000


def with_routes(text: str, count: int) -> str:
    """The configuration with so many rules more, none of which matches."""
    more = "".join(f'  - {{name: r{n}, when: "tokens > {10**8 + n}", use: [large]}}\n' for n in range(count))
    return text.replace("routes:\n", f"routes:\n{more}")


def with_models(text: str, count: int) -> str:
    """The configuration with so many models more."""
    price = "price_usd_per_million: {input: 1, output: 2}"
    more = "".join(f"  m{n}: {{provider: up, name: m-{n}, {price}}}\n" for n in range(count))
    return text.replace("models:\n", f"models:\n{more}")


def _keys(count: int) -> str:
    more = "".join(f'  - {{name: k{n}, digest: "sha256:{digest(f"sk-{n}")}", user: u{n}}}\n' for n in range(count))
    return TEXT.replace(f"keys: [{{name: bench, secret: {KEY}, user: bench}}]", f"keys:\n{more}").replace(
        "keys:\n", f"keys:\n  - {{name: bench, secret: {KEY}, user: bench}}\n"
    )


def _cases() -> Iterator[tuple[str, int, str, int]]:
    """What grows, to what, the configuration, and the size of the prompt."""
    for count in (1, 10, 100, 1_000):
        yield "routes", count, with_routes(TEXT, count), PLAIN_BYTES
    for count in (1, 10, 100, 500):
        yield "models", count, with_models(TEXT, count), PLAIN_BYTES
    for count in (1, 10, 100, 1_000):  # a file may have 1 MB; more belong into the store
        yield "keys of the file", count, _keys(count), PLAIN_BYTES
    for size in (1_000, 10_000, 100_000, 1_000_000):
        yield "bytes of the prompt", size, TEXT, size


async def _us(folder: Path, text: str, size: int, rounds: int, table: PriceTable) -> float:
    path = folder / "routing.yaml"
    path.write_text(text)
    prompt = (PROSE * (size // len(PROSE) + 1))[:size]
    body = msgspec.json.encode({"model": "auto", "messages": [{"role": "user", "content": prompt}]})
    headers = {"Authorization": f"Bearer {KEY}"}
    async with AsyncExitStack() as stack:
        configuration = load(path, {}, find_kinds, table=table)
        assembly = await stack.enter_async_context(assemble(configuration, table, lambda *_, **__: None))

        def step() -> None:
            caller = now(assembly.callers.caller(headers))
            now(decide(assembly.parts, caller, CHAT.read(body), new_id(time.time)))

        step()
        timer = timeit.Timer(step, timer=time.thread_time)
        count = max(5, int(0.02 / max(timer.timeit(5) / 5, 1e-6)))
        return min(timer.repeat(rounds, count)) / count * 1e6


async def measured(rounds: int, note: Callable[[str], None]) -> Grown:
    """Best of the rounds of each case."""
    table = load_prices()
    found: Grown = {}
    with tempfile.TemporaryDirectory() as folder:
        for what, count, text, size in _cases():
            note(f"decides with {count:,} {what}")
            spent = await _us(Path(folder), text, size, rounds, table)
            found.setdefault(f"decide: {what}", {})[count] = spent
    return found
