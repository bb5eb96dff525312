"""A proxy and the vendor behind it, as processes of their own: the clients' environments do not hold ModelMuxer."""

import os
import re
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

ROOT = Path(__file__).parent.parent.parent
ROUTING = """\
version: 1
plugins: [heuristics, openai, anthropic, mistral, demo, sqlite, litellm_compat]
providers:
  openai: {kind: openai, api_key: sk-upstream, base_url: "UPSTREAM/v1"}
  anthropic: {kind: anthropic, api_key: sk-upstream, base_url: "UPSTREAM"}
  mistral: {kind: mistral, api_key: sk-upstream, base_url: "UPSTREAM/mistral/v1"}
  demo: {kind: demo}
models:
  gpt-terra: {provider: openai, name: gpt-6.1-terra, price_usd_per_million: {input: 1, output: 5}}
  claude-haiku: {provider: anthropic, name: claude-haiku-5-5, price_usd_per_million: {input: 1, output: 5}}
  mistral-small: {provider: mistral, name: mistral-small-latest, price_usd_per_million: {input: 1, output: 5}}
  vectors: {provider: demo, name: text-embedding-3-small, price_usd_per_million: {input: 1, output: 0}}
  # What the tests of the `openai` package itself ask, and with which key.
  gpt-6-astra: {provider: openai, price: free}
  gpt-3.5-turbo-instruct: {provider: openai, price: free}
  text-embedding-3-small: {provider: openai, price: free}
  model: {provider: openai, price: free}
routes: [{name: all, use: [gpt-terra]}]
keys:
  - {name: rich, secret: sk-test-key-1, user: rich}
  - {name: root, secret: sk-root, role: admin}
  - {name: poor, secret: sk-poor, user: poor}
  - {name: own, secret: My API Key, user: own}
  - {name: busy, secret: sk-busy, user: busy}
limits:
  - {per: user, where: {user: poor}, daily_usd: 0.000001}
  - {per: user, where: {user: busy}, requests_per_minute: 1}
"""
DEADLINE_S = 20
ENVIRONMENT = {"PATH": os.environ["PATH"]}

# On import LiteLLM would fetch its prices, and openai-agents would send its traces.
os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "OPENAI_AGENTS_DISABLE_TRACING": "1"}


@contextmanager
def announced(process: subprocess.Popen[str], stream: IO[str] | None) -> Iterator[str]:
    """The first line of a process, which is ended at the exit."""
    watchdog = threading.Timer(DEADLINE_S, process.kill)
    watchdog.start()
    assert stream is not None
    line = stream.readline()
    watchdog.cancel()
    try:
        yield line
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


@pytest.fixture(scope="session")
def upstream() -> Iterator[str]:
    """The address of the vendor."""
    command = [ROOT / ".venv/bin/python", Path(__file__).with_name("upstream.py")]
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(command, env=ENVIRONMENT, stdin=pipe, stdout=pipe, text=True) as process,
        announced(process, process.stdout) as line,
    ):
        assert line.startswith("http://"), "the upstream did not start"
        yield line.strip()


@pytest.fixture(scope="session")
def root(upstream: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The proxy's address. `sk-test-key-1` has no limit, `sk-poor` a budget nothing fits, `sk-root` is an admin's."""
    folder = tmp_path_factory.mktemp("proxy")
    (folder / "routing.yaml").write_text(ROUTING.replace("UPSTREAM", upstream))
    command = [ROOT / ".venv/bin/muxer", "serve", "--port", "0"]
    quiet, pipe = subprocess.DEVNULL, subprocess.PIPE
    with (
        subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=quiet, stderr=pipe, text=True) as process,
        announced(process, process.stderr) as banner,
    ):
        found = re.search("listening on (http://[^ ]+)", banner)
        assert found, banner
        yield found[1]
    assert process.returncode == 0


@pytest.fixture(scope="session")
def url(root: str) -> str:
    """The proxy's address as most clients want it."""
    return f"{root}/v1"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """What runs the tests that await; anyio comes with the clients that can."""
    return "asyncio"


@pytest.fixture(scope="session")
async def one_loop(anyio_backend: str) -> AsyncIterator[None]:
    """One event loop for all tests that await: clients keep their connections beyond a test."""
    yield


@pytest.fixture
def busy(url: str) -> str:
    """A key whose requests of this minute are used up."""
    body = b'{"model": "gpt-terra", "messages": [{"role": "user", "content": "Hello"}]}'
    headers = {"Authorization": "Bearer sk-busy", "Content-Type": "application/json"}
    for _ in range(3):
        try:
            urllib.request.urlopen(  # our own address
                urllib.request.Request(f"{url}/chat/completions", body, headers),
                timeout=DEADLINE_S,
            ).close()
        except urllib.error.HTTPError as refusal:
            with refusal:
                assert refusal.code == 429
                return "sk-busy"
    raise AssertionError("the limit of a request a minute does not hold")


@pytest.fixture(params=[401, 402, 429])
def refusal(request: pytest.FixtureRequest) -> tuple[str, int]:
    """A key the proxy refuses, and the status it does so with."""
    status: int = request.param
    keys = {401: "sk-other", 402: "sk-poor", 429: "sk-busy"}
    if status == 429:
        request.getfixturevalue("busy")
    return keys[status], status
