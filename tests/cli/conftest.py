"""Commands run as a user runs them, in an empty folder and an environment that sets nothing of ours."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from muxer.__main__ import main
from muxer.embedded import Muxer
from tests.cli.running import ROUTING, Ran

_OURS = (
    "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MISTRAL_API_KEY", "ALLOWED_API_KEYS", "DEFAULT_DAILY_BUDGET",
    "DEFAULT_MONTHLY_BUDGET", "DEFAULT_MODEL", "FORCE_COLOR", "NO_COLOR", "COLUMNS",
)  # fmt: skip


@pytest.fixture
def muxer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    monkeypatch.chdir(tmp_path)
    for name in _OURS:
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["muxer", *words])
        try:
            code = main()
        except SystemExit as exit:
            code = int(exit.code or 0)
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture
def routing(tmp_path: Path) -> Path:
    """A routing.yaml where the commands run."""
    path = tmp_path / "routing.yaml"
    path.write_text(ROUTING)
    return path


@pytest.fixture
def recorded(routing: Path) -> Path:
    """The same, with two requests of alice and one of bob in its store, the last of which failed."""
    asyncio.run(_record(routing))
    return routing


async def _record(routing: Path) -> None:
    async with Muxer(routing, demo=True, environ={}) as mux:
        for words in ("Write a Python function to sort a list", "What is 2+2?"):
            await mux.acompletion(messages=[{"role": "user", "content": words}], user="alice")
    async with Muxer(routing, environ={}) as mux:
        with pytest.raises(Exception, match="connect"):
            await mux.acompletion(messages=[{"role": "user", "content": "Hello"}], user="bob")
