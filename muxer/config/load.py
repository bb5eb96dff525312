"""A file and an environment to a checked configuration: every fault at its place, all of them at once."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from muxer.config import advice, checks
from muxer.config.components import Offer, component, components, default_store, in_demo
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
from muxer.config.tree import Items, Table, find, has_references, places
from muxer.errors import ConfigInvalid, Fault
from muxer.expressions import Expression
from muxer.interfaces import Kinds
from muxer.prices import PriceTable
from muxer.secret import Secret

FindKinds = Callable[[Sequence[str], Path], Kinds]
"""Kinds by the names of plugins; some may lie as modules in that folder."""

_LISTS: Mapping[str, type[Listed]] = {"authenticators": Listed, "guards": ListedGuard, "sinks": ListedSink}
_SECTIONS = tuple(name for name in Settings.__struct_fields__ if name not in General.__struct_fields__)


class _Draft(Struct, frozen=True, kw_only=True):
    """The file decoded as far as it can be; None stands for what could not. The kinds are not all of them, `is_whole`,
    where a plugin could not be loaded."""

    general: General
    kinds: Kinds
    is_whole: bool
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
    """Reads and checks a file. Raises ConfigInvalid with every fault found and what else should change, nothing else.

    `find_kinds` turns plugin names into kinds. Without a price table no price is checked. `demo` has every provider
    played by the offline one. `contents` are what was read of the file already; `folder` is where its relative paths
    and its `.env` are, if not beside it.
    """
    faults, warnings = Faults(str(path)), Faults(str(path))
    folder = folder or path.parent
    contents = contents or read_contents(path, folder)
    variables = with_dotenv(environ, contents.dotenv, folder / ".env")
    root = _located(contents, variables, faults)
    file_places = dict(places(root))
    root = with_variables(root, variables)
    debug = is_debug(variables, faults)
    draft = _draft(root, faults, lambda names: find_kinds(names, folder.absolute()), demo=demo)
    notes = Notes(root, faults)
    _check(notes, draft, table)
    rules = _rules(notes, draft)
    model = _advised(Notes(root, warnings), draft, rules, table, now())
    advice.advise_open_files(Notes(root, warnings), contents.secrets)
    if len(faults):
        raise ConfigInvalid(faults.in_order(), warnings.in_order())
    settings = _settings(draft)
    settings = structs.replace(settings, defaults=structs.replace(settings.defaults, model=model))
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


def _located(contents: Contents, variables: Mapping[str, str], faults: Faults) -> Table:
    root = locate(contents.file, variables, faults, contents.secrets)
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
    kinds, is_whole = _kinds(root, faults, find_kinds, demo=demo)

    def offer(sort: str) -> Offer:
        return Offer(getattr(kinds, sort), is_whole, kinds.unnamed)

    providers = decoder.table(entries.get("providers"), "providers")
    models = decoder.table(entries.get("models"), "models")
    return _Draft(
        general=general,
        kinds=kinds,
        is_whole=is_whole,
        store=component(decoder, entries.get("store") or default_store(root), "store", "store", offer("stores")),
        providers={
            name: component(decoder, node, name, f"providers.{name}", offer("providers"))
            for name, node in providers.items()
        },
        models={name: decoder.struct(node, ModelSettings, f"models.{name}") for name, node in models.items()},
        routes=decoder.structs(entries.get("routes"), RouteSettings, "routes"),
        limits=decoder.structs(entries.get("limits"), LimitSettings, "limits"),
        keys=decoder.structs(entries.get("keys"), KeySettings, "keys"),
        lists={
            section: components(decoder, entries.get(section), section, shape, offer(section))
            for section, shape in _LISTS.items()
        },
    )


def _kinds(
    root: Table, faults: Faults, find_kinds: Callable[[Sequence[str]], Kinds], *, demo: bool
) -> tuple[Kinds, bool]:
    """What the named plugins offer, and whether that is the whole: where one cannot be loaded it is what the others
    do."""
    # A second decoder: what is wrong with the list itself was noted with the other sections.
    decoder = Decoder(Faults(faults.file))
    named = [decoder.text(node, "") for node in decoder.items(root.entries.get("plugins"), "")]
    names = list(dict.fromkeys(name for name in named if name is not None))
    names += ["demo"] if demo and "demo" not in names else []
    try:
        return find_kinds(names), isinstance(root.entries.get("plugins"), Items) and None not in named
    except ConfigInvalid as error:
        in_file: dict[str, Steps] = {
            f"plugins[{position}]": ("plugins", named.index(name))
            for position, name in enumerate(names)
            if name in named
        }
        for fault in error.faults:
            _add_placed(Notes(root, faults), fault, in_file.get(fault.path))
        broken = {fault.path for fault in error.faults}
    try:
        return find_kinds([name for at, name in enumerate(names) if f"plugins[{at}]" not in broken]), False
    except ConfigInvalid:
        return Kinds(), False


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
    budgets = [limit for limit in (*draft.limits, *of_keys) if limit and limit.is_hard_budget]
    if table is not None and budgets:
        checks.check_prices(notes, draft.models, draft.providers, table, budgets)


def _rules(notes: Notes, draft: _Draft) -> list[Expression | None]:
    types = checks.signal_types(notes, draft.kinds, draft.general.plugins)
    return checks.compiled(notes, draft.routes, types, draft.kinds.unnamed, is_whole=draft.is_whole)


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


def _advised(
    notes: Notes, draft: _Draft, rules: Sequence[Expression | None], table: PriceTable | None, now: float
) -> str | None:
    """Notes what works and yet should change, also beside faults; the default model, None where it cannot be asked."""
    advice.advise_references(notes)
    if draft.store is not None:
        advice.advise_escrow(notes, draft.store, draft.limits, draft.keys)
    understood = [
        route if route and (route.when is None or rule is not None) else None
        for route, rule in zip(draft.routes, rules, strict=True)
    ]
    lint_routes(notes, understood, draft.models, draft.providers, table)
    lint_dominated(notes, draft.routes, draft.models, draft.providers, table)
    today = datetime.fromtimestamp(now, UTC).date()
    old = advice.retired(notes, draft.models, draft.providers, table, today) if table else set()
    return advice.usable_default(notes, draft.general.defaults.model, draft.models, old)


def _digest(settings: Settings) -> str:
    """Twelve hex digits that change when any setting does."""
    plain = msgspec.to_builtins(settings, str_keys=True, enc_hook=_plain, order="deterministic")
    # Not msgspec's own JSON: a variable may hold bytes that are no UTF-8.
    return sha256_of(json.dumps(plain, sort_keys=True))[:12]


def _plain(value: object) -> str:
    return sha256_of(value.reveal()) if isinstance(value, Secret) else repr(value)
