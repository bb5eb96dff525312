"""A file and an environment to a checked configuration: every fault at its place, all of them at once."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from muxer.config import advice, checks
from muxer.config.components import component, components, default_store, in_demo
from muxer.config.contents import Contents, read_contents
from muxer.config.decode import Decoder
from muxer.config.dominance import lint_dominated
from muxer.config.environment import sha256_of, with_dotenv
from muxer.config.faults import Faults
from muxer.config.lint import lint_routes
from muxer.config.notes import Notes, Steps
from muxer.config.seed import is_debug, with_variables
from muxer.config.settings import (
    REQUIRED,
    Component,
    Configuration,
    General,
    KeySettings,
    LimitSettings,
    Listed,
    ListedGuard,
    ListedSink,
    ModelSettings,
    RouteSettings,
    Settings,
)
from muxer.config.source import locate
from muxer.config.tree import Table, find, has_references, places
from muxer.errors import ConfigInvalid, Fault
from muxer.expressions import Expression
from muxer.interfaces import Kinds
from muxer.prices import PriceTable

FindKinds = Callable[[Sequence[str], Path], Kinds]
"""Kinds by the names of plugins; some may lie as modules in that folder."""

_LISTS: Mapping[str, type[Listed]] = {"authenticators": Listed, "guards": ListedGuard, "sinks": ListedSink}
_SECTIONS = tuple(name for name in Settings.__struct_fields__ if name not in General.__struct_fields__)


class _Draft(Struct, frozen=True, kw_only=True):
    """The file decoded as far as it can be; None stands for what could not."""

    general: General
    kinds: Kinds | None
    store: Component | None
    providers: dict[str, Component | None]
    models: dict[str, ModelSettings | None]
    routes: list[RouteSettings | None]
    limits: list[LimitSettings | None]
    keys: list[KeySettings | None]
    lists: dict[str, list[Component | None]]


def load(
    path: Path,
    environ: Mapping[str, str],
    find_kinds: FindKinds,
    *,
    table: PriceTable | None,
    demo: bool = False,
    now: Callable[[], float] = time.time,
    contents: Contents | None = None,
    folder: Path | None = None,
) -> Configuration:
    """Reads and checks a file. Raises ConfigInvalid with every fault found, and nothing else.

    `find_kinds` turns plugin names into kinds. Without a price table no price is checked. `demo` has every provider
    played by the offline one. `contents` are what was read of the file already; `folder` is where its relative paths
    and its `.env` are, if not beside it.
    """
    faults, warnings = Faults(str(path)), Faults(str(path))
    folder = folder or path.parent
    contents = contents or read_contents(path, folder)
    variables = with_dotenv(environ, contents.dotenv, folder / ".env")
    root = _located(contents.file, variables, faults)
    file_places = dict(places(root))
    root = with_variables(root, variables)
    debug = is_debug(variables, faults)
    draft = _draft(root, faults, lambda names: find_kinds(names, folder.absolute()), demo=demo)
    notes = Notes(root, faults)
    _check(notes, draft, table)
    rules = _rules(notes, draft)
    if draft.kinds is None or len(faults):
        raise ConfigInvalid(faults.in_order())
    settings = _settings(draft)
    today = datetime.fromtimestamp(now(), UTC).date().isoformat()
    settings = _advised(Notes(root, warnings), settings, table, today)
    if demo:
        settings = structs.replace(settings, providers=in_demo(settings.providers, draft.kinds))
    return Configuration(
        settings=settings,
        kinds=draft.kinds,
        rules=tuple(rules),
        file=str(path),
        folder=folder,
        digest=_digest(settings),
        places=file_places,
        warnings=warnings.in_order(),
        demo=demo,
        debug=debug,
    )


def has_key(configuration: Configuration) -> bool:
    """Whether any provider can be asked; when none can, a start without --demo means a demonstration."""
    return any(not provider.unavailable for provider in configuration.settings.providers.values())


def _located(data: bytes, variables: Mapping[str, str], faults: Faults) -> Table:
    root = locate(data, variables, faults)
    if isinstance(root, Table):
        return root
    if not len(faults):
        faults.add(root.place, "", "expected a mapping", "begin with `version: 1`")
    raise ConfigInvalid(faults.in_order())


def _draft(root: Table, faults: Faults, find_kinds: Callable[[Sequence[str]], Kinds], *, demo: bool) -> _Draft:
    """Decodes every section by itself, so that a fault in one hides none in another."""
    decoder = Decoder(faults)
    entries = root.entries
    general = decoder.struct(root, General, "", besides=_SECTIONS) or General()
    for section in REQUIRED:
        if section not in entries:
            decoder.note(root, "", f"missing key {section!r}")
    kinds = _kinds(root, faults, find_kinds, demo=demo)
    providers = decoder.table(entries.get("providers"), "providers")
    models = decoder.table(entries.get("models"), "models")
    stores = kinds.stores if kinds else None
    return _Draft(
        general=general,
        kinds=kinds,
        store=component(decoder, entries.get("store") or default_store(root), "store", "store", stores),
        providers={
            name: component(decoder, node, name, f"providers.{name}", kinds.providers if kinds else None)
            for name, node in providers.items()
        },
        models={name: decoder.struct(node, ModelSettings, f"models.{name}") for name, node in models.items()},
        routes=decoder.structs(entries.get("routes"), RouteSettings, "routes"),
        limits=decoder.structs(entries.get("limits"), LimitSettings, "limits"),
        keys=decoder.structs(entries.get("keys"), KeySettings, "keys"),
        lists={
            section: components(decoder, entries.get(section), section, shape, getattr(kinds, section, None))
            for section, shape in _LISTS.items()
        },
    )


def _kinds(root: Table, faults: Faults, find_kinds: Callable[[Sequence[str]], Kinds], *, demo: bool) -> Kinds | None:
    """What the named plugins offer, or None: then nothing can be said about kinds."""
    # A second decoder: what is wrong with the list itself was noted with the other sections.
    decoder = Decoder(Faults(faults.file))
    named = [decoder.text(node, "") for node in decoder.items(root.entries.get("plugins"), "")]
    names = list(dict.fromkeys(name for name in named if name is not None))
    if None in named or "plugins" not in root.entries:
        return None
    try:
        return find_kinds([*names, "demo"] if demo and "demo" not in names else names)
    except ConfigInvalid as error:
        in_file: dict[str, Steps] = {
            f"plugins[{position}]": ("plugins", named.index(name)) for position, name in enumerate(names)
        }
        for fault in error.faults:
            _add_placed(Notes(root, faults), fault, in_file.get(fault.path))
        return None


def _add_placed(notes: Notes, fault: Fault, steps: Steps | None) -> None:
    """Adds what was found about a plugin at its place in the file, without a name that the environment gave."""
    if steps is None:
        notes.faults.extend([fault])
    elif has_references(find(notes.root, steps)):
        notes.add(steps, f"plugin {notes.named(steps)} cannot be loaded", "see what the variable says")
    else:
        notes.add(steps, fault.message, fault.hint)


def _check(notes: Notes, draft: _Draft, table: PriceTable | None) -> None:
    """Notes what does not fit together."""
    checks.check_general(notes, draft.general)
    checks.check_models(notes, draft.models, draft.providers)
    checks.check_routes(notes, draft.routes, draft.models)
    checks.check_guards(notes, draft.routes, [guard.name for guard in draft.lists["guards"] if guard])
    checks.check_limits(notes, draft.limits, draft.models)
    checks.check_keys(notes, draft.keys)
    of_keys = [limit for key in draft.keys if key for limit in key.limits]
    if table is not None and any(limit and limit.is_hard_budget for limit in (*draft.limits, *of_keys)):
        checks.check_prices(notes, draft.models, draft.providers, table)


def _rules(notes: Notes, draft: _Draft) -> list[Expression | None]:
    if draft.kinds is None:
        return []
    types = checks.signal_types(notes, draft.kinds, draft.general.plugins)
    return checks.compiled(notes, draft.routes, types)


def _settings(draft: _Draft) -> Settings:
    """The settings of a draft without faults: nothing in it is None then."""
    assert draft.store is not None
    return Settings(
        **structs.asdict(draft.general),
        store=draft.store,
        providers={name: provider for name, provider in draft.providers.items() if provider is not None},
        models={name: model for name, model in draft.models.items() if model is not None},
        routes=tuple(route for route in draft.routes if route is not None),
        limits=tuple(limit for limit in draft.limits if limit is not None),
        keys=tuple(_without_secret(key) for key in draft.keys if key is not None),
        authenticators=tuple(one for one in draft.lists["authenticators"] if one is not None),
        guards=tuple(one for one in draft.lists["guards"] if one is not None),
        sinks=tuple(one for one in draft.lists["sinks"] if one is not None),
    )


def _without_secret(key: KeySettings) -> KeySettings:
    """The same key known by its digest only: no log or debugger can then show the secret."""
    digest = key.digest if key.secret is None else f"sha256:{sha256_of(key.secret.strip())}"
    return structs.replace(key, secret=None, digest=digest, user=key.user or key.name)


def _advised(notes: Notes, settings: Settings, table: PriceTable | None, today: str) -> Settings:
    """Notes what works and yet should change, and leaves out a default model that cannot be asked."""
    advice.advise_references(notes)
    advice.advise_escrow(notes, settings)
    lint_routes(notes, settings.routes, settings.models, settings.providers, table)
    lint_dominated(notes, settings, table)
    old = advice.retired(notes, settings.models, settings.providers, table, today) if table else set()
    model = advice.usable_default(notes, settings.defaults.model, settings.models, old)
    return structs.replace(settings, defaults=structs.replace(settings.defaults, model=model))


def _digest(settings: Settings) -> str:
    """Twelve hex digits that change when any setting does."""
    plain = msgspec.to_builtins(settings, str_keys=True, enc_hook=repr, order="deterministic")
    # Not msgspec's own JSON: a variable may hold bytes that are no UTF-8.
    return sha256_of(json.dumps(plain, sort_keys=True))[:12]
