"""`muxer serve --workers`: real processes on one port, one budget, one page of metrics, and no orphan."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families as parse

from muxer import Usage
from muxer.testing import Say, ScriptedUpstream, Stall

DEADLINE_S = 15
BODY = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 100}
YAML = """
version: 1
plugins: [openai, prometheus, sqlite]
server: {{grace_s: 30}}
store: {{kind: sqlite, path: muxer.db}}
providers: {{up: {{kind: openai, base_url: "{url}/v1"}}}}
models: {{small: {{provider: up, name: small-1, price_usd_per_million: {{input: 1, output: 2}}}}}}
routes: [{{name: all, use: [small]}}]
limits: [{limit}]
"""
PLENTY = "{per: user, daily_usd: 1}"


class Running:
    """A parent, its workers and their address."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, banner: str) -> None:
        self.process = process
        self.url = url
        self.banner = banner

    def workers(self) -> set[int]:
        """The process ids of the parent's children."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return {int(word) for word in children.split()}

    async def ask(self) -> int:
        """The status of one request, over a connection of its own, so that either worker may take it."""
        url = f"{self.url}/v1/chat/completions"
        async with aiohttp.ClientSession() as session, session.post(url, json=BODY) as response:
            await response.read()
            return response.status

    async def metrics(self) -> dict[str, float]:
        """The sum of each family's series."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/metrics") as response:
            text = await response.text()
        sums: dict[str, float] = {}
        for sample in (sample for family in parse(text) for sample in family.samples):
            sums[sample.name] = sums.get(sample.name, 0) + sample.value
        return sums


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await asyncio.sleep(0.01)


