"""The input as it stands: values that know the file, line and column they came from."""

from collections.abc import Iterator
from decimal import Decimal

from msgspec import Struct

from muxer.config.tree import below

Plain = str | int | Decimal | bool | None


class Spot(Struct, frozen=True):
    """A place in one of the input's files, counted from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Scalar(Struct, frozen=True):
    """One value, as LiteLLM's own YAML reader would take it; a number keeps all its digits."""

    spot: Spot
    value: Plain


class Items(Struct, frozen=True):
    """A list."""

    spot: Spot
    items: tuple["Node", ...]


class Table(Struct, frozen=True):
    """A mapping; `spots` has the place of each key."""

    spot: Spot
    entries: dict[str, "Node"]
    spots: dict[str, Spot]


Node = Scalar | Items | Table


class View(Struct, frozen=True):
    """A node under the path by which the report names it; `spot` is its key's place, or its own in a list."""

    path: str
    spot: Spot
    node: Node

    @property
    def value(self) -> Plain:
        """The value of a scalar; None for anything else."""
        return self.node.value if isinstance(self.node, Scalar) else None

    @property
    def is_nothing(self) -> bool:
        """Whether it says nothing: `key:` with no value, or null."""
        return isinstance(self.node, Scalar) and self.node.value is None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it, be it a list or a mapping."""
        if isinstance(self.node, Scalar):
            return self.is_nothing
        return not (self.node.items if isinstance(self.node, Items) else self.node.entries)

    @property
    def is_scalar(self) -> bool:
        """Whether it is a single value."""
        return isinstance(self.node, Scalar)

    def entries(self) -> dict[str, "View"]:
        """The entries of a mapping by key; none for anything else."""
        if not isinstance(self.node, Table):
            return {}
        return {key: View(below(self.path, key), self.node.spots[key], node) for key, node in self.node.entries.items()}

    def get(self, key: str) -> "View | None":
        """The entry of that key, if this is a mapping that says something there."""
        if not isinstance(self.node, Table) or key not in self.node.entries:
            return None
        found = View(below(self.path, key), self.node.spots[key], self.node.entries[key])
        return None if found.is_nothing else found

    def items(self) -> Iterator["View"]:
        """The items of a list; none for anything else."""
        if isinstance(self.node, Items):
            for index, node in enumerate(self.node.items):
                yield View(f"{self.path}[{index}]", node.spot, node)
