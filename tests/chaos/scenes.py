"""The faults of RELIABILITY 3 as scenes: what is broken, under which settings, and how it is mended."""

import asyncio
import os
import resource
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, closing, suppress

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from muxer.background import beside
from muxer.testing import Act, Asked, Behaviour, Cut, Fail, Slow, Stall
from tests.chaos.stage import SAID, Stage
from tests.plugins.redis_server import an_older_plugin

Fault = Callable[[Stage], AbstractAsyncContextManager[None]]


class Scene(Struct, frozen=True, kw_only=True):
    """One fault: it lasts while its context is open. `starts` are the proxies, `files` how many each may open."""

    row: str
    what: str
    fault: Fault
    kind: str = "redis"
    settings: Mapping[str, str] = {}
    starts: tuple[str, ...] = ("a",)
    files: int | None = None
    least_s: float = 0.0
    is_short: bool = True


class Sometimes:
    """Plays one behaviour in so many of a hundred calls of a model, else answers."""

    def __init__(self, hundredths: int, *behaviours: Behaviour, model: str = "small-1") -> None:
        self._hundredths = hundredths
        self._behaviours = behaviours
        self._model = model
        self._calls = 0

    def play(self, asked: Asked) -> Act:
        """The answer."""
        if asked.model != self._model:
            return SAID.play(asked)
        self._calls += 1
        if self._calls * self._hundredths // 100 == (self._calls - 1) * self._hundredths // 100:
            return SAID.play(asked)
        return self._behaviours[self._calls % len(self._behaviours)].play(asked)


def upstream(*behaviours: Behaviour, hundredths: int = 100) -> Fault:
    """The first model's upstream behaves so, in so many of a hundred calls."""

    @asynccontextmanager
    async def fault(stage: Stage) -> AsyncIterator[None]:
        stage.upstream.default = Sometimes(hundredths, *behaviours)
        yield
        stage.upstream.default = SAID

    return fault


@asynccontextmanager
async def unreachable(stage: Stage) -> AsyncIterator[None]:
    stage.up.shut()
    yield
    await stage.up.open()


@asynccontextmanager
async def black_hole(stage: Stage) -> AsyncIterator[None]:
    stage.up.mode = "is silent"
    yield
    stage.up.mode = "passes"


@asynccontextmanager
async def cut_upstream(stage: Stage) -> AsyncIterator[None]:
    stage.up.cut_share = 0.3
    yield
    stage.up.cut_share = 0.0


@asynccontextmanager
async def server_killed(stage: Stage) -> AsyncIterator[None]:
    stage.running.kill()
    yield
    await asyncio.to_thread(stage.running.start)


@asynccontextmanager
async def server_stopped(stage: Stage) -> AsyncIterator[None]:
    stage.running.send(signal.SIGSTOP)
    yield
    stage.running.send(signal.SIGCONT)


def cable(mode: str = "passes", delay_s: float = 0.0, cut_share: float = 0.0) -> Fault:
    """The connection to the server is slow, or does something else than to pass on."""

    @asynccontextmanager
    async def fault(stage: Stage) -> AsyncIterator[None]:
        stage.store.mode, stage.store.delay_s, stage.store.cut_share = mode, delay_s, cut_share  # type: ignore[assignment]  # one of its words
        yield
        stage.store.mode, stage.store.delay_s, stage.store.cut_share = "passes", 0.0, 0.0

    return fault


def configured(name: str, bad: str, good: str) -> Fault:
    """The server's operator changes a setting, and sets it back."""

    @asynccontextmanager
    async def fault(stage: Stage) -> AsyncIterator[None]:
        async with Redis.from_url(stage.running.url, protocol=2) as redis:
            await redis.config_set(name, bad)
            yield
            await redis.config_set(name, good)

    return fault


@asynccontextmanager
async def a_replica(stage: Stage) -> AsyncIterator[None]:
    async with Redis.from_url(stage.running.url, protocol=2) as redis:
        await redis.replicaof("127.0.0.1", "1")
        yield
        await redis.replicaof("no", "one")


