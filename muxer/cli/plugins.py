"""`muxer plugins`: what is installed, what routing.yaml loads, and what each of those offers."""

import argparse
import json
from collections.abc import Iterator, Sequence
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from msgspec import NODEFAULT, Struct, structs, to_builtins

from muxer.cli.configuration import add_config, read
from muxer.cli.output import NOTHING, Cell, Column, good, print_error, print_json, print_note, print_table
from muxer.errors import ConfigInvalid
from muxer.interfaces import Kind, Kinds
from muxer.plugins import installed

_COLUMNS = (Column("plugin"), Column("loaded"), Column("offers", wraps=True), Column("package", is_spare=True))
_SETTINGS = (Column("kind"), Column("setting"), Column("takes", wraps=True), Column("default", wraps=True))
_TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false", dict: "mapping", tuple: "list"}


class _Offer(Struct, frozen=True):
    """A kind and what it builds: provider, store, guard and so on."""

    what: str
    kind: Kind[Any]

    def __str__(self) -> str:
        measures = f": {', '.join(self.kind.signals)}" if self.kind.signals else ""
        return f"{self.what} {self.kind.name}{measures}"


class _Plugin(Struct, frozen=True):
    """A plugin by its name in YAML; the package it came in, if it was installed; nothing is known of its offers until
    it is loaded."""

    name: str
    package: str
    is_loaded: bool
    offers: tuple[_Offer, ...]


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the words of the command."""
    add_config(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="list the settings of each kind as well")
    parser.add_argument("--json", action="store_true", help="print a list of the plugins as JSON, with all settings")


def run(arguments: argparse.Namespace) -> int:
    """Prints the plugins; 2 when the file is not valid, with what is installed all the same."""
    code, loaded, kinds = 0, frozenset[str](), Kinds()
    try:
        configuration = read(arguments.config).configuration
        loaded, kinds = frozenset(configuration.settings.plugins), configuration.kinds
    except ConfigInvalid as error:
        # What is installed helps to mend the file.
        print_error(error)
        code = 2
    plugins = list(_plugins(loaded, kinds))
    if arguments.json:
        print_json([_as_json(plugin) for plugin in plugins])
        return code
    print_table(_COLUMNS, [_row(plugin) for plugin in plugins])
    if arguments.verbose:
        print()
        print_table(_SETTINGS, [row for plugin in plugins for offer in plugin.offers for row in _setting_rows(offer)])
    elif not code:
        print_note("name a plugin under `plugins:` in routing.yaml to load it; -v lists the settings of each kind")
    return code


def _plugins(loaded: frozenset[str], kinds: Kinds) -> Iterator[_Plugin]:
    """Every plugin that is installed, and every module the file names besides; none is imported here."""
    entries, offers = installed(), list(_offers(kinds))
    for name in sorted({*entries, *loaded}):
        distribution = entries[name].dist if name in entries else None
        yield _Plugin(
            name=name,
            package=f"{distribution.name} {distribution.version}" if distribution else "",
            is_loaded=name in loaded,
            offers=tuple(offer for offer in offers if kinds.origins[f"{offer.what} {offer.kind.name}"] == name),
        )


def _offers(kinds: Kinds) -> Iterator[_Offer]:
    for sort in (field for field in Kinds.__struct_fields__ if field not in ("origins", "unnamed")):
        yield from (_Offer(sort.removesuffix("s"), kind) for kind in getattr(kinds, sort).values())


def _as_json(plugin: _Plugin) -> dict[str, object]:
    return {
        "name": plugin.name,
        "package": plugin.package or None,
        "loaded": plugin.is_loaded,
        "offers": [
            {
                "what": offer.what,
                "kind": offer.kind.name,
                "signals": {name: _takes(type) for name, type in offer.kind.signals.items()},
                "settings": [_setting(field) for field in structs.fields(offer.kind.settings)],
            }
            for offer in plugin.offers
        ],
    }


def _setting(field: structs.FieldInfo) -> dict[str, object]:
    return {
        "name": field.encode_name,
        "takes": _takes(field.type),
        "required": field.required,
        "default": to_builtins(_default(field), enc_hook=str),
    }


def _default(field: structs.FieldInfo) -> object:
    if field.default_factory is not NODEFAULT:
        made: object = field.default_factory()
        return made
    return None if field.default is NODEFAULT else field.default


def _takes(type: Any) -> str:
    """A type in the words of YAML."""
    origin, members = get_origin(type), get_args(type)
    if origin is Annotated:
        return _takes(members[0])
    if origin is Literal:
        return " or ".join(map(str, members))
    if NoneType in members:
        return " or ".join(_takes(member) for member in members if member is not NoneType)
    return _TYPES.get(origin or type, "text")


def _row(plugin: _Plugin) -> list[Cell]:
    return [
        plugin.name,
        good("yes") if plugin.is_loaded else "no",
        "; ".join(map(str, plugin.offers)) or NOTHING,
        plugin.package or NOTHING,
    ]


def _setting_rows(offer: _Offer) -> Iterator[Sequence[Cell]]:
    kind = f"{offer.what} {offer.kind.name}"
    fields = structs.fields(offer.kind.settings)
    if not fields:
        yield [kind, "nothing to set", "", ""]
    for index, field in enumerate(fields):
        yield ["" if index else kind, field.encode_name, _takes(field.type), _default_words(field)]


def _default_words(field: structs.FieldInfo) -> str:
    if field.required:
        return "required"
    default = to_builtins(_default(field), enc_hook=str)
    if isinstance(default, list | tuple):
        return ", ".join(map(str, default)) or NOTHING
    return NOTHING if default in (None, {}) else default if isinstance(default, str) else json.dumps(default)
