"""YAML text to a tree that knows its places: a strict subset of YAML 1.1 whose scalars mean what they look like."""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NoReturn

import yaml

from muxer.config.environment import SecretFile, fill
from muxer.config.faults import Faults
from muxer.config.hints import yaml_hint
from muxer.config.settings import Place
from muxer.config.tree import Items, Node, Scalar, Sort, Table, below, shown
from muxer.errors import ConfigInvalid

LARGEST_BYTES = 1_000_000
_DEEPEST = 32
_LONGEST_SHOWN = 60
_BEGIN = "begin with `version: 1`"

_NO_FILES: Mapping[str, SecretFile] = MappingProxyType({})
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NOT_TEXT = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*)")
_NUMBER = re.compile(r"[-+]?((0|[1-9][0-9]*(_[0-9]+)*)?\.[0-9]+|(0|[1-9][0-9]*)\.?)([eE][-+]?[0-9]+)?")
_NOTHING = frozenset({"", "~", "null", "Null", "NULL"})
_YES_NO = re.compile(r"y|Y|n|N|[Yy]es|YES|[Nn]o|NO|[Oo]n|ON|[Oo]ff|OFF|True|TRUE|False|FALSE")
_TRAPS = (
    (_YES_NO, "a boolean to some readers of YAML and text to others", "true or false for a boolean"),
    (re.compile(r"[-+]?0[0-9_]+"), "octal to some readers of YAML", "no leading zero for a number"),
    (re.compile(r"[-+]?0[xob][0-9a-fA-F_]+"), "hexadecimal, octal or binary", "the number in decimal"),
    (
        re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"),
        "a number in base 60 to some readers of YAML",
        "",
    ),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?"), "a date to some readers of YAML", ""),
    (re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"), "not a finite number", ""),
)


def locate(
    data: bytes, variables: Mapping[str, str], faults: Faults, files: Mapping[str, SecretFile] = _NO_FILES
) -> Node:
    """Reads a file's bytes; `files` are those that its references name. Notes what is wrong with single values; raises
    ConfigInvalid when it is no YAML at all."""
    text = _decoded(data, faults)
    if len(faults):
        raise ConfigInvalid(faults.in_order())
    return _Reader(text, variables, faults, files).document()


def _decoded(data: bytes, faults: Faults) -> str:
    """The bytes as text, or a fault for what no later step should meet."""
    if len(data) > LARGEST_BYTES:
        faults.add(Place(1, 1), "", f"larger than {LARGEST_BYTES // 1_000_000} MB")
        return ""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        faults.add(_place_after(before), "", message, "save the file as UTF-8")
        return ""
    if (strange := _NOT_TEXT.search(text)) is not None:
        message = f"character U+{ord(strange[0]):04X} is not allowed"
        faults.add(_place_after(text[: strange.start()]), "", message, "remove it, or write an escape in quotes")
    for number, line in enumerate(text.split("\n") if "\t" in text else (), 1):
        if "\t" in line:
            faults.add(Place(number, line.index("\t") + 1), "", "a tab", "use spaces")
    if not text.strip():
        faults.add(Place(1, 1), "", "the file is empty", _BEGIN)
    return text


def _place_after(before: str) -> Place:
    return Place(before.count("\n") + 1, len(before) - before.rfind("\n"))


def _place(event: yaml.Event) -> Place:
    mark = event.start_mark
    return Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)