@asynccontextmanager
async def scripts_forgotten(stage: Stage) -> AsyncIterator[None]:
    is_over = asyncio.Event()  # its client may take a cancellation for an error of the server

    async def forget() -> None:
        async with Redis.from_url(stage.running.url, protocol=2) as redis:
            while not is_over.is_set():
                with suppress(RedisError):
                    await redis.script_flush()
                await asyncio.sleep(0.1)

    task = asyncio.create_task(forget())
    yield
    is_over.set()
    await task


@asynccontextmanager
async def flushed(stage: Stage) -> AsyncIterator[None]:
    async with Redis.from_url(stage.running.url, protocol=2) as redis:
        await redis.flushall()
    yield


@asynccontextmanager
async def locked(stage: Stage) -> AsyncIterator[None]:
    with closing(sqlite3.connect(stage.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@asynccontextmanager
async def disk_full(stage: Stage) -> AsyncIterator[None]:
    """No file of the proxy may grow any more, which is what a quota does."""
    pid = stage.gateways["a"].process.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, hard))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


@asynccontextmanager
async def killed(stage: Stage) -> AsyncIterator[None]:
    """Dies under its streams, starts again, and once more."""
    stage.upstream.default = Slow(seconds=0.1, then=SAID)
    for _ in range(2):
        await asyncio.sleep(1)
        await stage.end("a", signal.SIGKILL)
        await stage.bury()
        await stage.start("a")
    stage.upstream.default = SAID
    yield


@asynccontextmanager
async def worker_killed(stage: Stage) -> AsyncIterator[None]:
    stage.upstream.default = Slow(seconds=0.1, then=SAID)
    await asyncio.sleep(1)
    os.kill(stage.workers()[0], signal.SIGKILL)
    yield
    stage.upstream.default = SAID


@asynccontextmanager
async def one_stopped(stage: Stage) -> AsyncIterator[None]:
    stopped = stage.gateways["a"].process
    stopped.send_signal(signal.SIGSTOP)
    await stage.bury()
    yield
    stopped.send_signal(signal.SIGCONT)


@asynccontextmanager
async def ended_properly(stage: Stage) -> AsyncIterator[None]:
    stage.upstream.default = Slow(seconds=0.05, then=SAID)
    await asyncio.sleep(0.5)
    await stage.end("a")
    await stage.start("a")
    stage.upstream.default = SAID
    yield


@asynccontextmanager
async def reloaded(stage: Stage) -> AsyncIterator[None]:
    async def reload() -> None:
        for number in range(10_000):
            is_good = number % 2 == 0
            stage.write("a", USE=("spare, small" if number % 4 else "small, spare") if is_good else "nobody")
            stage.gateways["a"].process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.1)

    async with beside(reload()):
        yield
    stage.write("a")


@asynccontextmanager
async def overloaded(stage: Stage) -> AsyncIterator[None]:
    """Far more than it can serve: it shares two cores with its callers and its upstream."""
    async with beside(stage.load.run(60, per_second=400)):
        yield


@asynccontextmanager
async def all_leave(stage: Stage) -> AsyncIterator[None]:
    stage.upstream.default = Slow(seconds=0.05, then=SAID)
    for _ in range(300):
        stage.load.ask(leaves=True)
    yield
    stage.upstream.default = SAID


@asynccontextmanager
async def out_of_files(stage: Stage) -> AsyncIterator[None]:
    port = int(stage.gateways["a"].url.rpartition(":")[2])
    with ExitStack() as idle:
        for _ in range(400):
            one = idle.enter_context(socket.socket())
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect(("127.0.0.1", port))
        yield


@asynccontextmanager
async def blocked(stage: Stage) -> AsyncIterator[None]:
    for _ in range(3):
        stage.load.ask("block")
    yield


@asynccontextmanager
async def of_each(stage: Stage) -> AsyncIterator[None]:
    stage.upstream.default = Sometimes(
        6, Fail(429, {"Retry-After": "1"}), Fail(500), Cut(), Cut(after_bytes=300, then=SAID), Stall(seconds=600),
        Stall(after_pieces=3, seconds=600, then=SAID),
    )  # fmt: skip
    stage.store.cut_share = stage.up.cut_share = 0.01

    async def leave() -> None:
        while True:
            stage.load.ask(leaves=True)
            await asyncio.sleep(1)

    async with beside(leave()):
        yield
    stage.upstream.default = SAID
    stage.store.cut_share = stage.up.cut_share = 0.0


