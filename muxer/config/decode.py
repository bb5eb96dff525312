"""Located tree to settings: walks the types' own description and notes every fault, not only the first."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from msgspec import Struct, inspect

from muxer.config.faults import Faults
from muxer.config.hints import key_hint
from muxer.config.scalars import Wrong, described, plain, read
from muxer.config.tree import Items, Node, Scalar, Table, below, has_references, shown
from muxer.secret import Secret

StructT = TypeVar("StructT", bound=Struct)
_ListType = inspect.VarTupleType | inspect.ListType | inspect.SetType | inspect.FrozenSetType
_TEXT = inspect.StrType()


class _Failed:
    """No value could be made; why was noted."""


_FAILED = _Failed()


class Decoder:
    """Turns nodes into values of given types and notes what does not fit."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._hint = ""  # what the key being read is meant for, where its type says so

    def struct(self, node: Node, cls: type[StructT], path: str, *, besides: Iterable[str] = ()) -> StructT | None:
        """A struct of that class, or None and faults. Keys in `besides` are allowed and left alone.

        A field that does not fit falls back to its default where it has one, so that later checks can go on.
        """
        wanted = inspect.type_info(cls)
        assert isinstance(wanted, inspect.StructType)
        value = self._struct(node, wanted, path, besides)
        return value if isinstance(value, cls) else None

    def structs(self, node: Node | None, cls: type[StructT], path: str) -> list[StructT | None]:
        """A list of such structs; None where one could not be made."""
        return [self.struct(item, cls, f"{path}[{index}]") for index, item in enumerate(self.items(node, path))]

    def items(self, node: Node | None, path: str) -> tuple[Node, ...]:
        """The items of a list; none, and a fault, when it is something else."""
        if isinstance(node, Items):
            return node.items
        if node is not None:
            self._refuse(node, path, "a list")
        return ()

    def table(self, node: Node | None, path: str) -> Mapping[str, Node]:
        """The entries of a mapping; none, and a fault, when it is something else."""
        if isinstance(node, Table):
            return node.entries
        if node is not None:
            self._refuse(node, path, "a mapping")
        return {}

    def text(self, node: Node, path: str) -> str | None:
        """A text, or None and a fault."""
        value = self._value(node, _TEXT, path)
        return value if isinstance(value, str) else None

    def note(self, node: Node, path: str, message: str, hint: str = "") -> None:
        """Notes a fault of this node: at its place, or under the name of the variable it came from."""
        hint = hint or self._hint
        if isinstance(node, Scalar) and node.variable:
            self._faults.add(None, node.variable, message, hint)
        else:
            self._faults.add(node.place, path, message, hint)

    def check_keys(self, node: Table, known: Iterable[str], path: str) -> None:
        """Notes every key that is not among the known ones."""
        names = list(known)
        for key, place in node.keys.items():
            if key not in names and not self._faults.is_full:
                self._faults.add(place, below(path, key), f"unknown key {shown(key)}", key_hint(key, names))

    def _value(self, node: Node, wanted: inspect.Type, path: str) -> object:
        if isinstance(wanted, inspect.Metadata):
            around, self._hint = self._hint, str((wanted.extra or {}).get("hint", ""))
            value = self._value(node, wanted.type, path)
            self._hint = around
            return value
        if isinstance(wanted, inspect.UnionType):
            return self._union(node, wanted, path)
        if isinstance(wanted, inspect.StructType):
            return self._struct(node, wanted, path)
        if isinstance(wanted, inspect.DictType):
            return self._dict(node, wanted, path)
        if isinstance(wanted, _ListType):
            return self._list(node, wanted, path)
        if isinstance(wanted, inspect.AnyType) or (isinstance(wanted, inspect.CustomType) and wanted.cls is object):
            return self._any(node, path)
        if isinstance(wanted, inspect.CustomType) and wanted.cls is Secret:
            text = self._value(node, _TEXT, path)
            return Secret(text) if isinstance(text, str) else text
        return self._scalar(node, path, lambda scalar: read(scalar, wanted), described(wanted))

    def _scalar(self, node: Node, path: str, reader: Callable[[Scalar], object], expected: str) -> object:
        if not isinstance(node, Scalar) or node.missing or node.sort == "broken":
            return self._refuse(node, path, expected)
        value = reader(node)
        if isinstance(value, Wrong):
            self.note(node, path, value.message, value.hint)
            return _FAILED
        return value

    def _refuse(self, node: Node, path: str, expected: str) -> _Failed:
        """Notes that something of another shape stands there; what was broken before is not told twice."""
        if not isinstance(node, Scalar):
            hint = "begin each entry with `- `" if expected == "a list" else ""
            self.note(
                node, path, f"expected {expected}, found a {'list' if isinstance(node, Items) else 'mapping'}", hint
            )
        elif node.missing:
            name = node.missing[0]
            self.note(node, path, f"{name} is not set", f"set it, or write ${{{name}:-DEFAULT}}")
        elif node.sort != "broken":
            found = {"nothing": "nothing", "boolean": "a boolean", "whole": "a number", "number": "a number"}
            hint = "write it in [ ]" if expected == "a list" and node.sort != "nothing" else ""
            self.note(node, path, f"expected {expected}, found {found.get(node.sort, 'text')}", hint)
        return _FAILED

    def _struct(self, node: Node, wanted: inspect.StructType, path: str, besides: Iterable[str] = ()) -> object:
        if not isinstance(node, Table):
            return self._refuse(node, path, "a mapping")
        self.check_keys(node, [*(field.encode_name for field in wanted.fields), *besides], path)
        values: dict[str, object] = {}
        is_whole, is_as_written = True, True
        for field in wanted.fields:
            value: object = _FAILED
            if (entry := node.entries.get(field.encode_name)) is not None:
                value = self._value(entry, field.type, below(path, field.encode_name))
                is_as_written = is_as_written and value is not _FAILED
            elif field.required:
                self.note(node, path, f"missing key {field.encode_name!r}")
            if value is not _FAILED:
                values[field.name] = value
            elif field.required:
                is_whole = False
        if not is_whole:
            return _FAILED
        try:
            return wanted.cls(**values)
        except (TypeError, ValueError) as error:  # a plugin's `__post_init__` refuses these values together
            if is_as_written:  # else it speaks of a default, and the fault is told already
                self.note(node, path, "these values do not fit together" if has_references(node) else str(error))
            return _FAILED

    def _union(self, node: Node, wanted: inspect.UnionType, path: str) -> object:
        """None, or the first member that takes the node."""
        members = [member for member in wanted.types if not isinstance(member, inspect.NoneType)]
        if len(members) < len(wanted.types) and isinstance(node, Scalar) and node.sort == "nothing":
            return None
        if len(members) == 1:
            return self._value(node, members[0], path)
        for member in members:
            trial = Faults(self._faults.file)
            value = Decoder(trial)._value(node, member, path)
            if value is not _FAILED and not len(trial):
                return value
        return self._refuse(node, path, " or ".join(map(described, members)))

    def _dict(self, node: Node, wanted: inspect.DictType, path: str) -> object:
        if not isinstance(node, Table):
            return self._refuse(node, path, "a mapping")
        if isinstance(wanted.key_type, inspect.LiteralType):
            self.check_keys(node, map(str, wanted.key_type.values), path)
        values = {key: self._value(entry, wanted.value_type, below(path, key)) for key, entry in node.entries.items()}
        is_whole = _FAILED not in values.values() and self._has_length(node, wanted, len(values), path)
        return values if is_whole else _FAILED

    def _list(self, node: Node, wanted: _ListType, path: str) -> object:
        if not isinstance(node, Items):
            return self._refuse(node, path, "a list")
        values = [self._value(item, wanted.item_type, f"{path}[{i}]") for i, item in enumerate(node.items)]
        if _FAILED in values or not self._has_length(node, wanted, len(values), path):
            return _FAILED
        if isinstance(wanted, inspect.VarTupleType):
            return tuple(values)
        if isinstance(wanted, inspect.SetType):
            return set(values)
        return frozenset(values) if isinstance(wanted, inspect.FrozenSetType) else values

    def _has_length(self, node: Node, wanted: _ListType | inspect.DictType, length: int, path: str) -> bool:
        if length < (wanted.min_length or 0):
            self.note(node, path, f"expected at least {wanted.min_length}, found {length}")
            return False
        if wanted.max_length is not None and length > wanted.max_length:
            self.note(node, path, f"expected at most {wanted.max_length}, found {length}")
            return False
        return True

    def _any(self, node: Node, path: str) -> object:
        """Whatever stands there, as plain Python values."""
        if isinstance(node, Table):
            return {key: self._any(entry, below(path, key)) for key, entry in node.entries.items()}
        if isinstance(node, Items):
            return [self._any(item, f"{path}[{index}]") for index, item in enumerate(node.items)]
        return self._scalar(node, path, plain, "a value")
