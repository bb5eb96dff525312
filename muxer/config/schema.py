"""The JSON Schema of `routing.yaml` for editors, made from the settings types."""

from typing import Any

import msgspec
from msgspec import NODEFAULT, Struct, inspect

from muxer.config.scalars import LARGEST_USD, PERCENT, is_share
from muxer.config.settings import REQUIRED, Component, Listed, ListedGuard, ListedSink, Settings
from muxer.interfaces import ProviderSettings
from muxer.secret import Secret

Schema = dict[str, Any]

_REFERENCE = {
    "type": "string",
    "pattern": r"\$\{",
    "description": "a reference: ${NAME} or ${NAME:-default} to the environment, ${file:PATH} to a file",
}


def schema() -> Schema:
    """The schema of the whole file. What a plugin's own settings may be is left open."""
    definitions: dict[str, Schema] = {}
    root = _Writer(definitions).struct(Settings)
    root["required"] = list(REQUIRED)
    del root["description"]
    store = _Writer(definitions).open_struct(None, "A store: its kind, then the settings of that kind.")
    provider = _Writer(definitions).open_struct(
        ProviderSettings, "A provider: its kind, then the settings of that kind; these are the common ones."
    )
    listed = {
        "authenticator": _Writer(definitions).open_struct(Listed, "An authenticator: its kind, then its settings."),
        "guard": _Writer(definitions).open_struct(ListedGuard, "A guard: its kind, then the settings of that kind."),
        "sink": _Writer(definitions).open_struct(ListedSink, "A sink: its kind, then the settings of that kind."),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "routing.yaml of ModelMuxer",
        **root,
        "$defs": {
            "reference": _REFERENCE,
            "store": store,
            "provider": provider,
            **listed,
            **dict(sorted(definitions.items())),
        },
    }


class _Writer:
    """Turns the description of a type into a schema; structs go to the definitions."""

    def __init__(self, definitions: dict[str, Schema]) -> None:
        self._definitions = definitions

    def struct(self, cls: type[Struct]) -> Schema:
        """The schema of a struct's mapping."""
        described = inspect.type_info(cls)
        assert isinstance(described, inspect.StructType)
        required = [field.encode_name for field in described.fields if field.required]
        schema: Schema = {
            "type": "object",
            "description": " ".join((cls.__doc__ or "").split()),
            "properties": {field.encode_name: self._field(field) for field in described.fields},
            "additionalProperties": False,
        }
        return schema | ({"required": required} if required else {})

    def open_struct(self, cls: type[Struct] | None, description: str) -> Schema:
        """An entry with a kind, whose other keys are the plugin's."""
        common = self.struct(cls)["properties"] if cls else {}
        kind = {"type": "string", "description": "a kind that one of the plugins offers"}
        return {
            "type": "object",
            "description": description,
            "properties": {"kind": kind, **common},
            "required": ["kind"],
        }

    def _field(self, field: inspect.Field) -> Schema:
        schema = self._type(field.type, field.encode_name)
        default = field.default
        if default is NODEFAULT or default is None or isinstance(default, Struct) or default == ():
            return schema
        return schema | {"default": msgspec.to_builtins(default)}

    def _type(self, wanted: inspect.Type, name: str) -> Schema:
        if isinstance(wanted, inspect.Metadata):
            return self._type(wanted.type, name) | (wanted.extra_json_schema or {})
        if isinstance(wanted, inspect.UnionType):
            members = [self._type(member, name) for member in wanted.types]
            return {"anyOf": [choice for member in members for choice in member.get("anyOf", [member])]}
        if isinstance(wanted, inspect.StructType):
            return self._reference_to(wanted.cls, name)
        if isinstance(wanted, inspect.DictType):
            values = self._type(wanted.value_type, name.removesuffix("s"))
            keys = wanted.key_type
            names = (
                {"propertyNames": {"enum": sorted(map(str, keys.values))}}
                if isinstance(keys, inspect.LiteralType)
                else {}
            )
            return {"type": "object", "additionalProperties": values, **names}
        if isinstance(wanted, inspect.VarTupleType):
            shortest = {"minItems": wanted.min_length} if wanted.min_length else {}
            return {"type": "array", "items": self._type(wanted.item_type, name.removesuffix("s")), **shortest}
        return _scalar(wanted)

    def _reference_to(self, cls: type, name: str) -> Schema:
        if cls is Component:
            return {"$ref": f"#/$defs/{name}"}
        if cls.__name__ not in self._definitions:
            self._definitions[cls.__name__] = {}
            self._definitions[cls.__name__] = self.struct(cls)
        return {"$ref": f"#/$defs/{cls.__name__}"}


def _scalar(wanted: inspect.Type) -> Schema:
    """A plain value, or a reference to the environment in its place."""
    own: Schema = {}
    if isinstance(wanted, inspect.CustomType) and wanted.cls is Secret:
        return {"type": "string"}
    if isinstance(wanted, inspect.StrType):
        own = {"type": "string", "minLength": wanted.min_length, "pattern": wanted.pattern}
        if wanted.pattern is None:
            return {key: value for key, value in own.items() if value is not None}
    elif isinstance(wanted, inspect.NoneType):
        return {"type": "null"}
    elif isinstance(wanted, inspect.BoolType):
        own = {"type": "boolean"}
    elif isinstance(wanted, inspect.LiteralType):
        own = {"enum": list(wanted.values)}
    elif isinstance(wanted, inspect.DecimalType):
        own = {"type": "number", "minimum": 0, "maximum": LARGEST_USD}
    elif isinstance(wanted, inspect.IntType | inspect.FloatType):
        own = {
            "type": "integer" if isinstance(wanted, inspect.IntType) else "number",
            "minimum": wanted.ge,
            "maximum": wanted.le,
            "exclusiveMinimum": wanted.gt,
        }
    given = {key: value for key, value in own.items() if value is not None}
    percent = {"type": "string", "pattern": f"^{PERCENT}$"}
    shares = [percent] if isinstance(wanted, inspect.FloatType) and is_share(wanted) else []
    return {"anyOf": [given, *shares, {"$ref": "#/$defs/reference"}]}
