"""JSON schemas as Anthropic's structured outputs take them: objects closed, no bounds on numbers and lengths."""

import msgspec

# https://platform.claude.com/docs/en/build-with-claude/structured-outputs, "JSON Schema limitations"
_TAKEN = frozenset(("type", "enum", "const", "required", "title", "description", "default", "pattern"))
_FORMATS = frozenset(("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"))
_MAPS = frozenset(("properties", "$defs", "definitions"))
_LISTS = {"anyOf": "anyOf", "allOf": "allOf", "oneOf": "anyOf"}
_WITHOUT_EFFECT = frozenset(("$schema", "$id", "$comment", "examples", "deprecated", "readOnly", "writeOnly"))


def accepted(schema: dict[str, object]) -> tuple[dict[str, object], bool]:
    """The schema to send, and whether it promises less than the caller's: what Anthropic refuses in a schema is told
    to the model in the description instead."""
    told: list[str] = []
    return _object(schema, told), bool(told)


def _object(schema: dict[str, object], told: list[str]) -> dict[str, object]:
    taken: dict[str, object] = {}
    untaken: dict[str, object] = {}
    for key, value in schema.items():
        if key in _MAPS and isinstance(value, dict):
            taken[key] = {name: _any(part, told) for name, part in value.items()}
        elif key in _LISTS and isinstance(value, list):
            taken[_LISTS[key]] = [_any(part, told) for part in value]
        elif key == "items":
            taken[key] = _any(value, told)
        elif key == "$ref" or _is_taken(key, value):
            taken[key] = value
        elif key not in _WITHOUT_EFFECT and not (key == "additionalProperties" and isinstance(value, bool)):
            untaken[key] = value
    if "$ref" in taken:
        # A reference stands alone; only the definitions it points to may be beside it.
        return {key: taken[key] for key in ("$ref", "$defs", "definitions") if key in taken}
    if schema.get("type") == "object":
        taken["additionalProperties"] = False
        if not schema.get("properties") and schema.get("additionalProperties") is not False:
            untaken.setdefault("additionalProperties", True)
    return _describe(taken, untaken, told)


def _any(schema: object, told: list[str]) -> object:
    return _object(schema, told) if isinstance(schema, dict) else schema


def _is_taken(key: str, value: object) -> bool:
    if key == "format":
        return value in _FORMATS
    if key == "minItems":
        return value in (0, 1)
    return key in _TAKEN


def _describe(taken: dict[str, object], untaken: dict[str, object], told: list[str]) -> dict[str, object]:
    if not untaken:
        return taken
    told.extend(untaken)
    rest = "Must also match " + msgspec.json.encode(untaken).decode()
    description = taken.get("description")
    return {**taken, "description": f"{description}\n\n{rest}" if description else rest}
