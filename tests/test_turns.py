"""Requests that came together take each step together."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from muxer import Muxer, pipeline
from muxer.testing import Say, ScriptedUpstream
from muxer.turns import turn
from tests.proxy import SECTIONS

TOGETHER = 5


async def test_whoever_is_ready_comes_as_far_first() -> None:
    seen: list[str] = []

    async def walk(name: str) -> None:
        for step in range(3):
            seen.append(f"{step}{name}")
            await turn()

    await asyncio.gather(walk("a"), walk("b"))
    assert seen == ["0a", "0b", "1a", "1b", "2a", "2b"]


async def test_a_turn_can_be_cancelled() -> None:
    async def wait() -> None:
        await turn()
        raise AssertionError("it went on")

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_requests_are_decided_together_and_then_recorded_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def noted(name: str) -> None:
        step: Callable[..., Any] = getattr(pipeline, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            steps.append(name)
            return step(*arguments, **named)

        monkeypatch.setattr(pipeline, name, wrapped)

    noted("decide")
    noted("opening")
    async with ScriptedUpstream(Say(text="It is Paris.")) as upstream:
        text = "\n".join(f"{name}: {section}" for name, section in {**SECTIONS, "keys": "[]"}.items())
        (tmp_path / "routing.yaml").write_text(text.replace("UPSTREAM", upstream.url))
        async with Muxer.from_yaml(tmp_path / "routing.yaml") as mux:
            asked = [{"role": "user", "content": "What is the capital of France?"}]
            await asyncio.gather(*(mux.acompletion(messages=asked) for _ in range(TOGETHER)))
    assert steps == ["decide"] * TOGETHER + ["opening"] * TOGETHER
