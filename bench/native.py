"""What measures the gateway: the mock upstream and the load generator of native.c, and what Linux says of processes.

It has no command; bench/gateway.py uses it.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import Struct

SOURCE = Path(__file__).with_name("native.c")
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
CORES = sorted(os.sched_getaffinity(0))
GATEWAY_CORE, LOAD_CORE = CORES[0], CORES[-1]
"""The core of the gateway, and that of everything else; the same where there is one."""
PATH, KEY = "/v1/chat/completions", "sk-bench"


class Load(Struct, frozen=True, kw_only=True):
    """What one run of the load generator saw. `errors` are answers of another status than 200: a proxy that is behind
    refuses some. Delays are milliseconds, `first` those to the first byte of a body."""

    requests: int
    errors: int
    seconds: float
    events: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    first_p50_ms: float
    first_p99_ms: float

    @property
    def answered(self) -> int:
        """Requests that were answered as asked."""
        return self.requests - self.errors


def compiled(folder: Path) -> Path:
    """The program, compiled on the spot."""
    compiler = shutil.which("cc")
    if compiler is None:
        sys.exit("The benchmark needs a C compiler: its load generator must cost less than the gateway (apt: gcc).")
    program = folder / "native"
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", program, SOURCE], check=True)
    return program


@contextmanager
def running(
    command: list[str], *cores: int, cwd: Path | None = None, env: dict[str, str] | None = None
) -> Iterator[tuple[int, int]]:
    """A process of ours on these cores, its id and the port it prints first; killed at the end."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=cwd, env=env)
    os.sched_setaffinity(process.pid, cores)  # before it has started a thread
    assert process.stdout is not None
    try:
        yield process.pid, int(process.stdout.readline())
    finally:
        with suppress(OSError):  # it may have ended by itself
            for one in tree(process.pid):
                os.kill(one, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def load(
    program: Path, port: int, body: str, connections: int, seconds: float, rate: float = 0, key: str = KEY
) -> Load:
    """One run of the load generator. A body that is too large for a command line is @ and the name of its file."""
    words = [str(program), "load", str(port), PATH, key, body, str(connections), str(seconds), str(rate)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, timeout=seconds + 60)
    seen = msgspec.json.decode(done.stdout, type=Load)
    if seen.errors * 2 >= seen.requests:
        sys.exit(f"{seen.errors} of {seen.requests} requests were not answered 200")
    return seen


def pin(pid: int, *cores: int) -> None:
    """Moves a process and those below it to these cores."""
    for one in tree(pid):
        for task in Path(f"/proc/{one}/task").iterdir():
            os.sched_setaffinity(int(task.name), cores)


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    children = [int(word) for task in tasks for word in (task / "children").read_text().split()]
    return [pid, *(one for child in children for one in tree(child))]


def cpu_s(pid: int) -> float:
    """The CPU time that a process and those below it have used, in seconds.

    Scheduled time of their threads in nanoseconds, where the kernel keeps it; ticks of 10 ms elsewhere.
    """
    total = 0.0
    for one in tree(pid):
        try:
            tasks = Path(f"/proc/{one}/task").iterdir()
            total += sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
        except FileNotFoundError:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) * TICK_S
    return total


def memory_mb(pid: int) -> float:
    """What a process and those below it keep in memory, in MB; pages they share count in each."""
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in tree(pid))
    return pages * os.sysconf("SC_PAGESIZE") / 2**20