class _Reader:
    """Builds the tree from the parser's events: only these say where an anchor or an alias is."""

    def __init__(
        self, text: str, variables: Mapping[str, str], faults: Faults, files: Mapping[str, SecretFile]
    ) -> None:
        self._text = text
        self._variables = variables
        self._files = files
        self._faults = faults
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)

    def document(self) -> Node:
        """The one document of the file."""
        try:
            return self._document()
        except yaml.YAMLError as error:
            self._add_complaint(error)
        raise ConfigInvalid(self._faults.in_order())

    def _document(self) -> Node:
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    self._fail(event, "", "a second document", "keep one document in the file")
                root = self._node(next(self._events), "", 0)
        if root is None:
            self._faults.add(Place(1, 1), "", "the file is empty", _BEGIN)
            raise ConfigInvalid(self._faults.in_order())
        return root

    def _node(self, event: yaml.Event, path: str, depth: int) -> Node:
        if depth > _DEEPEST:
            self._fail(event, path[:_LONGEST_SHOWN], f"nested more than {_DEEPEST} deep")
        place = _place(event)
        usable = self._check_properties(event, path)
        if isinstance(event, yaml.SequenceStartEvent):
            node: Node = self._items(place, path, depth)
        elif isinstance(event, yaml.MappingStartEvent):
            node = self._table(place, path, depth)
        elif isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, path)
        else:
            node = _broken(place)
        return node if usable else _broken(place)

    def _check_properties(self, event: yaml.Event, path: str) -> bool:
        """Notes an alias, an anchor or a tag."""
        if getattr(event, "anchor", None) is not None:
            what = "an alias" if isinstance(event, yaml.AliasEvent) else "an anchor"
            self._faults.add(_place(event), path, f"{what} is not allowed", "write the value out")
            return False
        if getattr(event, "tag", None) is not None:
            self._faults.add(_place(event), path, "a tag is not allowed", "write the plain value")
            return False
        return True

    def _items(self, place: Place, path: str, depth: int) -> Items:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, f"{path}[{len(items)}]", depth + 1))
        return Items(place, tuple(items))

    def _table(self, place: Place, path: str, depth: int) -> Table:
        table = Table(place, {}, {})
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, table, path)
            value = self._node(next(self._events), below(path, key) if key else path, depth + 1)
            if key and key not in table.keys:
                table.entries[key] = value
                table.keys[key] = _place(event)
        return table

    def _key(self, event: yaml.Event, table: Table, path: str) -> str:
        """The key's text, or nothing (and a fault) when it cannot be one."""
        place = _place(event)
        if not isinstance(event, yaml.ScalarEvent):
            self._fail(event, path, "a key must be plain text")
        if not self._check_properties(event, path):
            return ""
        key = event.value
        is_plain = not event.style
        if is_plain and key == "<<":
            self._faults.add(place, path, "a merge key is not allowed", "write the values out")
            return ""
        if is_plain and (trap := _trap(key)):
            self._faults.add(place, path, f"key {key} is {trap[0]}", _remedy(key, ""))
            return ""
        if not key or (is_plain and _sort(key) != "text"):
            hint = _remedy(key, "") if key else ""
            self._faults.add(place, path, "a key must be text", hint)
            return ""
        if "${" in key:
            self._faults.add(place, path, "a key cannot have a reference")
            return ""
        if key in table.keys:
            self._faults.add(place, path, f"duplicate key {shown(key)}", f"first in line {table.keys[key].line}")
        return key

    def _scalar(self, event: yaml.ScalarEvent, path: str) -> Scalar:
        place = _place(event)
        written = event.value
        is_plain = not event.style
        filled = fill(written, self._variables, self._files)
        if filled.malformed:
            message = f"{shown(filled.malformed)} is not a reference"
            hint = "write ${NAME}, ${NAME:-default} or ${file:PATH}, and $${ for ${ itself"
            self._faults.add(place, path, message, hint)
            return _broken(place)
        if filled.unusable:
            self._faults.add(place, path, f"the file of the secret cannot be used: {filled.unusable}")
            return _broken(place)
        if filled.has_references:
            return Scalar(place=place, sort="filled", text=filled.text, written=written, missing=filled.missing)
        if is_plain and (trap := _trap(written)):
            self._faults.add(place, path, f"{shown(written)[1:-1]} is {trap[0]}", _remedy(written, trap[1]))
            return _broken(place)
        sort = _sort(written) if is_plain else "text"
        inside = self._inside(event, filled.text)
        return Scalar(place=place, sort=sort, text=filled.text, written=written, inside=inside)

    def _inside(self, event: yaml.ScalarEvent, text: str) -> Place | None:
        """Where the text begins, if it stands in the file as it is, on one line."""
        quotes = 1 if event.style else 0
        if "\n" in text or not (event.start_mark and event.end_mark):
            return None
        if self._text[event.start_mark.index + quotes : event.end_mark.index - quotes] != text:
            return None
        return Place(event.start_mark.line + 1, event.start_mark.column + 1 + quotes)

    def _fail(self, event: yaml.Event, path: str, message: str, hint: str = "") -> NoReturn:
        self._faults.add(_place(event), path, message, hint)
        raise ConfigInvalid(self._faults.in_order())

    def _add_complaint(self, error: yaml.YAMLError) -> None:
        """Notes the parser's complaint, with the remedy for the commonest cause."""
        mark = getattr(error, "problem_mark", None)
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        problem = str(getattr(error, "problem", None) or "not YAML")
        line = self._text.split("\n")[place.line - 1] if place.line <= self._text.count("\n") + 1 else ""
        self._faults.add(place, "", problem, yaml_hint(problem, line))


def _broken(place: Place) -> Scalar:
    return Scalar(place=place, sort="broken", text="", written="")


def _sort(plain: str) -> Sort:
    if plain in _NOTHING:
        return "nothing"
    if plain in ("true", "false"):
        return "boolean"
    if _WHOLE.fullmatch(plain):
        return "whole"
    return "number" if _NUMBER.fullmatch(plain) else "text"


def _trap(plain: str) -> tuple[str, str] | None:
    """Why readers of YAML differ about a plain scalar, and what to write if it is not meant as text."""
    # No trap is longer, and the patterns need not look at a megabyte.
    if len(plain) > _LONGEST_SHOWN:
        return None
    return next(((why, other) for pattern, why, other in _TRAPS if pattern.fullmatch(plain)), None)


def _remedy(plain: str, other: str) -> str:
    quoted = f'write "{plain}" for the text'
    return f"{quoted}, {other}" if other else quoted
