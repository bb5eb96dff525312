"""Live reload as an operator meets it: two workers under clients that stream, 100 valid and 100 invalid files, each of
four ways to change one. `make check-reload` runs it and shows the figures."""

import asyncio
import itertools
import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest
from msgspec import Struct, field

from muxer.testing import Say, ScriptedUpstream, Slow
from muxer.testing.calls import Act, Asked
from tests import probe_plugin

pytestmark = pytest.mark.slow
WORKERS = 2
CHANGES = 200
WARM_UP = 40  # changes after which what is kept for good has been made
PATIENCE_S = 60.0  # a bound on waits for what comes in two seconds on an idle machine
CLIENTS = 6
YAML = """\
version: 1
plugins: [openai, prometheus, sqlite, probe_plugin{plugins}]
providers:
  main: {{kind: openai, api_key: sk-upstream, base_url: "{url}/v1"}}
  other: {{kind: openai, api_key: sk-{number}, base_url: "{url}/v1"}}
models:
  small: {{provider: main, name: small-1, price_usd_per_million: {{input: 1, output: 2}}}}
  long: {{provider: other, name: long-1, price_usd_per_million: {{input: 1, output: 2}}}}
routes: [{{name: v{number}, use: [{use}]}}]
limits: [{{per: user, total_usd: 1_000_000}}]
keys: [{{name: app, secret: sk-app}}, {{name: root, secret: sk-root, role: admin}}]
{sinks}
"""


class Pace(Struct, frozen=True):
    """Answers of the long model take longer than a change does."""

    def play(self, asked: Asked) -> Act:
        if asked.model == "long-1":
            return Slow(seconds=0.05, then=Say(text="word " * 40)).play(asked)
        return Slow(seconds=0.01).play(asked)


def written(url: str, number: int, *, is_valid: bool = True) -> str:
    """Each valid one has another route and another key of a provider, every other one a plugin and a sink more."""
    has_sink = number % 4 == 0
    return YAML.format(
        url=url,
        number=number,
        use="small" if is_valid else f"nobody-{number}",
        plugins=", jsonl" if has_sink else "",
        sinks="sinks: [{kind: jsonl, path: records.jsonl}]" if has_sink else "",
    )


class Probed(Struct):
    """What a worker has open."""

    worker: int
    tasks: dict[str, int]
    files: int
    sockets: int
    threads: int
    kilobytes: int


class Load(Struct):
    """What the clients saw, and whether they go on."""

    is_over: bool = False
    requests: int = 0
    streams: int = 0
    across: int = 0
    failures: list[str] = field(default_factory=list)


class House:
    """The running proxy, its file, and what it logs."""

    def __init__(self, folder: Path, upstream: ScriptedUpstream, process: asyncio.subprocess.Process) -> None:
        self.folder = folder
        self.upstream = upstream
        self.process = process
        self.url = ""
        self.taken: Counter[int] = Counter()
        self.refused: Counter[tuple[int, str]] = Counter()
        self.trouble: list[object] = []
        self._news = asyncio.Event()
        self.reading = asyncio.create_task(self._read())

    @property
    def file(self) -> Path:
        return self.folder / "routing.yaml"

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                self._news.clear()
                await self._news.wait()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            entry = json.loads(line)
            if entry["event"] == "config_reloaded":
                self.taken[entry["worker"]] += 1
            elif entry["event"] == "config_invalid":
                self.refused[entry["worker"], str(entry["fault"]).partition("nobody-")[2].partition("'")[0]] += 1
            elif entry["level"] == "error":
                self.trouble.append(entry)
            self._news.set()

    async def probe(self) -> dict[int, Probed]:
        """What each worker has open: asked over new connections until all have answered."""
        found: dict[int, Probed] = {}
        async with asyncio.timeout(PATIENCE_S):
            while len(found) < WORKERS:
                async with aiohttp.ClientSession() as session, session.get(f"{self.url}/probe") as response:
                    told = msgspec.json.decode(await response.read(), type=Probed)
                    found[told.worker] = told
        return found


def swapped(house: House, text: str, number: int) -> None:
    """As Kubernetes updates a mounted ConfigMap: a new folder, and the link `..data` renamed to it."""
    there = house.folder / f"..{number}"
    there.mkdir()
    (there / "routing.yaml").write_text(text)
    data, link = house.folder / "..data", house.folder / "..data_tmp"
    before = data.resolve() if data.is_symlink() else None
    link.symlink_to(there.name)
    link.replace(data)
    if not house.file.is_symlink():
        (house.folder / "link").symlink_to("..data/routing.yaml")
        (house.folder / "link").replace(house.file)
    if before is not None:
        shutil.rmtree(before)


def renamed(house: House, text: str, number: int) -> None:
    """As an editor saves: a file beside it, renamed over it."""
    (house.folder / "routing.yaml.swp").write_text(text)
    (house.folder / "routing.yaml.swp").replace(house.file)


def signalled(house: House, text: str, number: int) -> None:
    """Written in place, and told by SIGHUP."""
    renamed(house, text, number)
    house.process.send_signal(signal.SIGHUP)


