"""One scene: proxies as processes over a store, an upstream with its own bill, cables between them, and callers."""

import asyncio
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp
from redis.asyncio import Redis

from muxer.testing import Say, ScriptedUpstream
from tests.chaos.cable import Cable
from tests.chaos.load import Load
from tests.plugins.redis_server import Server
from tests.processes import Gateway

YAML = """
version: 1
plugins: [openai, prometheus, PLUGINS]
server: {workers: WORKERS}
store: STORE
providers:
  up: {kind: openai, base_url: "http://127.0.0.1:UP/v1", first_byte_timeout_s: 2, idle_timeout_s: 2}
  other: {kind: openai, base_url: "http://127.0.0.1:OTHER/v1"}
models:
  small: {provider: up, name: small-1, price_usd_per_million: {input: 1, output: 2}}
  spare: {provider: other, name: spare-1, price_usd_per_million: {input: 1, output: 2}}
routes: [{name: all, use: [USE] HEDGE}]
keys: [{name: chaos, secret: sk-chaos, user: anonymous}]
limits: [{per: user, total_usd: 1000, on_store_error: POLICY}, {per: all, total_usd: 1000, on_store_error: POLICY}]
"""
SAID = Say(text="one two three four five six")
START_S = 60.0
ROOT = Path(__file__).parents[2]


class Stage:
    """What a scene plays with. `settings` replace the capitals of the file above."""

    def __init__(self, kind: str, folder: Path, settings: Mapping[str, str]) -> None:
        self.kind = kind
        self.folder = folder
        self.upstream = ScriptedUpstream(SAID)
        self.settings = {
            "WORKERS": "1",
            "STORE_S": "1",
            "USE": "small, spare",
            "HEDGE": "",
            "POLICY": "refuse",
            **settings,
        }
        self.gateways: dict[str, Gateway] = {}
        self.server: Server | None = None
        self.log_bytes = 0
        self.exits: dict[str, int] = {}
        self._last_urls: list[str] = []

    def urls(self) -> list[str]:
        """Who is asked: where nobody is there just now, those who were."""
        self._last_urls = [gateway.url for gateway in self.gateways.values()] or self._last_urls
        return self._last_urls

    @property
    def store(self) -> Cable:
        """The cable to the shared store."""
        assert self._to_store is not None
        return self._to_store

    @property
    def running(self) -> Server:
        """The server of the shared store."""
        assert self.server is not None
        return self.server

    @property
    def database(self) -> Path:
        """The file of the embedded store."""
        return self.folder / "muxer.db"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["Stage"]:
        """Everything but the proxies."""
        async with AsyncExitStack() as stack:
            self.folder.mkdir(parents=True)
            await stack.enter_async_context(self.upstream)
            port = int(self.upstream.url.rpartition(":")[2])
            self.up = await stack.enter_async_context(Cable(port))
            self.other = await stack.enter_async_context(Cable(port))
            self._to_store: Cable | None = None
            if self.kind == "redis":
                (self.folder / "server").mkdir()
                self.server = stack.enter_context(Server(self.folder / "server", appendfsync="always"))
                self._to_store = await stack.enter_async_context(Cable(self.server.port))
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True), timeout=aiohttp.ClientTimeout(None)
            )
            self.load = Load(await stack.enter_async_context(session), self.urls)
            yield self

    def write(self, name: str, **changes: str) -> None:
        """The file of a proxy, in one step."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        store = f'{{kind: sqlite, path: "{self.database}"}}'
        if self._to_store is not None:
            store = f'{{kind: redis, url: "redis://127.0.0.1:{self._to_store.port}", timeout_s: STORE_S}}'
        values = {"PLUGINS": self.kind, "STORE": store, "UP": str(self.up.port), "OTHER": str(self.other.port)}
        text = YAML
        for word, value in {**values, **self.settings, **changes}.items():
            text = text.replace(word, value)
        (folder / "new.yaml").write_text(text)
        (folder / "new.yaml").replace(folder / "routing.yaml")

    async def start(self, name: str = "a", files: int | None = None, environment: Mapping[str, str] = {}) -> None:
        """A proxy, once it serves. `files` is how many it may open."""
        self.write(name)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "muxer", "serve", "--port", port,
            cwd=self.folder / name, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        if files is not None:
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (files, files))
        gateway = Gateway(process, self.folder / name, f"http://127.0.0.1:{port}")
        try:
            await gateway.says(b"Try it")
        except BaseException:
            gateway.kill()
            raise
        self.gateways[name] = gateway

    async def end(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends a proxy and waits until it is gone; it is asked no more."""
        gateway = self.gateways.pop(name)
        gateway.process.send_signal(number)
        try:
            async with asyncio.timeout(START_S):
                await gateway.process.wait()
        except TimeoutError:
            gateway.kill()
        await gateway.ended()
        self.log_bytes += gateway.log_bytes
        if number is signal.SIGTERM:
            self.exits[name] = gateway.process.returncode or 0

    async def end_all(self) -> None:
        """Ends every proxy in the proper way."""
        self.upstream.gate.set()
        for name in list(self.gateways):
            await self.end(name)

    async def bury(self) -> None:
        """Ends the leases of the dead now instead of in 25 seconds."""
        if self.server is not None:
            async with Redis.from_url(self.server.url, protocol=2) as redis:
                for key in [key async for key in redis.scan_iter("*:alive:*")]:
                    await redis.delete(key)

    def logged(self) -> int:
        """Bytes that the proxies have logged so far."""
        return self.log_bytes + sum(gateway.log_bytes for gateway in self.gateways.values())

    def memory_kb(self) -> int:
        """What the proxies and their workers have in memory now."""
        return sum(_memory_kb(gateway.process.pid) for gateway in self.gateways.values())

    def workers(self, name: str = "a") -> list[int]:
        """The worker processes of a proxy."""
        return _children(self.gateways[name].process.pid)


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _memory_kb(pid: int) -> int:
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        own = next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)
        return own + sum(map(_memory_kb, _children(pid)))
    return 0
