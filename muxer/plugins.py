"""Finds the named plugins, calls their hooks once and returns typed kinds: the only caller of hooks."""

import importlib
import importlib.metadata
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from muxer import hookspecs
from muxer.errors import ConfigInvalid, Fault
from muxer.interfaces import Kind, Kinds

_HOOKS = (
    "register_providers",
    "register_stores",
    "register_sinks",
    "register_signals",
    "register_guards",
    "register_authenticators",
    "register_extensions",
)


def installed() -> dict[str, importlib.metadata.EntryPoint]:
    """Every installed plugin's entry point by name; nothing is imported."""
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=hookspecs.GROUP)}


def find_kinds(names: Sequence[str], folder: Path | None = None) -> Kinds:
    """Imports the named plugins and collects what they offer.

    A name is an entry point's, or a module's: `package.module`, or one that lies in `folder`. Raises ConfigInvalid with
    a fault for each plugin that is not installed, does not import, misspells a hook, or offers a name twice; its path
    is `plugins[i]`.
    """
    entries = installed()
    faults: list[Fault] = []
    origins: dict[str, str] = {}
    tables: dict[str, dict[str, Kind[Any]]] = {hook: {} for hook in _HOOKS}
    for index, name in enumerate(names):
        try:
            _collect(_import(name, entries, folder), name, tables, origins)
        except _Unusable as error:
            faults.append(Fault(str(error), path=f"plugins[{index}]", hint=error.hint))
    if faults:
        raise ConfigInvalid(faults)
    found = {hook.removeprefix("register_"): table for hook, table in tables.items()}
    return Kinds(**found, origins=origins, unnamed=frozenset(entries) - set(names))


class _Unusable(Exception):
    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def _import(name: str, entries: dict[str, importlib.metadata.EntryPoint], folder: Path | None) -> ModuleType:
    if name.startswith(".") or name.endswith(".py") or "/" in name:
        hint = "for `my_plugin.py` beside routing.yaml write my_plugin"
        raise _Unusable(f"plugin {name!r} is a path, not the name of a plugin or module", hint)
    lies_beside = folder is not None and _lies_in(folder, name)
    if name not in entries and "." not in name and not lies_beside:
        near = get_close_matches(name, entries, 1)
        install = f"install it: pip install modelmuxer-{name}"
        hint = f"did you mean {near[0]!r}? Or {install}" if near else install
        raise _Unusable(f"no plugin {name!r} is installed", hint)
    if lies_beside and str(folder) not in sys.path:
        sys.path.append(str(folder))  # at the end: what lies there replaces nothing that is installed
    try:
        plugin = entries[name].load() if name in entries else importlib.import_module(name)
    except (Exception, SystemExit) as error:  # foreign code runs on import and may raise anything
        hint = _how_to_install(name, entries) if isinstance(error, ModuleNotFoundError) else ""
        raise _Unusable(f"plugin {name!r} does not import: {type(error).__name__}: {error}", hint) from error
    if not isinstance(plugin, ModuleType):
        raise _Unusable(f"plugin {name!r} is not a module; its entry point must name one")
    if name not in entries and folder is not None and lies_beside and not _is_of(plugin, folder):
        raise _Unusable(f"plugin {name!r}: an installed module has the same name", "give the file another name")
    return plugin


def _is_of(plugin: ModuleType, folder: Path) -> bool:
    return plugin.__file__ is not None and Path(plugin.__file__).resolve().is_relative_to(folder.resolve())


def _how_to_install(name: str, entries: dict[str, importlib.metadata.EntryPoint]) -> str:
    """What brings the packages a plugin needs: the extra of its own name, where its distribution has one."""
    distribution = entries[name].dist if name in entries else None
    if distribution is None or name not in (distribution.metadata.get_all("Provides-Extra") or ()):
        return ""
    return f"install what it needs: pip install '{distribution.name}[{name}]'"


def _lies_in(folder: Path, name: str) -> bool:
    path = folder.joinpath(*name.split("."))
    return path.with_name(f"{path.name}.py").is_file() or (path / "__init__.py").is_file()


def _collect(plugin: ModuleType, name: str, tables: dict[str, dict[str, Kind[Any]]], origins: dict[str, str]) -> None:
    """Calls the hooks of one plugin; each hook's kinds go into its table."""
    # A manager of its own for each plugin: what is wrong is then this plugin's, and results need no sorting out.
    manager = pluggy.PluginManager(hookspecs.GROUP)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(plugin, name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise _Unusable(f"plugin {name!r} does not fit the hooks: {error}") from error
    for hook, table in tables.items():
        for kind in (kind for kinds in _call(manager, hook, name) for kind in _checked(kinds, name, hook)):
            what = f"{hook.removeprefix('register_').removesuffix('s')} {kind.name}"
            if kind.name in table:
                raise _Unusable(f"plugins {origins[what]!r} and {name!r} both offer the {what!r}")
            table[kind.name] = kind
            origins[what] = name


def _call(manager: pluggy.PluginManager, hook: str, name: str) -> list[object]:
    try:
        results: list[object] = getattr(manager.hook, hook)()
    except Exception as error:  # foreign code
        raise _Unusable(f"plugin {name!r}: {hook} raised {type(error).__name__}: {error}") from error
    return results


def _checked(kinds: object, name: str, hook: str) -> list[Kind[Any]]:
    if isinstance(kinds, list) and all(isinstance(kind, Kind) for kind in kinds):
        return kinds
    raise _Unusable(f"plugin {name!r}: {hook} must return a list of Kind, not {type(kinds).__name__}")
