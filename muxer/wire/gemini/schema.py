"""JSON schemas as Gemini takes them: its subset, and what that has no keyword for told in the description."""

import re
from collections.abc import Mapping

import msgspec

# https://ai.google.dev/api/generate-content, `responseJsonSchema`: what is read; the rest of a schema is passed over.
_TAKEN = frozenset((
    "$anchor", "$id", "type", "format", "title", "description", "required", "minItems", "maxItems", "minimum",
    "maximum", "propertyOrdering",
))  # fmt: skip
_MAPS = {"properties": "properties", "$defs": "$defs", "definitions": "$defs"}
_LISTS = {"anyOf": "anyOf", "oneOf": "anyOf", "prefixItems": "prefixItems"}
_SCHEMAS = frozenset(("items", "additionalProperties"))
_WITHOUT_EFFECT = frozenset(("$schema", "$comment", "examples", "deprecated", "readOnly", "writeOnly"))
# A hint, no promise: leaving it out needs no word.
_HINTS = frozenset(("default",))
# A keyword goes into a response header, so only what looks like one is repeated.
_KEYWORD = re.compile(r"[A-Za-z$][A-Za-z]{0,31}")


def accepted(schema: Mapping[str, object], name: str) -> tuple[dict[str, object], list[str]]:
    """The schema to send, and the keywords it lost, each as `NAME.keyword`: the model is told them in words."""
    lost: dict[str, None] = {}
    sent = _object(schema, lost)
    named = (f"{name}.{keyword}" if _KEYWORD.fullmatch(keyword) else name for keyword in lost)
    return sent, list(dict.fromkeys(named))


def _object(schema: Mapping[str, object], lost: dict[str, None]) -> dict[str, object]:
    taken: dict[str, object] = {}
    untaken: dict[str, object] = {}
    for key, value in schema.items():
        found = _taken(key, value, lost)
        if found is not None and found[0] not in taken:
            taken[found[0]] = found[1]
        elif key not in _WITHOUT_EFFECT:
            untaken[key] = value
    lost.update((key, None) for key in untaken if key not in _HINTS)
    if "$ref" in taken:
        # "If $ref is set on a sub-schema, no other properties may be set, except for those starting with a $."
        return {key: value for key, value in taken.items() if key.startswith("$")}
    return _describe(taken, untaken)


def _taken(key: str, value: object, lost: dict[str, None]) -> tuple[str, object] | None:
    """The keyword and value that say the same at Gemini, or None."""
    if key == "$ref" and isinstance(value, str):
        return key, value.replace("#/definitions/", "#/$defs/")
    if key in _MAPS and isinstance(value, dict):
        return _MAPS[key], {name: _any(part, lost) for name, part in value.items()}
    if key in _LISTS and isinstance(value, list):
        return _LISTS[key], [_any(part, lost) for part in value]
    if key == "allOf" and isinstance(value, list) and len(value) == 1:
        return "anyOf", [_any(value[0], lost)]
    if key in _SCHEMAS:
        return key, _any(value, lost)
    if key == "const" and _is_plain(value):
        return "enum", [value]
    if key in _TAKEN or (key == "enum" and isinstance(value, list) and all(map(_is_plain, value))):
        return key, value
    return None


def _any(schema: object, lost: dict[str, None]) -> object:
    return _object(schema, lost) if isinstance(schema, dict) else schema


def _is_plain(value: object) -> bool:
    """Gemini takes strings and numbers as values of an enum."""
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _describe(taken: dict[str, object], untaken: dict[str, object]) -> dict[str, object]:
    if not untaken:
        return taken
    rest = "Must also match " + msgspec.json.encode(untaken).decode()
    description = taken.get("description")
    return {**taken, "description": f"{description}\n\n{rest}" if description else rest}
