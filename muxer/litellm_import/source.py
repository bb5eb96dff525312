"""Reads YAML as LiteLLM does (aliases, merge keys, yes and no), within limits and with the place of every value."""

import re
from collections.abc import Callable, Iterator
from decimal import Decimal

import yaml
from msgspec import Struct

from muxer.config.source import LARGEST_BYTES
from muxer.config.tree import below
from muxer.litellm_import.report import Report
from muxer.litellm_import.tree import Items, Node, Plain, Scalar, Spot, Table

MOST_VALUES = 100_000
"""Values in one file with its aliases written out: what a bomb of aliases runs into."""

_DEEPEST = 32
_LONGEST_NUMBER = 40
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NOTHING = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"})
_FALSE = frozenset({"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"})
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_NUMBER = re.compile(r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+][0-9]{1,3})?")
_STANDARD = "tag:yaml.org,2002:"
_PLAIN_TAGS = frozenset(f"{_STANDARD}{name}" for name in ("bool", "int", "float", "null", "map", "seq"))


class _Unreadable(Exception):
    """The file cannot be read on from here; what is wrong has been noted."""


class _Anchored(Struct, frozen=True):
    """A value that aliases may repeat, and how many values it holds."""

    node: Node
    size: int


Fetch = Callable[[str], bytes]
"""The bytes of a file by its path from the folder of the first. Raises OSError and nothing else."""


def read(data: bytes, file: str, report: Report) -> Table | None:
    """The mapping a file holds, or None with what is wrong in the report. Never raises."""
    start = Spot(file, 1, 1)
    if len(data) > LARGEST_BYTES:
        report.add("", start, "wrong", f"larger than {LARGEST_BYTES // 1_000_000} MB")
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        spot = Spot(file, data.count(b"\n", 0, error.start) + 1, 1)
        report.add("", spot, "wrong", "not UTF-8; save the file as UTF-8")
        return None
    try:
        root = _Reader(text, file, report).document()
    except _Unreadable:
        return None
    if not isinstance(root, Table):
        report.add("", root.spot if root else start, "wrong", "expected a mapping with model_list and other sections")
        return None
    return root


class _Reader:
    """Builds the tree from the parser's events, so that depth, size and aliases are bounded as they come."""

    def __init__(self, text: str, file: str, report: Report) -> None:
        self._file = file
        self._report = report
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)
        self._anchors: dict[str, _Anchored | None] = {}
        self._count = 0

    def document(self) -> Node | None:
        """The first document; None when there is none."""
        try:
            root: Node | None = None
            for event in self._events:
                if isinstance(event, yaml.DocumentStartEvent):
                    if root is not None:
                        self._report.add("", self._spot(event), "wrong", "a second document; only the first is read")
                        break
                    root = self._node(next(self._events), "", 0)
            return root
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            spot = Spot(self._file, mark.line + 1, mark.column + 1) if mark else Spot(self._file, 1, 1)
            words = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read")
            self._report.add("", spot, "wrong", f"not YAML: {words}")
        raise _Unreadable

    def _node(self, event: yaml.Event, path: str, depth: int) -> Node:
        spot, before = self._spot(event), self._count
        self._add(1, spot)
        if depth > _DEEPEST:
            self._give_up(spot, f"nested more than {_DEEPEST} deep")
        if isinstance(event, yaml.AliasEvent):
            return self._repeated(event, spot, path)
        anchor = event.anchor if isinstance(event, yaml.NodeEvent) else None
        if anchor:
            self._anchors[anchor] = None
        if isinstance(event, yaml.SequenceStartEvent):
            node: Node = self._items(spot, path, depth)
        elif isinstance(event, yaml.MappingStartEvent):
            node = self._table(spot, path, depth)
        else:
            assert isinstance(event, yaml.ScalarEvent)
            node = Scalar(spot, _resolved(event))
        tag = getattr(event, "tag", None)
        if tag and tag != "!" and tag not in _PLAIN_TAGS and tag != f"{_STANDARD}str":
            self._report.add(path, spot, "wrong", "a YAML tag, which LiteLLM's reader refuses")
            node = Scalar(spot, None)
        if anchor:
            self._anchors[anchor] = _Anchored(node, self._count - before)
        return node

    def _repeated(self, event: yaml.AliasEvent, spot: Spot, path: str) -> Node:
        anchored = self._anchors.get(event.anchor or "")
        if anchored is None:
            self._report.add(path, spot, "wrong", "an alias to nothing before it")
            return Scalar(spot, None)
        self._add(anchored.size, spot)
        return anchored.node

    def _items(self, spot: Spot, path: str, depth: int) -> Items:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, f"{path}[{len(items)}]", depth + 1))
        return Items(spot, tuple(items))

    def _table(self, spot: Spot, path: str, depth: int) -> Table:
        table = Table(spot, {}, {})
        merged: list[Node] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            place = self._spot(event)
            key = self._key(event, path, depth)
            node = self._node(next(self._events), below(path, key or "?"), depth + 1)
            if key is None:
                self._report.add(below(path, "?"), place, "wrong", "a key that is no text")
            elif key == "<<" and getattr(event, "implicit", (True,))[0]:
                merged += node.items if isinstance(node, Items) else [node]
            else:
                if key in table.entries:
                    self._report.add(below(path, key), place, "wrong", "written twice; the last one counts")
                table.entries[key], table.spots[key] = node, place
        for other in merged:
            if not isinstance(other, Table):
                self._report.add(below(path, "<<"), other.spot, "wrong", "only a mapping can be merged into another")
                continue
            for key, node in other.entries.items():
                if key not in table.entries:
                    table.entries[key], table.spots[key] = node, other.spots[key]
        return table

    def _key(self, event: yaml.Event, path: str, depth: int) -> str | None:
        if isinstance(event, yaml.ScalarEvent):
            self._add(1, self._spot(event))
            return event.value
        self._node(event, path, depth + 1)
        return None

    def _add(self, count: int, spot: Spot) -> None:
        self._count += count
        if self._count > MOST_VALUES:
            self._give_up(spot, f"more than {MOST_VALUES:,} values, aliases written out")

    def _give_up(self, spot: Spot, words: str) -> None:
        self._report.add("", spot, "wrong", words)
        raise _Unreadable

    def _spot(self, event: yaml.Event) -> Spot:
        mark = event.start_mark
        return Spot(self._file, mark.line + 1, mark.column + 1) if mark else Spot(self._file, 1, 1)


def _resolved(event: yaml.ScalarEvent) -> Plain:
    """The value of a scalar. Octal, base 60 and dates stay the text they are written as."""
    text: str = event.value
    is_plain = event.implicit[0] or event.tag in _PLAIN_TAGS
    if not is_plain or len(text) > _LONGEST_NUMBER:
        return text
    if text in _NOTHING:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _WHOLE.fullmatch(text):
        return int(text.replace("_", ""))
    return Decimal(text.replace("_", "")) if _NUMBER.fullmatch(text) else text