async def begin(folder: Path, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "muxer", "serve", "--workers", "2", *words,
        cwd=folder, env=dict(os.environ), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@asynccontextmanager
async def serving(folder: Path, upstream: ScriptedUpstream, limit: str = PLENTY) -> AsyncIterator[Running]:
    (folder / "routing.yaml").write_text(YAML.format(url=upstream.url, limit=limit))
    process = await begin(folder, "--port", "0")
    assert process.stderr is not None
    try:
        banner = (await asyncio.wait_for(process.stderr.readuntil(b"Try it"), DEADLINE_S)).decode()
        running = Running(process, next(word for word in banner.split() if word.startswith("http")), banner)
        workers = running.workers()
        yield running
    finally:
        if process.returncode is None:
            workers |= running.workers()
            process.kill()
        await process.wait()
        await until(lambda: not any(map(is_alive, workers)))
        await process.communicate()


async def refused(folder: Path, *words: str) -> tuple[int | None, str]:
    process = await begin(folder, *words)
    _, said = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    return process.returncode, said.decode()


async def stopped(running: Running) -> int:
    running.process.terminate()
    return await asyncio.wait_for(running.process.wait(), DEADLINE_S)


async def test_workers_share_a_port_a_budget_and_a_page_of_metrics(tmp_path: Path) -> None:
    # A hold of 100 output tokens at most and an answer's price of 1 + 2 * 100 = 201 uUSD.
    usage = Usage(input_tokens=1, output_tokens=100)
    async with ScriptedUpstream() as upstream:
        upstream.script(None, *[Say(usage=usage)] * 40)
        async with serving(tmp_path, upstream, "{per: user, daily_usd: 0.005}") as proxy:
            statuses = [await proxy.ask() for _ in range(40)]
            served = statuses.count(200)
            assert 20 <= served <= 24 and statuses.count(402) == 40 - served
            pages = [await proxy.metrics() for _ in range(6)]
            workers = proxy.workers()
            code = await stopped(proxy)
            assert proxy.process.stdout is not None
            log = [json.loads(line) for line in (await proxy.process.stdout.read()).splitlines()]
    assert {page["muxer_requests_total"] for page in pages} == {40}
    assert {page["muxer_request_seconds_count"] for page in pages} == {40}
    assert {page["muxer_config_info"] for page in pages} == {1}
    assert {entry["worker"] for entry in log if "worker" in entry} == {1, 2}
    assert (code, len(workers), any(map(is_alive, workers))) == (0, 2, False)


async def test_a_killed_worker_is_replaced_and_its_slots_come_back(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream:
        upstream.script(None, Stall())
        async with serving(tmp_path, upstream, "{per: user, concurrent: 1}") as proxy:
            before = proxy.workers()
            asked = asyncio.create_task(proxy.ask())
            await upstream.arrived(1)
            assert await proxy.ask() == 429
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            await asyncio.gather(asked, return_exceptions=True)
            await until(lambda: len(proxy.workers()) == 2 and not proxy.workers() & before)
            upstream.script(None, Say())
            assert await answered(proxy) == 200
            assert (await proxy.metrics())["muxer_requests_in_flight"] <= 1
            assert await stopped(proxy) == 0


async def answered(proxy: Running) -> int:
    """The status of the first request that finds somebody listening."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await proxy.ask()
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.01)


async def test_one_of_two_can_die_while_the_other_serves(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream) as proxy:
        before = proxy.workers()
        os.kill(min(before), signal.SIGKILL)
        await until(lambda: min(before) not in proxy.workers())  # until it is reaped, its threads may hold the port
        assert await proxy.ask() == 200
        await until(lambda: len(proxy.workers()) == 2 and min(before) not in proxy.workers())


async def test_a_second_sigterm_cuts_what_the_first_lets_finish(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream:
        upstream.script(None, Stall())
        async with serving(tmp_path, upstream) as proxy:
            asked = asyncio.create_task(proxy.ask())
            await upstream.arrived(1)
            proxy.process.terminate()
            assert proxy.process.stdout is not None
            for _worker in range(2):  # a signal that follows another too soon is lost
                await asyncio.wait_for(proxy.process.stdout.readuntil(b"stopping"), DEADLINE_S)
            assert await stopped(proxy) == 0
            await asyncio.gather(asked, return_exceptions=True)


async def test_a_worker_that_does_not_end_is_killed_and_the_exit_code_says_so(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream) as proxy:
        os.kill(min(proxy.workers()), signal.SIGSTOP)
        proxy.process.terminate()
        assert proxy.process.stdout is not None
        await asyncio.wait_for(proxy.process.stdout.readuntil(b"stopping"), DEADLINE_S)  # the other one
        assert await stopped(proxy) == 1


async def test_no_worker_outlives_a_killed_parent(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream) as proxy:
        workers = proxy.workers()
        proxy.process.kill()
        await until(lambda: not any(map(is_alive, workers)))
    assert len(workers) == 2


async def test_a_worker_that_cannot_start_ends_all_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "muxer.db").mkdir()
    code, said = await refused(tmp_path, "--port", "0", "--demo")
    assert code == 2
    assert "muxer.db" in said and said.count("\n") == 1


async def test_a_port_in_use_or_a_faulty_file_ends_it_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, said = await refused(tmp_path, "--port", port, "--demo")
    assert (code, said.startswith(f"cannot listen on 127.0.0.1:{port}: ")) == (2, True)
    (tmp_path / "routing.yaml").write_text("version: 1\nplugin: []\n")
    code, said = await refused(tmp_path)
    assert (code, "routing.yaml:2:1: " in said) == (2, True)


async def test_all_workers_require_the_key_that_was_made(tmp_path: Path) -> None:
    process = await begin(tmp_path, "--port", "0", "--demo", "--make-key")
    assert process.stderr is not None
    banner = (await asyncio.wait_for(process.stderr.readuntil(b"Try it"), DEADLINE_S)).decode()
    proxy = Running(process, next(word for word in banner.split() if word.startswith("http")), banner)
    key = banner.partition("MUXER_KEY=")[2].split()[0]
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}", "Connection": "close"}) as session:
        statuses = [(await session.get(f"{proxy.url}/v1/models")).status for _ in range(8)]
    assert statuses == [200] * 8
    assert await proxy.ask() == 401
    assert await stopped(proxy) == 0
    await process.communicate()


def written(upstream: ScriptedUpstream, limit: str = PLENTY, route: str = "all") -> str:
    return YAML.format(url=upstream.url, limit=limit).replace("name: all", f"name: {route}")


async def events_of(running: Running, event: str, count: int) -> list[dict[str, object]]:
    """So many lines of an event, as they come."""
    assert running.process.stdout is not None
    found: list[dict[str, object]] = []
    async with asyncio.timeout(DEADLINE_S):
        while len(found) < count:
            entry = json.loads(await running.process.stdout.readline())
            found += [entry] if entry["event"] == event else []
    return found


async def test_every_worker_takes_over_a_changed_file(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream) as proxy:
        before = proxy.workers()
        (tmp_path / "routing.yaml").write_text(written(upstream, "{per: user, daily_usd: 0}"))
        proxy.process.send_signal(signal.SIGHUP)
        taken = await events_of(proxy, "config_reloaded", 2)
        assert {entry["worker"] for entry in taken} == {1, 2}
        assert [await proxy.ask() for _ in range(4)] == [402] * 4
        assert proxy.workers() == before
        assert await stopped(proxy) == 0


async def test_a_worker_that_starts_while_the_file_is_faulty_serves_by_the_last_good_one(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream) as proxy:
        (tmp_path / "routing.yaml").write_text(written(upstream, "{per: user, daily_usd: 0}"))
        await events_of(proxy, "config_reloaded", 2)
        (tmp_path / "routing.yaml").write_text("version: 2")
        await events_of(proxy, "config_invalid", 2)
        before = proxy.workers()
        os.kill(next(iter(before)), signal.SIGKILL)
        await until(lambda: len(proxy.workers()) == 2 and proxy.workers() != before)
        await events_of(proxy, "config_invalid", 1)  # the new one looks at the file too, once it serves
        assert [await proxy.ask() for _ in range(4)] == [402] * 4
        assert await stopped(proxy) == 0
