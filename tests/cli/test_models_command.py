import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.running import Ran

Run = Callable[..., Ran]


def test_each_model_has_its_price_and_why_it_cannot_be_asked(routing: Path, muxer: Run) -> None:
    lines = {line.split()[0]: " ".join(line.split()) for line in muxer("models").out.splitlines()}
    assert lines["big"].startswith("big openai gpt-6.1-sol 2 10 no: OPENAI_API_KEY is not set 922,000 images json")
    assert lines["small"] == "small local tiny 0.1 0.5 yes - - -"
    assert lines["unpriced"] == "unpriced local mystery unknown unknown yes - - -"
    assert lines["any"].startswith("any - small, big (listed) - - yes")


def test_a_key_makes_a_model_available(routing: Path, muxer: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-some")
    assert {model["name"]: model.get("available") for model in json.loads(muxer("models", "--json").out)} == {
        "big": True,
        "small": True,
        "unpriced": True,
        "old": True,
        "any": None,
    }


def test_retirement_is_shown_where_a_model_has_a_date(routing: Path, muxer: Run) -> None:
    ran = muxer("models")
    assert ran.lines[0][-1] == "retires"
    assert next(line for line in ran.lines if line[0] == "old")[-1] == "2026-10-23"
    assert {model["name"]: model.get("retires_on") for model in json.loads(muxer("models", "--json").out)}[
        "old"
    ] == "2026-10-23"


def test_json_has_exact_prices_and_groups(routing: Path, muxer: Run) -> None:
    models = {model["name"]: model for model in json.loads(muxer("models", "--json").out)}
    assert models["small"]["price_usd_per_million"]["output"] == "0.5"
    assert models["unpriced"]["price_usd_per_million"] is None
    assert models["any"] == {"name": "any", "use": ["small", "big"], "order": "listed"}


def test_without_a_file_the_built_in_one_is_listed(muxer: Run) -> None:
    assert "claude-haiku" in muxer("models").out


def test_a_file_that_is_not_there_is_an_error(muxer: Run) -> None:
    ran = muxer("models", "--config", "nowhere.yaml")
    assert (ran.code, ran.out) == (2, "")
    assert "nowhere.yaml: no such file" in ran.err


def test_a_narrow_terminal_leaves_out_what_it_can(routing: Path, muxer: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "90")
    out = muxer("models").out
    assert "available" in out
    assert "upstream" not in out
    assert max(len(line) for line in out.splitlines() if "─" in line) <= 90
