"""Several worker processes that serve one port: the parent that starts, replaces and ends them, and their tie to it.

A worker is a new interpreter, not a fork: what the parent imported and opened to check the configuration stays its own,
and prometheus-client, which looks for its folder when it is imported, finds it. A pair of sockets ties it to the
parent: orders go down, `ready` or why it cannot start comes up, and the end of either process is the end of the stream,
even after kill -9.
"""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from prometheus_client.multiprocess import mark_process_dead

from muxer.deadlines import happens
from muxer.errors import ConfigInvalid, Fault
from muxer.interfaces import Log

FIRST_DELAY_S, LONGEST_DELAY_S = 0.1, 5.0
SOUND_AFTER_S = 10.0  # a worker that lived this long is restarted as if it were the first time
MOST_FAILED_STARTS = 3
KILL_AFTER_S = 5.0  # for what should end at once
_LONGEST_LINE = 4_000_000  # the file and its `.env`, of 1 MB each, in base 64
_READY = b"ready\n"


class Orders(Struct, frozen=True):
    """What a worker is told when it begins: its number from 1, the port, the key --make-key made, and the last content
    of the file that could be used, for when the one of now cannot."""

    worker: int
    port: int
    made_key: str
    good: bytes


class _Told(Struct, frozen=True):
    """What a worker tells while it runs."""

    good: bytes


class Link:
    """A worker's end of its tie to the parent."""

    def __init__(self, file: int) -> None:
        self._socket = socket.socket(fileno=file)
        self._socket.set_inheritable(False)

    def orders(self) -> Orders:
        """What this worker is to do. Raises ConfigInvalid when there is no parent to say it."""
        with self._socket.makefile("rb") as stream:
            line = stream.readline()
        if not line:
            raise ConfigInvalid([Fault("the parent of this worker has ended")])
        return msgspec.json.decode(line, type=Orders)

    def ready(self) -> None:
        """Tells the parent that this worker answers."""
        self._tell(_READY)

    def took_over(self, good: bytes) -> None:
        """Tells the parent a content of the file that is in force, for workers that start later."""
        self._tell(msgspec.json.encode(_Told(good)) + b"\n")

    def failed(self, reason: str) -> None:
        """Tells the parent why this worker cannot start."""
        self._tell(reason.encode())

    def when_cut(self, act: Callable[[], object]) -> None:
        """Calls `act` once, when the parent is no more."""
        loop = asyncio.get_running_loop()

        def cut() -> None:
            loop.remove_reader(self._socket)
            act()

        loop.add_reader(self._socket, cut)

    def _tell(self, words: bytes) -> None:
        with suppress(OSError):  # the parent is no more; `when_cut` sees to it
            self._socket.sendall(words)


