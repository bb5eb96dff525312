"""The JSON Schema of `routing.yaml` for editors, made from the settings types."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import NODEFAULT, Struct, inspect

from muxer.config.scalars import LARGEST_USD, PERCENT, is_share
from muxer.config.settings import REQUIRED, Component, Listed, ListedGuard, ListedSink, Settings
from muxer.interfaces import Kind, Kinds, ProviderSettings
from muxer.secret import Secret

Schema = dict[str, Any]
Told = Callable[[str, str], str]
"""What a setting of a kind is for, in words."""

_OF_KIND = "a kind that one of the plugins offers"

_REFERENCE = {
    "type": "string",
    "pattern": r"\$\{",
    "description": "a reference: ${NAME} or ${NAME:-default} to the environment, ${file:PATH} to a file",
}


def schema(kinds: Kinds, told: Told) -> Schema:
    """The schema of the whole file. Of these kinds it knows the settings too, and `told` says what one of them is for
    where its type does not; what the kinds of other plugins take is left open."""
    definitions: dict[str, Schema] = {}
    writer = _Writer(definitions)
    root = writer.struct(Settings)
    root["required"] = list(REQUIRED)
    del root["description"]
    components = {
        "store": writer.component("A store", None, kinds.stores, told),
        "provider": writer.component("A provider", ProviderSettings, kinds.providers, told),
        "authenticator": writer.component("An authenticator", Listed, kinds.authenticators, told),
        "guard": writer.component("A guard", ListedGuard, kinds.guards, told),
        "sink": writer.component("A sink", ListedSink, kinds.sinks, told),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "routing.yaml of ModelMuxer",
        **root,
        "$defs": {"reference": _REFERENCE, **components, **dict(sorted(definitions.items()))},
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

    def component(self, what: str, shape: type[Struct] | None, kinds: Mapping[str, Kind[Any]], told: Told) -> Schema:
        """An entry with a kind: its other keys are those of the kind, where that is known."""
        sort = what.split()[-1]
        common = self.struct(shape)["properties"] if shape else {}
        of_core = common if shape and issubclass(shape, Listed) else {}  # a provider's common keys are its own, too
        for name, kind in kinds.items():
            own = self.struct(kind.settings)
            for key, rule in own["properties"].items():
                rule |= {} if "description" in rule else {"description": told(name, key)}
            own["description"] = f"{what} of kind {name}."
            own["properties"] = {"kind": {"const": name, "description": _OF_KIND}, **of_core, **own["properties"]}
            self._definitions[f"{sort}-{name}"] = own
        return {
            "type": "object",
            "description": f"{what}: its kind, then the settings of that kind.",
            "properties": {"kind": {"type": "string", "description": _OF_KIND, "examples": sorted(kinds)}, **common},
            "required": ["kind"],
            "allOf": [
                {
                    "if": {"properties": {"kind": {"const": name}}, "required": ["kind"]},
                    "then": {"$ref": f"#/$defs/{sort}-{name}"},
                }
                for name in kinds
            ],
        }

    def _field(self, field: inspect.Field) -> Schema:
        schema = self._type(field.type, field.encode_name)
        if field.required:
            return schema
        default = field.default if field.default is not NODEFAULT else field.default_factory()
        return schema | {"default": {} if isinstance(default, Struct) else msgspec.to_builtins(default)}

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
        if isinstance(wanted, inspect.AnyType):
            return {}
        if isinstance(wanted, inspect.VarTupleType | inspect.ListType | inspect.SetType | inspect.FrozenSetType):
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
