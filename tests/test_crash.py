"""What a kill -9 and a SIGTERM leave behind: real processes and the upstream's own bill (T4, I1, I4, S10, F17)."""

import asyncio
import os
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from muxer import Price, Rates, Usage
from muxer.testing import Say, ScriptedUpstream, Stall

PRICES = {"small-1": Price(Rates(input=1_000_000, output=2_000_000, cached_input=1_000_000, cache_write=1_000_000))}
BODY = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 100}
YAML = """
version: 1
plugins: [openai, sqlite]
store: {{kind: sqlite, path: muxer.db}}
providers: {{up: {{kind: openai, base_url: "{url}/v1"}}}}
models: {{small: {{provider: up, name: small-1, price_usd_per_million: {{input: 1, output: 2}}}}}}
routes: [{{name: all, use: [small]}}]
limits: [{{per: user, daily_usd: 1}}, {{per: user, concurrent: 1}}]
"""


class Running:
    """A proxy process and its address."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process = process
        self.url = url


@asynccontextmanager
async def serving(folder: Path, upstream: ScriptedUpstream) -> AsyncIterator[Running]:
    (folder / "routing.yaml").write_text(YAML.format(url=upstream.url))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "muxer", "serve", "--port", port,
        cwd=folder, env=dict(os.environ), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    await asyncio.wait_for(process.stderr.readuntil(b"Try it"), 15)
    try:
        yield Running(process, f"http://127.0.0.1:{port}")
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def killed_in_flight(folder: Path, upstream: ScriptedUpstream) -> None:
    """One finished request, then one that the upstream has billed and not answered when the proxy is killed."""
    upstream.script(None, Say(usage=Usage(input_tokens=10, output_tokens=20)), Stall())
    async with serving(folder, upstream) as proxy, aiohttp.ClientSession() as session:
        async with session.post(f"{proxy.url}/v1/chat/completions", json=BODY) as response:
            assert response.status == 200
        asked = asyncio.create_task(session.post(f"{proxy.url}/v1/chat/completions", json=BODY).__aenter__())
        await upstream.arrived(2)
        proxy.process.kill()
        with pytest.raises(aiohttp.ClientError):
            await asked


def counters(folder: Path) -> tuple[int, int, int]:
    query = "SELECT spent, held, presumed FROM counters WHERE account = 'user:anonymous:day'"
    with sqlite3.connect(folder / "muxer.db") as db:
        found: tuple[int, int, int] = db.execute(query).fetchone()
    db.close()
    return found


async def test_after_a_kill_what_was_in_flight_is_interrupted_and_counted(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream:
        await killed_in_flight(tmp_path, upstream)
        async with serving(tmp_path, upstream):
            spent, held, presumed = counters(tmp_path)
        assert held == 0
        assert spent + presumed >= upstream.bill_nanos(PRICES)
        with sqlite3.connect(tmp_path / "muxer.db") as db:
            assert db.execute("SELECT state, count(*) FROM requests GROUP BY 1 ORDER BY 1").fetchall() == [
                ("done", 1), ("interrupted", 1),
            ]  # fmt: skip
        db.close()


async def test_after_a_kill_its_slots_come_back_at_once(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream:
        await killed_in_flight(tmp_path, upstream)
        async with serving(tmp_path, upstream) as proxy, aiohttp.ClientSession() as session:
            response = await session.post(f"{proxy.url}/v1/chat/completions", json=BODY)
            assert response.status == 200


async def test_the_operator_resolves_what_a_kill_left_presumed(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream:
        await killed_in_flight(tmp_path, upstream)
        bill = upstream.bill_nanos(PRICES)
    code, listed = await ledger(tmp_path, "list")
    assert (code, "interrupted" in listed) == (0, True)
    id = next(word for word in listed.split() if word.startswith("req_"))
    lost = bill - counters(tmp_path)[0]
    assert (await ledger(tmp_path, "resolve", id, "--cost", f"{lost / 1e9:.9f}"))[0] == 0
    assert counters(tmp_path) == (bill, 0, 0)
    assert (await ledger(tmp_path, "resolve", id, "--cost", "0"))[0] == 1


async def test_a_sigterm_lets_a_running_request_finish(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream:
        upstream.script(None, Stall())
        async with serving(tmp_path, upstream) as proxy, aiohttp.ClientSession() as session:
            asked = asyncio.create_task(session.post(f"{proxy.url}/v1/chat/completions", json=BODY).__aenter__())
            await upstream.arrived(1)
            await stopping(proxy)
            upstream.gate.set()
            assert (await asked).status == 200
            assert await proxy.process.wait() == 0
        assert counters(tmp_path) == (upstream.bill_nanos(PRICES), 0, 0)


async def test_a_second_sigterm_hastens_and_what_was_running_stays_counted(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream:
        upstream.script(None, Stall())
        async with serving(tmp_path, upstream) as proxy, aiohttp.ClientSession() as session:
            asked = asyncio.create_task(session.post(f"{proxy.url}/v1/chat/completions", json=BODY).__aenter__())
            await upstream.arrived(1)
            await stopping(proxy)
            proxy.process.terminate()
            assert await asyncio.wait_for(proxy.process.wait(), 10) == 0
            with pytest.raises(aiohttp.ClientError):
                await asked
        spent, held, presumed = counters(tmp_path)
        assert (spent, held, presumed >= upstream.bill_nanos(PRICES)) == (0, 0, True)


async def stopping(proxy: Running) -> None:
    """Asks the proxy to stop, and waits until it says that it does."""
    proxy.process.terminate()
    assert proxy.process.stdout is not None
    await asyncio.wait_for(proxy.process.stdout.readuntil(b"stopping"), 10)


async def ledger(folder: Path, *words: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "muxer", "ledger", *words,
        cwd=folder, env={**os.environ, "COLUMNS": "200"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    return process.returncode, out.decode()
