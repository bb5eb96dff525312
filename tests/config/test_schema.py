import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from muxer.config.schema import schema
from muxer.config.settings import Settings
from tests.config.example import FULL

ROOT = Path(__file__).resolve().parents[2]


def _properties(node: object) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        yield from node.get("properties", {}).items()
        for below in node.values():
            yield from _properties(below)
    elif isinstance(node, list):
        for below in node:
            yield from _properties(below)


def _fits(value: object, rule: dict[str, Any], root: dict[str, Any]) -> bool:
    """As much of JSON Schema as ours uses."""
    if "$ref" in rule:
        return _fits(value, root["$defs"][rule["$ref"].split("/")[-1]], root)
    if "anyOf" in rule:
        return any(_fits(value, choice, root) for choice in rule["anyOf"])
    if "enum" in rule:
        return value in rule["enum"]
    match rule["type"]:
        case "object":
            known, others = rule.get("properties", {}), rule.get("additionalProperties", {})
            if not isinstance(value, dict) or not set(rule.get("required", ())) <= set(value):
                return False
            rules = {key: known.get(key, others) for key in value}
            return all(each == {} or (each and _fits(value[key], each, root)) for key, each in rules.items())
        case "array":
            return isinstance(value, list) and all(_fits(item, rule["items"], root) for item in value)
        case "string":
            return isinstance(value, str) and re.search(rule.get("pattern", ""), value) is not None
        case "boolean" | "null" as name:
            return isinstance(value, bool if name == "boolean" else type(None))
    types = (int,) if rule["type"] == "integer" else (int, float)
    return isinstance(value, types) and value >= rule.get("minimum", value)


def test_both_copies_are_what_is_generated() -> None:
    text = json.dumps(schema(), indent=2) + "\n"
    remedy = "run scripts/make_schema.py"
    assert files("muxer").joinpath("data/routing.schema.json").read_text() == text, remedy
    assert (ROOT / "config/routing.schema.json").read_text() == text, remedy


def test_the_schema_knows_each_section_and_takes_the_full_file() -> None:
    made = schema()
    assert list(made["properties"]) == list(Settings.__struct_fields__)
    assert _fits(yaml.safe_load(FULL), made, made)


def test_the_schema_refuses_what_is_wrong() -> None:
    made = schema()
    for wrong in (
        FULL.replace("order: weighted", "order: x"),
        FULL + "extra: 1\n",
        FULL.replace("version: 1", "version: 2"),
    ):
        assert not _fits(yaml.safe_load(wrong), made, made)


def test_every_key_of_the_core_is_described() -> None:
    made = schema()
    del made["$defs"]["provider"]
    assert [name for name, rule in _properties(made) if "description" not in rule] == []
