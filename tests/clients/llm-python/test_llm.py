"""`llm`, the command and the library, with the models of a proxy in its `extra-openai-models.yaml`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import llm
import pytest

HELLO = "What is the capital of France?"
SAID = f"You said: {HELLO}"
MODELS = ("gpt-terra", "claude-haiku")
LISTED = """\
- {model_id: NAME, model_name: NAME, api_base: "URL", api_key_name: muxer, supports_tools: true, supports_schema: true}
"""


@pytest.fixture
def folder(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    listed = "".join(LISTED.replace("NAME", name).replace("URL", url) for name in MODELS)
    (tmp_path / "extra-openai-models.yaml").write_text(listed)
    (tmp_path / "keys.json").write_text(json.dumps({"muxer": "sk-test-key-1"}))
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    return tmp_path


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "llm", *arguments],
        env={"PATH": os.environ["PATH"], "LLM_USER_PATH": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("flag", [[], ["--no-stream"]], ids=["stream", "whole"])
@pytest.mark.parametrize("model", MODELS)
def test_the_command_answers(folder: Path, model: str, flag: list[str]) -> None:
    done = command(folder, "prompt", "-m", model, *flag, HELLO)
    assert (done.returncode, done.stdout.strip()) == (0, SAID), done.stderr


def test_the_command_keeps_to_a_schema(folder: Path) -> None:
    done = command(folder, "prompt", "-m", "gpt-terra", "--schema", "city str", HELLO)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"city": "demo"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_runs_a_tool(folder: Path, model: str, stream: bool) -> None:
    def get_weather(place: str) -> str:
        """The weather at a place."""
        return f"sunny at {place}"

    chain = llm.get_model(model).chain(HELLO, tools=[get_weather], stream=stream)
    assert chain.text() == "You said: sunny at demo"


def test_counts_what_was_used(folder: Path) -> None:
    usage = llm.get_model("gpt-terra").prompt(HELLO).usage()
    assert usage.input > 0 and usage.output > 0


# Not 429: what it repeats it repeats after the minute the proxy names.
@pytest.mark.parametrize(("key", "status"), [("sk-other", 401), ("sk-poor", 402)])
def test_a_refusal_is_a_message_and_a_failed_command(folder: Path, key: str, status: int) -> None:
    (folder / "keys.json").write_text(json.dumps({"muxer": key}))
    done = command(folder, "prompt", "-m", "gpt-terra", "--no-stream", HELLO)
    assert done.returncode == 1
    assert f"Error code: {status}" in done.stderr
