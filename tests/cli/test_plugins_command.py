import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.running import Ran

Run = Callable[..., Ran]

OWN = """\
from msgspec import Struct
from muxer import Kind, hookimpl

class Settings(Struct, frozen=True):
    volume: int

@hookimpl
def register_providers():
    return [Kind("mine", Settings, open)]
"""


def test_what_is_loaded_says_what_it_offers(routing: Path, muxer: Run) -> None:
    lines = {line.split()[0]: " ".join(line.split()) for line in muxer("plugins").out.splitlines()}
    assert lines["openai"].startswith("openai yes provider openai modelmuxer ")
    assert "signal heuristics: code, complexity, simple" in lines["heuristics"]
    assert "store sqlite" in lines["sqlite"]
    assert lines["mistral"].startswith("mistral no - modelmuxer ")


def test_verbose_lists_settings_and_defaults(routing: Path, muxer: Run) -> None:
    lines = [" ".join(line) for line in muxer("plugins", "-v").lines]
    assert "store sqlite path text muxer.db" in lines
    assert "synchronous normal or full normal" in lines
    assert "signal heuristics nothing to set" in lines


def test_json_has_settings(routing: Path, muxer: Run) -> None:
    plugins = {plugin["name"]: plugin for plugin in json.loads(muxer("plugins", "--json").out)}
    (offer,) = plugins["openai"]["offers"]
    assert (offer["what"], offer["kind"]) == ("provider", "openai")
    assert {"name": "max_connections", "takes": "whole number", "required": False, "default": 100} in offer["settings"]
    assert plugins["heuristics"]["offers"][0]["signals"]["code"] == "number"
    assert (plugins["demo"]["loaded"], plugins["demo"]["offers"]) == (False, [])


def test_a_plugin_that_is_missing_is_an_error_beside_what_is_installed(routing: Path, muxer: Run) -> None:
    routing.write_text(routing.read_text().replace("sqlite]", "sqlit]"))
    ran = muxer("plugins")
    assert ran.code == 2
    assert "no plugin 'sqlit' is installed; did you mean 'sqlite'?" in ran.err
    assert ["sqlite", "no"] in [line[:2] for line in ran.lines]


def test_a_module_named_in_the_file_is_listed(routing: Path, muxer: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (routing.parent / "own").mkdir()
    (routing.parent / "own" / "plugin.py").write_text(OWN)
    monkeypatch.syspath_prepend(routing.parent)
    routing.write_text(routing.read_text().replace("sqlite]", "sqlite, own.plugin]"))
    ran = muxer("plugins", "-v")
    assert ["own.plugin", "yes", "provider", "mine", "-"] in ran.lines
    assert ["provider", "mine", "volume", "whole", "number", "required"] in ran.lines