class Supervisor:
    """Keeps one process running for each of the orders, until it is told to stop."""

    def __init__(self, command: Sequence[str], log: Log, *, stop_s: float, announce: Callable[[], None]) -> None:
        self._command = command
        self._log = log
        self._stop_s = stop_s + KILL_AFTER_S
        self._announce = announce
        self._stopping = asyncio.Event()
        self._alive: set[asyncio.subprocess.Process] = set()
        self._serving: set[asyncio.subprocess.Process] = set()
        self._good = b""
        self._awaited: set[int] = set()
        self._reason = ""
        self._is_clean = True

    async def run(self, orders: Sequence[Orders]) -> bool:
        """Until SIGTERM or SIGINT; whether all ended properly. Raises ConfigInvalid when a worker cannot start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        self._awaited = {order.worker for order in orders}
        with tempfile.TemporaryDirectory(prefix="muxer-") as folder:
            async with asyncio.TaskGroup() as group:
                for order in orders:
                    group.create_task(self._keep(order, Path(folder)))
        if self._reason:
            raise ConfigInvalid([Fault(self._reason)])
        return self._is_clean

    def _stop(self) -> None:
        """The first time workers drain, the second time they hurry; what is left is killed."""
        delay_s = KILL_AFTER_S if self._stopping.is_set() else self._stop_s
        self._stopping.set()
        self._send(signal.SIGTERM)
        asyncio.get_running_loop().call_later(delay_s, self._send, signal.SIGKILL)

    def _reload(self) -> None:
        """Has the workers look at the file; one that is being started reads it anyway."""
        for process in self._serving:
            with suppress(ProcessLookupError):  # it has just ended
                process.send_signal(signal.SIGHUP)

    def _send(self, number: signal.Signals) -> None:
        for process in self._alive:
            with suppress(ProcessLookupError):  # it has just ended
                process.send_signal(number)

    async def _keep(self, orders: Orders, folder: Path) -> None:
        """Runs one worker after another, until the stop or until it cannot start."""
        loop = asyncio.get_running_loop()
        failed_starts, delay_s = 0, FIRST_DELAY_S
        while not self._stopping.is_set():
            begun = loop.time()
            code, reason = await self._run(orders, folder)
            if self._stopping.is_set():
                return
            failed_starts = failed_starts + 1 if reason else 0
            if failed_starts == MOST_FAILED_STARTS:
                self._reason = reason
                self._stop()
                return
            if loop.time() - begun > SOUND_AFTER_S:
                delay_s = FIRST_DELAY_S
            self._log("warning", "worker_ended", worker=orders.worker, code=code, reason=reason, restarts_in_s=delay_s)
            await happens(self._stopping, delay_s)
            delay_s = min(2 * delay_s, LONGEST_DELAY_S)

    async def _run(self, orders: Orders, folder: Path) -> tuple[int, str]:
        """One worker from start to end: its exit code, and why it could not start, empty when it could."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *self._command, "--link", str(theirs.fileno()), pass_fds=[theirs.fileno()],
                env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
                process_group=0,  # Ctrl-C in a terminal is the parent's alone, which passes it on
            )  # fmt: skip
        self._alive.add(process)
        if self._stopping.is_set():
            self._send(signal.SIGTERM)  # the stop came while it was started
        reader, writer = await asyncio.open_connection(sock=ours, limit=_LONGEST_LINE)
        told = b""
        try:
            with suppress(ConnectionError):  # it was killed before it read its orders
                good = self._good or orders.good
                writer.write(msgspec.json.encode(replace(orders, good=good)) + b"\n")
                told = await reader.readline()
                if told == _READY:
                    self._serving.add(process)
                    self._is_ready(orders.worker)
                    async for line in reader:
                        if line.endswith(b"\n"):  # else it was killed meanwhile
                            self._good = msgspec.json.decode(line, type=_Told).good
                told += await reader.read()
            code = await process.wait()
        finally:
            self._alive.discard(process)
            self._serving.discard(process)
            writer.close()
            mark_process_dead(process.pid, str(folder))  # type: ignore[no-untyped-call]  # the library leaves it untyped
        if told.startswith(_READY):
            # SIGTERM itself ends only a worker whose loop is closed: all is settled by then.
            self._is_clean &= code in (0, -signal.SIGTERM) or not self._stopping.is_set()
            return code, ""
        return code, told.decode().strip() or f"worker {orders.worker} could not start: exit code {code}"

    def _is_ready(self, worker: int) -> None:
        if worker in self._awaited:
            self._awaited.discard(worker)
            if not self._awaited:
                self._announce()


def supervise(
    words: Sequence[str], orders: Sequence[Orders], log: Log, *, stop_s: float, announce: Callable[[], None]
) -> int:
    """Runs `muxer WORDS` once for each of the orders, which have `stop_s` to end when they are told to; 0 when all
    ended properly after a stop. Raises ConfigInvalid."""
    command = [sys.executable, "-m", "muxer", *words]

    async def run() -> bool:
        return await Supervisor(command, log, stop_s=stop_s, announce=announce).run(orders)

    return 0 if asyncio.run(run()) else 1


def reserve(host: str, port: int) -> socket.socket:
    """A socket that keeps an address for the workers, without listening. Raises OSError when it is taken."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as alone:
        # Without SO_REUSEPORT: other workers, which share it as ours do, are found too.
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        alone.bind(address)
        alone.listen()
        address = alone.getsockname()
    kept = socket.socket(family, kind, protocol)
    try:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(address)
    except OSError:
        kept.close()
        raise
    return kept
