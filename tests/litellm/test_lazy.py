"""Where LiteLLM is installed, it is still imported by those alone who need it."""

import subprocess
import sys
from pathlib import Path

import pytest
from muxer_litellm import LiteLLMSettings, open_litellm

from muxer.testing import open_context
from tests.plugins.test_muxer_litellm import START, UNUSED
from tests.proxy import Lines

CONFIGURED = UNUSED.replace("{kind: openai, api_key: sk-1}", "{kind: litellm, api_key: sk-1}")


def start(folder: Path, text: str) -> "subprocess.CompletedProcess[str]":
    file = folder / "routing.yaml"
    file.write_text(text.replace("PLUGINS", "litellm, openai, sqlite"))
    return subprocess.run([sys.executable, "-c", START, str(file)], capture_output=True, text=True, timeout=60)


def test_a_start_that_does_not_need_it_does_not_import_it(tmp_path: Path) -> None:
    done = start(tmp_path, UNUSED)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "True True", "")


def test_a_start_that_needs_it_does(tmp_path: Path) -> None:
    done = start(tmp_path, CONFIGURED)
    assert "litellm was imported" in done.stdout


async def test_the_log_says_how_long_it_took(capfd: pytest.CaptureFixture[str]) -> None:
    log = Lines()
    async with open_context(log=log) as context, open_litellm(LiteLLMSettings(), context):
        line = await log.wait_for("litellm_imported")
    assert isinstance(line["seconds"], float)
    assert capfd.readouterr() == ("", "")
