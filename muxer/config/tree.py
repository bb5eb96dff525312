"""The located tree: what a file says, and where it says it."""

from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct

from muxer.config.settings import Place

_LONGEST_SHOWN = 60

Sort = Literal["text", "whole", "number", "boolean", "nothing", "filled", "broken"]
"""What a scalar looks like. `filled` had references: its text is read as whatever is wanted. `broken` was told."""


class Scalar(Struct, frozen=True, kw_only=True):
    """One value. `text` has references filled in; `written` has not, so only that may be shown.

    `inside` is where the text begins when it stands in the file character for character. `variable` names the
    environment variable that gave the value when the file did not.
    """

    place: Place | None
    sort: Sort
    text: str
    written: str
    missing: tuple[str, ...] = ()
    inside: Place | None = None
    variable: str = ""


class Items(Struct, frozen=True):
    """A list."""

    place: Place | None
    items: tuple["Node", ...]


class Table(Struct, frozen=True):
    """A mapping; `keys` has the place of each key."""

    place: Place | None
    entries: dict[str, "Node"]
    keys: dict[str, Place]


Node = Scalar | Items | Table


def shown(text: str) -> str:
    """A text as messages quote it."""
    return repr(text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "...")


def has_references(node: Node) -> bool:
    """Whether any value in it came from the environment."""
    if isinstance(node, Scalar):
        return node.sort == "filled"
    return any(map(has_references, node.items if isinstance(node, Items) else node.entries.values()))


def find(node: Node, steps: Sequence[str | int]) -> Node:
    """The node at the end of the steps (keys and indices), or the last one on the way that exists."""
    for step in steps:
        next_node: Node | None = None
        if isinstance(node, Table) and isinstance(step, str):
            next_node = node.entries.get(step)
        elif isinstance(node, Items) and isinstance(step, int) and step < len(node.items):
            next_node = node.items[step]
        if next_node is None:
            return node
        node = next_node
    return node


def places(node: Node, path: str = "") -> Iterator[tuple[str, Place]]:
    """Every path of the file and where it begins."""
    if node.place is not None:
        yield path, node.place
    if isinstance(node, Items):
        for index, item in enumerate(node.items):
            yield from places(item, f"{path}[{index}]")
    elif isinstance(node, Table):
        for key, entry in node.entries.items():
            yield from places(entry, below(path, key))


def below(path: str, key: str) -> str:
    """The path of a key of the mapping at `path`."""
    return f"{path}.{key}" if path else key
