"""A proxy in demo mode, as a process of its own: the clients' environment does not hold ModelMuxer."""

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
ROUTING = """\
version: 1
plugins: [heuristics, openai, anthropic, sqlite, litellm_compat]
providers:
  openai: {kind: openai, api_key: "${OPENAI_API_KEY}"}
  anthropic: {kind: anthropic, api_key: "${ANTHROPIC_API_KEY}"}
models:
  gpt-terra: {provider: openai, name: gpt-6.1-terra}
  claude-haiku: {provider: anthropic, name: claude-haiku-5-5}
  vectors: {provider: openai, name: text-embedding-3-small}
routes: [{name: all, use: [gpt-terra]}]
keys:
  - {name: rich, secret: sk-test-key-1, user: rich}
  - {name: root, secret: sk-root, role: admin}
  - {name: poor, secret: sk-poor, user: poor}
limits: [{per: user, where: {user: poor}, daily_usd: 0.000001}]
"""
DEADLINE_S = 20

# On import LiteLLM would fetch its prices.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its base_url. The key `sk-test-key-1` has no limit, `sk-poor` a budget nothing fits, `sk-root` is an admin's."""
    folder = tmp_path_factory.mktemp("proxy")
    (folder / "routing.yaml").write_text(ROUTING)
    with subprocess.Popen(
        [ROOT / ".venv/bin/muxer", "serve", "--demo", "--port", "0"],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        watchdog = threading.Timer(DEADLINE_S, process.kill)
        watchdog.start()
        assert process.stderr is not None
        banner = process.stderr.readline()
        watchdog.cancel()
        found = re.search("listening on (http://[^ ]+)", banner)
        assert found, banner + process.stderr.read()
        yield f"{found[1]}/v1"
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