async def asked(house: House, text: str, number: int, *, is_valid: bool) -> None:
    """Written, and told by POST /admin/reload."""
    renamed(house, text, number)
    headers = {"x-api-key": "sk-root", "Connection": "close"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{house.url}/admin/reload", headers=headers) as response,
    ):
        assert response.status == (200 if is_valid else 422), await response.text()


async def changed(house: House, number: int, *, is_valid: bool) -> None:
    """One change by the way whose turn it is, until every worker has taken or refused it."""
    text, part = written(house.upstream.url, number, is_valid=is_valid), 4 * number // CHANGES
    if part == 3:
        await asked(house, text, number, is_valid=is_valid)
    else:
        (swapped, renamed, signalled)[part](house, text, number)
    if is_valid:
        due = number // 2 + 1
        await house.until(lambda: [house.taken[one] for one in (1, 2)] == [due] * WORKERS)
    else:
        await house.until(lambda: all(house.refused[one, str(number)] for one in (1, 2)))


async def client(house: House, load: Load, number: int) -> None:
    """Asks again and again, streams and whole answers in turn, over a connection that lasts 20 requests."""
    turn = itertools.count(number)
    while not load.is_over:
        async with aiohttp.ClientSession(headers={"x-api-key": "sk-app"}) as session:
            for _ in range(20):
                if not load.is_over:
                    await one_request(house, load, session, next(turn), "long" if number == 0 else "auto")


async def one_request(house: House, load: Load, session: aiohttp.ClientSession, turn: int, model: str) -> None:
    stream = model == "long" or turn % 2 == 0
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": f"hello {turn}"}]}
    before = sum(house.taken.values())
    try:
        async with session.post(f"{house.url}/v1/chat/completions", json=body) as response:
            text = await response.text()
    except (aiohttp.ClientError, TimeoutError) as error:
        load.failures.append(f"{type(error).__name__}: {error}")
        return
    load.requests += 1
    load.streams += stream
    load.across += stream and sum(house.taken.values()) != before
    if response.status != 200 or (stream and not text.rstrip().endswith("data: [DONE]")) or '"error":{' in text:
        load.failures.append(f"{response.status}: {text[-300:]}")


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[House]:
    shutil.copy(probe_plugin.__file__, folder / "probe_plugin.py")
    async with ScriptedUpstream(default=Pace()) as upstream:
        (folder / "routing.yaml").write_text(written(upstream.url, CHANGES + 1))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "muxer", "serve", "--workers", str(WORKERS), "--port", "0",
            cwd=folder, env=dict(os.environ), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            limit=2**20,
        )  # fmt: skip
        house = House(folder, upstream, process)
        try:
            assert process.stderr is not None
            banner = (await asyncio.wait_for(process.stderr.readuntil(b"Try it"), PATIENCE_S)).decode()
            house.url = next(word for word in banner.split() if word.startswith("http"))
            yield house
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
            await house.reading


@asynccontextmanager
async def loaded(house: House, load: Load) -> AsyncIterator[None]:
    """The clients, for as long as the context is open."""
    load.is_over = False
    clients = [asyncio.create_task(client(house, load, number)) for number in range(CLIENTS)]
    yield
    load.is_over = True
    await asyncio.wait_for(asyncio.gather(*clients), PATIENCE_S)


async def test_no_request_fails_and_nothing_is_left_behind(tmp_path: Path) -> None:
    load, sizes = Load(), list[tuple[int, int]]()
    async with running(tmp_path) as house:
        for first, last in ((0, WARM_UP), (WARM_UP, CHANGES)):
            idle = await house.probe()
            async with loaded(house, load):
                for number in range(first, last):
                    await changed(house, number, is_valid=number % 2 == 0)
                    if number % 20 == 19:
                        sizes.append((number, sum(one.kilobytes for one in (await house.probe()).values())))
        after = await house.probe()
        print(show(load, house, sizes), *after.values(), sep="\n")
        async with aiohttp.ClientSession() as session, session.get(f"{house.url}/readyz") as response:
            ready = response.status, (await response.json())["configuration"]
    assert load.failures == [] and house.trouble == [] and load.across > 20
    assert house.taken == {1: CHANGES // 2, 2: CHANGES // 2}, "one reload for each content"
    assert ready == (200, "invalid") and house.process.returncode == 0
    assert sizes[-1][1] - sizes[1][1] < 40 * 1024, "memory grows with each change"
    for worker, was in idle.items():
        now = after[worker]
        assert now.tasks == was.tasks
        assert now.files <= was.files + 2 * CLIENTS  # connections to the upstream that are kept
        assert now.threads <= was.threads + 6  # as many as asyncio keeps for what is slow


def show(load: Load, house: House, sizes: list[tuple[int, int]]) -> str:
    """The figures of a run."""
    (first, least), (last, most) = sizes[1], sizes[-1]
    return "\n".join(
        [
            f"requests {load.requests}, of them streams {load.streams}, across a reload {load.across}, "
            f"failed {len(load.failures)}",
            f"reloads by worker {dict(house.taken)}; refusals {sum(house.refused.values())}",
            f"memory of both workers {least // 1024} MB after {first + 1} changes, {most // 1024} MB after {last + 1}: "
            f"{(most - least) / (last - first) * 100 / 1024:+.1f} MB per 100 changes",
        ]
    )
