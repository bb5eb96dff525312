"""The JSON Schema as an editor uses it: by a validator that is not ours."""

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has no types of its own

from muxer.config.settings import Settings
from scripts.make_schema import text
from tests.config.example import FULL

ROOT = Path(__file__).resolve().parents[2]
SCHEMA: dict[str, Any] = json.loads(text())
EDITOR = Draft202012Validator(SCHEMA)
WRONG = {
    "a word of a list": ("order: weighted", "order: x", "models.balanced.order"),
    "a key nobody knows": ("version: 1", "version: 1\nextra: 1", ""),
    "the version": ("version: 1", "version: 2", "version"),
    "a type": ("timeout_s: 20", "timeout_s: soon", "routes.1.timeout_s"),
    "a negative number": ("grace_s: 2.5", "grace_s: -1", "server.grace_s"),
    "a text for a list": ("use: [gpt-4o]", "use: gpt-4o", "routes.0.use"),
    "a share over 1": ("share: 25%", "share: 3", "routes.0.share"),
    "a key of a store": ("path: spend.db", "pth: spend.db", "store"),
    "a type in a store": ("path: spend.db", "busy_timeout_s: long", "store.busy_timeout_s"),
    "a key of a provider": ("timeout_s: 30", "timeout: 30", "providers.openai"),
    "a price without output": ("{input: 0.25, output: 1.25,", "{input: 0.25,", "models.haiku.price_usd_per_million"),
    "a key that is missing": ("kind: sqlite, path", "path", "store"),
}


def _properties(node: object) -> Iterator[tuple[str, bool, dict[str, Any]]]:
    """Every key, whether it must be there, and its rule."""
    if isinstance(node, dict):
        for name, rule in node.get("properties", {}).items():
            if isinstance(rule, dict) and "if" not in node:
                yield name, name in node.get("required", ()), rule
        for word, below in node.items():
            if word != "if":
                yield from _properties(below)
    elif isinstance(node, list):
        for below in node:
            yield from _properties(below)


def test_both_copies_are_what_is_generated() -> None:
    for copy in (files("muxer").joinpath("data/routing.schema.json"), ROOT / "config/routing.schema.json"):
        assert copy.read_text() == text(), "run scripts/make_schema.py"


def test_it_is_a_schema_and_knows_each_section() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert list(SCHEMA["properties"]) == list(Settings.__struct_fields__)


@pytest.mark.parametrize("file", ["routing.yaml", "muxer/data/routing.yaml"])
def test_it_takes_the_shipped_files(file: str) -> None:
    EDITOR.validate(yaml.safe_load((ROOT / file).read_text()))


def test_it_takes_a_full_file_and_kinds_of_others() -> None:
    EDITOR.validate(yaml.safe_load(FULL))
    EDITOR.validate(yaml.safe_load(FULL.replace("kind: sqlite, path", "kind: acme, rooms: 5, path")))
    EDITOR.validate(yaml.safe_load(FULL.replace("grace_s: 2.5", "grace_s: '${GRACE:-5}'")))


@pytest.mark.parametrize("name", WRONG)
def test_it_refuses_what_is_wrong_at_its_place(name: str) -> None:
    old, new, path = WRONG[name]
    assert old in FULL
    errors = list(EDITOR.iter_errors(yaml.safe_load(FULL.replace(old, new, 1))))
    assert path in {".".join(map(str, error.absolute_path)) for error in errors}


def test_every_key_is_described_and_has_a_default_unless_it_must_be_there() -> None:
    keys = list(_properties(SCHEMA))
    assert len(keys) > 150
    assert [name for name, _, rule in keys if not rule.get("description")] == []
    sections = {"version", "plugins", "providers", "models", "kind"}
    assert {name for name, is_required, rule in keys if not is_required and "default" not in rule} <= sections | {
        "store"
    }
