"""Sends what the OpenAPI document allows, and what it does not, to a proxy in demo mode: `make check-fuzz`.

    python tests/fuzz/run.py [SECONDS]

No 5xx, every answer as declared, and a good request is answered after it all.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
ROUTING = """\
version: 1
plugins: [heuristics, openai, prometheus, sqlite]
store: {kind: sqlite, path: muxer.db}
providers: {main: {kind: openai, api_key: unused}}
models:
  small: {provider: main, name: gpt-6.1-terra}
  vectors: {provider: main, name: text-embedding-3-small}
routes: [{name: all, use: [small]}]
keys: [{name: root, secret: sk-root, role: admin}]
limits: [{per: user, daily_usd: 1_000_000}]
"""
# Not `ignored_auth`: it takes a wrong credential beside a right one for a hole; tests/test_openapi.py asks without any.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance,allow_header_conformance"
)
SETTINGS = '[parameters]\n"path.name" = "small"\n'
SEED = "20261125"
START_S, STOP_S = 20, 30


@contextmanager
def proxy(folder: str) -> Iterator[str]:
    """The address of a proxy in demo mode, a process of its own."""
    (Path(folder) / "routing.yaml").write_text(ROUTING)
    (Path(folder) / "schemathesis.toml").write_text(SETTINGS)
    with subprocess.Popen(
        [ROOT / ".venv/bin/muxer", "serve", "--demo", "--port", "0"],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        watchdog = threading.Timer(START_S, process.kill)
        watchdog.start()
        banner = process.stderr.readline()
        watchdog.cancel()
        found = re.search("listening on (http://[^ ]+)", banner)
        if found is None:
            raise SystemExit(f"the proxy did not start: {banner}{process.stderr.read()}")
        yield found[1]
        process.terminate()
        if process.wait(STOP_S):
            raise SystemExit("the proxy did not stop as it should")


def is_alive(url: str) -> bool:
    """Whether a good request is answered, and nothing is held afterwards."""
    body = json.dumps({"messages": [{"role": "user", "content": "Hi"}]}).encode()
    headers = {"x-api-key": "sk-root", "Content-Type": "application/json"}
    ask = urllib.request.Request(f"{url}/v1/chat/completions", body, headers)
    look = urllib.request.Request(f"{url}/stats", headers=headers)
    with urllib.request.urlopen(ask, timeout=START_S) as answer:
        is_good = answer.status == 200
    with urllib.request.urlopen(look, timeout=START_S) as answer:
        held: str = json.load(answer)["held_usd"]
    return is_good and held == "0"


def main(seconds: str = "120") -> int:
    """The exit code of schemathesis. Raises SystemExit when the proxy is not what it was."""
    with tempfile.TemporaryDirectory() as folder, proxy(folder) as url:
        environ = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(Path(__file__).parent)}
        command = [
            *(str(Path(sys.executable).parent / "schemathesis"), "run", f"{url}/openapi.json"),
            *("--checks", CHECKS, "--mode", "all", "--phases", "coverage,fuzzing"),
            *("--seed", SEED, "--max-time", seconds, "--request-timeout", "30", "--continue-on-failure"),
            *("-H", "x-api-key: sk-root", "--suppress-health-check", "all"),
        ]
        code = subprocess.run(command, cwd=folder, env=environ, check=False).returncode
        if not is_alive(url):
            raise SystemExit("the proxy no longer answers a good request, or holds money for none")
        return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