@asynccontextmanager
async def rolled(stage: Stage) -> AsyncIterator[None]:
    """The older version goes when the new one serves."""
    older = an_older_plugin(stage.folder / "older")
    await stage.start("older", environment={"PYTHONPATH": str(older)})
    await stage.end("a")
    await asyncio.sleep(1)
    await stage.start("new")
    await stage.end("older")
    yield


_STALLED = Stall(after_pieces=3, seconds=600, then=SAID)
HASTY = {"STORE_S": "0.25"}  # the default; on a busy machine the server itself is that late
SCENES = (
    Scene(row="F1", what="429, Retry-After 2", fault=upstream(Fail(429, {"Retry-After": "2"}))),
    Scene(row="F2", what="5xx, half of all", fault=upstream(Fail(500), hundredths=50)),
    Scene(row="F2", what="5xx, all", fault=upstream(Fail(503)), is_short=False),
    Scene(row="F3", what="refused connections", fault=unreachable),
    Scene(row="F4", what="black hole", fault=black_hole),
    Scene(
        row="F4",
        what="black hole, hedged",
        fault=black_hole,
        settings={"HEDGE": ", hedge_after_s: 0.3"},
        is_short=False,
    ),
    Scene(row="F5", what="a third of the replies cut", fault=cut_upstream),
    Scene(row="F6", what="streams that stall", fault=upstream(_STALLED)),
    Scene(row="F7", what="server killed, refuse", fault=server_killed),
    Scene(row="F7", what="server killed, allow", fault=server_killed, settings={"POLICY": "allow"}, is_short=False),
    Scene(row="F7", what="server killed, escrow", fault=server_killed, settings={"POLICY": "escrow"}, is_short=False),
    Scene(row="F8", what="server stopped", fault=server_stopped, settings=HASTY),
    Scene(row="F8", what="500 ms later", fault=cable(delay_s=0.5), settings=HASTY, is_short=False),
    Scene(row="F8", what="half open", fault=cable("is silent"), settings=HASTY, is_short=False),
    Scene(row="F8", what="nonsense for replies", fault=cable("says nonsense"), is_short=False),
    Scene(row="F9", what="a tenth of the replies lost", fault=cable(cut_share=0.1)),
    Scene(row="F10", what="OOM", fault=configured("maxmemory", "1", "0")),
    Scene(row="F10", what="READONLY", fault=a_replica, is_short=False),
    Scene(row="F10", what="NOSCRIPT", fault=scripts_forgotten, is_short=False),
    Scene(row="F11", what="FLUSHALL", fault=flushed),
    Scene(row="F12", what="allkeys-lru", fault=configured("maxmemory-policy", "allkeys-lru", "noeviction"), least_s=8),
    Scene(row="F13", what="file locked", fault=locked, kind="sqlite"),
    Scene(row="F14", what="disk full", fault=disk_full, kind="sqlite"),
    Scene(row="F15", what="kill -9 twice, embedded", fault=killed, kind="sqlite"),
    Scene(row="F15", what="kill -9 twice, shared", fault=killed, is_short=False),
    Scene(
        row="F15",
        what="kill -9 of a worker",
        fault=worker_killed,
        settings={"WORKERS": "2"},
        kind="sqlite",
        is_short=False,
    ),
    Scene(row="F16", what="one of two stopped", fault=one_stopped, starts=("a", "b")),
    Scene(row="F17", what="SIGTERM under streams", fault=ended_properly, kind="sqlite"),
    Scene(row="F18", what="valid and invalid files", fault=reloaded, kind="sqlite"),
    Scene(row="F20", what="more than can be served", fault=overloaded, kind="sqlite"),
    Scene(row="F21", what="300 callers leave", fault=all_leave, kind="sqlite"),
    Scene(row="F22", what="128 files, 400 callers", fault=out_of_files, kind="sqlite", files=128),
    Scene(row="F23", what="a plugin blocks", fault=blocked, settings={"PLUGINS": "redis, tests.faults.blocking"}),
    Scene(row="F24", what="1 % of each", fault=of_each),
    Scene(row="F25", what="rolling restart", fault=rolled),
)
"""F19 is not among them: nobody can set back the clock of this machine."""
