"""`muxer serve` as a real process on a free port."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from muxer.testing import Say, ScriptedUpstream

DEADLINE_S = 20
ROUTING = """\
version: 1
plugins: [openai, sqlite]
providers: {{main: {{kind: openai, api_key: "${{OPENAI_API_KEY}}", base_url: "{url}"}}}}
models: {{small: {{provider: main, name: gpt-6.1-sol, price: free}}}}
routes: [{{name: all, use: [small]}}]
"""

# For machines without curl: as much of it as the banner's line uses.
CURL = f"""#!{sys.executable}
import sys, urllib.error, urllib.request
words = [word for word in sys.argv[1:] if word not in ("-s", "-g")]
headers = dict(words[i + 1].split(": ", 1) for i, word in enumerate(words) if word == "-H")
body = words[words.index("-d") + 1].encode()
try:
    answer = urllib.request.urlopen(urllib.request.Request(words[0], body, headers))
except urllib.error.HTTPError as error:
    answer = error
sys.stdout.buffer.write(answer.read())
"""


@pytest.fixture(autouse=True, scope="module")
def _curl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    if shutil.which("curl"):
        yield
        return
    curl = tmp_path_factory.mktemp("bin") / "curl"
    curl.write_text(CURL)
    curl.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{curl.parent}:{os.environ['PATH']}")
        yield


class Running:
    """A proxy that has said where it listens."""

    def __init__(self, process: "subprocess.Popen[str]", banner: str) -> None:
        self.process = process
        self.banner = banner

    @property
    def command(self) -> str:
        """What the banner gives to try, key included."""
        export = re.search("export MUXER_KEY=.*", self.banner)
        curl = self.banner[self.banner.index("  curl ") :]
        return (export[0] + "\n" if export else "") + curl

    def stopped(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)


def _start(folder: Path, *words: str, **variables: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "muxer", "serve", *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def _serving(folder: Path, *words: str, **variables: str) -> Iterator[Running]:
    with _start(folder, *words, "--port", "0", **variables) as process:
        watchdog = threading.Timer(DEADLINE_S, process.kill)
        watchdog.start()
        assert process.stderr is not None
        banner = ""
        try:
            while "-d '" not in banner:
                line = process.stderr.readline()
                assert line, f"it ended before it listened: {banner}"
                banner += line
            yield Running(process, banner)
        finally:
            watchdog.cancel()
            process.kill()


def _refused(folder: Path, *words: str, **variables: str) -> tuple[int, str]:
    with _start(folder, *words, **variables) as process:
        _, said = process.communicate(timeout=DEADLINE_S)
    return process.returncode, said


def _run(command: str, **variables: str) -> dict[str, object]:
    environ = {"PATH": os.environ["PATH"], **variables}
    shell = ["sh", "-c", command.replace("curl ", "curl -s ")]
    done = subprocess.run(shell, env=environ, capture_output=True, timeout=DEADLINE_S, check=True)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_the_line_to_try_works_as_printed_with_no_key_at_all(tmp_path: Path) -> None:
    with _serving(tmp_path) as proxy:
        answer = _run(proxy.command)
    assert "no provider key is set" in proxy.banner
    assert answer["object"] == "chat.completion"


def test_demo_is_served_where_asked_for(tmp_path: Path) -> None:
    with _serving(tmp_path, "--demo", OPENAI_API_KEY="sk-1") as proxy:
        assert "DEMO (--demo)" in proxy.banner
        assert _run(proxy.command)["object"] == "chat.completion"


async def test_a_provider_with_a_key_is_asked_for_real(tmp_path: Path) -> None:
    async with ScriptedUpstream(Say(text="from upstream")) as upstream:
        (tmp_path / "routing.yaml").write_text(ROUTING.format(url=f"{upstream.url}/v1"))
        with _serving(tmp_path, OPENAI_API_KEY="sk-real") as proxy:
            answer = await asyncio.to_thread(_run, proxy.command)
    assert "DEMO" not in proxy.banner
    assert "from upstream" in str(answer)
    assert upstream.calls[0].headers["Authorization"] == "Bearer sk-real"


def test_with_keys_the_line_to_try_takes_one(tmp_path: Path) -> None:
    with _serving(tmp_path, ALLOWED_API_KEYS="sk-test-key-1,sk-test-key-2") as proxy:
        answer = _run(proxy.command, MUXER_KEY="sk-test-key-2")
        refusal = _run(proxy.command, MUXER_KEY="sk-other")
    assert "sk-test-key" not in proxy.banner
    assert answer["object"] == "chat.completion"
    assert "error" in refusal


def test_make_key_makes_one_shows_it_once_and_requires_it(tmp_path: Path) -> None:
    with _serving(tmp_path, "--host", "0.0.0.0", "--make-key") as proxy:
        answer = _run(proxy.command)
        refusal = _run(proxy.command.partition("\n")[2], MUXER_KEY="mux_guess")
    keys = re.findall(r"mux_[\w-]{43}\b", proxy.banner)
    assert len(keys) == 1
    assert answer["object"] == "chat.completion"
    assert "invalid_api_key" in str(refusal)


def test_make_key_makes_none_where_there_are_keys(tmp_path: Path) -> None:
    with _serving(tmp_path, "--make-key", ALLOWED_API_KEYS="sk-test-key-1") as proxy:
        assert "mux_" not in proxy.banner
        assert _run(proxy.command, MUXER_KEY="sk-test-key-1")["object"] == "chat.completion"


def test_a_public_address_without_keys_is_refused(tmp_path: Path) -> None:
    code, said = _refused(tmp_path, "--host", "0.0.0.0", "--port", "0")
    assert code == 2
    assert "will not listen on 0.0.0.0 without API keys" in said
    assert "--make-key" in said


def test_a_key_in_the_store_opens_a_public_address_and_is_the_only_one(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "muxer", "keys", "create", "ci"]
    made = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    for more in (["--make-key"], ["--workers", "2"]):
        with _serving(tmp_path, "--host", "0.0.0.0", *more) as proxy:
            assert "mux_" not in proxy.banner
            assert _run(proxy.command, MUXER_KEY=made.stdout.strip())["object"] == "chat.completion"
            assert "invalid_api_key" in str(_run(proxy.command, MUXER_KEY="mux_guess"))


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = _refused(tmp_path, "--port", str(port))
    assert code == 2
    assert said.startswith(f"cannot listen on 127.0.0.1:{port}: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_that_is_none_is_wrong_usage(tmp_path: Path, port: str) -> None:
    code, said = _refused(tmp_path, f"--port={port}")
    assert code == 2
    assert "--port" in said


def test_a_store_that_cannot_be_opened_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "muxer.db").mkdir()
    code, said = _refused(tmp_path, "--port", "0")
    assert code == 2
    assert "muxer.db" in said
    assert "Traceback" not in said


def test_a_faulty_file_is_shown_with_its_places(tmp_path: Path) -> None:
    (tmp_path / "routing.yaml").write_text("version: 1\nplugin: []\n")
    code, said = _refused(tmp_path)
    assert code == 2
    assert "routing.yaml:2:1: " in said


def test_sigterm_stops_it_properly(tmp_path: Path) -> None:
    with _serving(tmp_path) as proxy:
        assert proxy.stopped() == 0


async def test_after_sigterm_it_serves_on_for_the_delay_without_being_ready(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, aiohttp.ClientSession() as session:
        server = "server: {drain_delay_s: 600}\n"
        (tmp_path / "routing.yaml").write_text(ROUTING.format(url=f"{upstream.url}/v1") + server)
        with _serving(tmp_path, OPENAI_API_KEY="sk-1") as proxy:
            found = re.search(r"http://\S+:\d+", proxy.banner)
            assert found
            proxy.process.send_signal(signal.SIGTERM)
            while (await session.get(found[0] + "/readyz")).status == 200:
                await asyncio.sleep(0)  # the signal is on its way
            body = {"messages": [{"role": "user", "content": "Hi"}]}
            assert (await session.post(found[0] + "/v1/chat/completions", json=body)).status == 200
            assert proxy.process.poll() is None
            assert await asyncio.to_thread(proxy.stopped) == 0
