"""What the types cannot say: names that must exist, lists that must fit each other, rules that must compile."""

from collections.abc import Collection, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from msgspec import Struct

from muxer.config.hints import nearest
from muxer.config.notes import Notes, Steps, path_of
from muxer.config.settings import (
    FREE_SIGNALS,
    Component,
    General,
    KeySettings,
    LimitSettings,
    ModelSettings,
    RouteSettings,
)
from muxer.config.tree import Items, Scalar, Table, find
from muxer.expressions import Expression, ExpressionInvalid, UnknownName, compile_expression
from muxer.interfaces import Kinds
from muxer.keys import instant
from muxer.limits import AMOUNTS, RATES, Amounts
from muxer.prices import PriceTable

Models = Mapping[str, ModelSettings | None]
"""The models by name; None for one that could not be decoded, which exists all the same."""

_OF_CHOOSERS = ("order", "weights", "confidence", "confidence_by")
_OF_GROUPS = frozenset({"use", *_OF_CHOOSERS})
_MOST_CYCLES = 10


def check_general(notes: Notes, general: General) -> None:
    """The address, the time zone, and that no plugin is named twice."""
    try:
        _ = general.server.address
    except ValueError as error:
        notes.add(("server", "listen"), str(error), "for example 127.0.0.1:8000 or [::1]:8000")
    try:
        ZoneInfo(general.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = nearest(general.timezone, available_timezones()) or "for example Europe/Zurich"
        notes.add(("timezone",), f"no time zone {notes.named(('timezone',))}", hint)
    for index, name in enumerate(general.plugins):
        if name in general.plugins[:index]:
            notes.add(("plugins", index), f"{notes.named(('plugins', index))} is named twice")


def check_models(notes: Notes, models: Models, providers: Collection[str]) -> None:
    """Every model has a provider that exists, every group members that do, and nothing leads back to itself."""
    for name, model in models.items():
        here: Steps = ("models", name)
        if name == "auto" or name.startswith("auto:"):
            notes.add(here, "callers say auto to be routed; a model cannot have that name", on_key=True)
        for index, fallback in enumerate(model.fallbacks if model else ()):
            _check_exists(notes, (*here, "fallbacks", index), fallback, models)
        if model is None:
            continue
        if notes.has(*here, "use"):
            _check_group(notes, here, model, models)
        else:
            _check_model(notes, here, model, providers)
    _check_cycles(notes, models)


def check_routes(notes: Notes, routes: Sequence[RouteSettings | None], models: Models) -> None:
    """Route names are unique, candidates exist, and each route can be reached."""
    catch_all = ""
    first: dict[str, int] = {}
    for index, route in enumerate(routes):
        here: Steps = ("routes", index)
        if catch_all:
            notes.add(here, f"never reached: {catch_all} matches every request", "move it up, or give that one a when")
        elif not notes.has(*here, "when") and _takes_all(notes, here, route):
            catch_all = path_of(here)
        if route is None:
            continue
        if first.setdefault(route.name, index) != index:
            where = path_of(("routes", first[route.name]))
            notes.add((*here, "name"), f"{notes.named((*here, 'name'))} is already the name of {where}")
        if route.order not in ("cascade", "value") and notes.has(*here, "keep_quality"):
            notes.add((*here, "keep_quality"), "needs order: cascade or order: value", on_key=True)
        if route.share is not None and ("," in route.name or route.name.startswith("not ")):
            notes.add((*here, "name"), "a route with a share is named in records by its sides", "no comma, no `not `")
        _check_candidates(notes, here, route, models)


def _takes_all(notes: Notes, here: Steps, route: RouteSettings | None) -> bool:
    """Whether a route without a condition takes every request. Nobody knows where a key of it is misspelt."""
    has_share = notes.has(*here, "share")
    return _knows_all_keys(notes, here, RouteSettings) and (not has_share or (route is not None and route.share == 1))


def _knows_all_keys(notes: Notes, here: Steps, cls: type[Struct]) -> bool:
    """Whether no key there is misspelt, so that one that is missing is not there under another name."""
    node = find(notes.root, here)
    return isinstance(node, Table) and node.keys.keys() <= set(cls.__struct_fields__)


def check_guards(notes: Notes, routes: Sequence[RouteSettings | None], guards: Sequence[str]) -> None:
    """Each guard a route names is one of the file's."""
    for index, route in enumerate(routes):
        for number, name in enumerate(route.guards if route else ()):
            if name not in guards:
                _add_absent(notes, ("routes", index, "guards", number), "guard", name, guards)


def signal_types(notes: Notes, kinds: Kinds, plugins: Sequence[str]) -> dict[str, type]:
    """Every name a rule may use and its type: the free signals and those of the plugins, each with one owner."""
    types: dict[str, type] = dict(FREE_SIGNALS)
    for kind in kinds.signals.values():
        plugin = kinds.origins.get(f"signal {kind.name}", "")
        steps: Steps = ("plugins", plugins.index(plugin)) if plugin in plugins else ("plugins",)
        for name, type_ in kind.signals.items():
            if name in types:
                notes.add(steps, f"its kind {kind.name!r} measures {name!r}, which something else does already")
            elif type_ not in (float, int, bool, str):
                notes.add(steps, f"its kind {kind.name!r} gives {name!r} a type other than float, int, bool, str")
            else:
                types[name] = type_
    return types


def compiled(
    notes: Notes,
    routes: Sequence[RouteSettings | None],
    types: Mapping[str, type],
    unnamed: Collection[str],
    *,
    is_whole: bool,
) -> list[Expression | None]:
    """The conditions of the routes; None where a route has none, or a fault. Where the types are not the whole of them
    (a plugin could not be loaded), an unknown name is none. `unnamed` are plugins that could be named."""
    found: list[Expression | None] = []
    for index, route in enumerate(routes):
        steps: Steps = ("routes", index, "when")
        try:
            found.append(compile_expression(route.when, types) if route and route.when is not None else None)
        except ExpressionInvalid as error:
            found.append(None)
            unknown = error.name if isinstance(error, UnknownName) else ""
            if is_whole or not unknown:
                hint = f"name the plugin {unknown} under plugins" if unknown in unnamed else error.hint
                _add_invalid(notes, steps, error, hint)
    return found


def check_limits(notes: Notes, limits: Sequence[LimitSettings | None], models: Models) -> None:
    """Each limit has an amount, and is about models and routes that exist."""
    section = find(notes.root, ("routes",))
    names = [find(route, ("name",)) for route in section.items] if isinstance(section, Items) else []
    routes = [name.text for name in names if isinstance(name, Scalar)]
    scopes: dict[str, Collection[str]] = {"model": models, "route": routes}
    for index, limit in enumerate(limits):
        if limit is None:
            continue
        here: Steps = ("limits", index)
        _check_amounts(notes, here, limit)
        for key, value in limit.where.items():
            known = scopes.get(key)
            if known is not None and value not in known:
                _add_absent(notes, (*here, "where", key), key, value, known)


def _check_amounts(notes: Notes, here: Steps, limit: Amounts) -> None:
    if not any(notes.has(*here, key) for key in AMOUNTS) and _knows_all_keys(notes, here, type(limit)):
        notes.add(here, "no amount", f"give one of {', '.join(AMOUNTS)}")
    if limit.burst is not None and limit.requests_per_minute is None and limit.tokens_per_minute is None:
        notes.add((*here, "burst"), "needs requests_per_minute or tokens_per_minute", on_key=True)
    if limit.on_store_error == "escrow" and any(notes.has(*here, key) for key in RATES):
        what = "escrow sets money aside, which a rate has none of"
        notes.add((*here, "on_store_error"), what, f"give {', '.join(RATES)} a limit of their own")


def check_keys(notes: Notes, keys: Sequence[KeySettings | None]) -> None:
    """Each key has one secret or one digest, its own name, limits with amounts, and an end that is an instant."""
    names: dict[str, int] = {}
    secrets: dict[str, int] = {}
    for index, key in enumerate(keys):
        here: Steps = ("keys", index)
        if key is None:
            continue
        if names.setdefault(key.name, index) != index:
            where = path_of(("keys", names[key.name]))
            notes.add((*here, "name"), f"{notes.named((*here, 'name'))} is already the name of {where}")
        if notes.has(*here, "secret") == notes.has(*here, "digest"):
            if _knows_all_keys(notes, here, KeySettings):
                notes.add(here, "give either secret or digest")
        elif key.secret is not None and not key.secret.strip():
            notes.add((*here, "secret"), "empty")
        secret = key.secret or key.digest or ""
        if secret and secrets.setdefault(secret, index) != index:
            notes.add(here, f"the same secret as {path_of(('keys', secrets[secret]))}")
        for number, limit in enumerate(key.limits):
            _check_amounts(notes, (*here, "limits", number), limit)
        _check_expires(notes, here, key)


def _check_expires(notes: Notes, here: Steps, key: KeySettings) -> None:
    if key.expires is None:
        return
    try:
        instant(key.expires)
    except ValueError as error:
        notes.add((*here, "expires"), f"{notes.named((*here, 'expires'))} is no instant", str(error))


def _check_model(notes: Notes, here: Steps, model: ModelSettings, providers: Collection[str]) -> None:
    if model.provider is None:
        if not notes.has(*here, "provider"):
            notes.add(here, "missing key 'provider'", "or write use: to make it a group of models")
    elif model.provider not in providers:
        _add_absent(notes, (*here, "provider"), "provider", model.provider, providers)
    for key in _OF_CHOOSERS:
        if notes.has(*here, key):
            notes.add((*here, key), "only a group (use: ...) has this", on_key=True)
    if notes.has(*here, "price") and notes.has(*here, "price_usd_per_million"):
        notes.add((*here, "price"), "give either price or price_usd_per_million", on_key=True)
    if model.price_tiers and not notes.has(*here, "price_usd_per_million"):
        notes.add((*here, "price_tiers"), "needs price_usd_per_million", on_key=True)
    starts = [tier.above_input_tokens for tier in model.price_tiers]
    if any(later <= earlier for earlier, later in pairwise(starts)):
        notes.add((*here, "price_tiers"), "above_input_tokens must rise from tier to tier")


def _check_group(notes: Notes, here: Steps, group: ModelSettings, models: Models) -> None:
    node = find(notes.root, here)
    for key in () if isinstance(node, Scalar) else sorted(getattr(node, "keys", {})):
        if key not in _OF_GROUPS and key in ModelSettings.__struct_fields__:
            notes.add((*here, key), "a group of models has only use, order and what goes with it", on_key=True)
    if not group.use:
        notes.add((*here, "use"), "expected at least 1, found 0")
    _check_candidates(notes, here, group, models)


def _check_candidates(notes: Notes, here: Steps, chooser: RouteSettings | ModelSettings, models: Models) -> None:
    """The models a route or a group chooses among, and their weights."""
    for index, name in enumerate(chooser.use):
        _check_exists(notes, (*here, "use", index), name, models)
    if chooser.order == "weighted" and not notes.has(*here, "weights"):
        notes.add((*here, "order"), "missing key 'weights'", "one number for each name in use")
    elif chooser.order != "weighted" and chooser.weights:
        notes.add((*here, "weights"), "needs order: weighted", on_key=True)
    elif chooser.weights and len(chooser.weights) != len(chooser.use):
        counts = f"{len(chooser.weights)} weights for {len(chooser.use)} models"
        notes.add((*here, "weights"), counts, "one number for each name in use")
    elif chooser.weights and not sum(chooser.weights):
        notes.add((*here, "weights"), "expected at least one above 0")
    _check_cascade(notes, here, chooser, models)
    if chooser.order == "value":
        _check_tiers(notes, here, chooser, models)


def _check_tiers(notes: Notes, here: Steps, chooser: RouteSettings | ModelSettings, models: Models) -> None:
    """Who is chosen by value has a tier, also within groups."""
    for index, name in enumerate(chooser.use):
        waiting, seen = [name], set[str]()
        while waiting:
            one = waiting.pop()
            model = models.get(one)
            if model is None or one in seen:
                continue
            seen.add(one)
            waiting += model.use
            if model.provider is not None and model.tier is None:
                notes.add(
                    (*here, "use", index), f"order: value needs the tier of {one!r}", f"write it under models.{one}"
                )
                break


def _check_cascade(notes: Notes, here: Steps, chooser: RouteSettings | ModelSettings, models: Models) -> None:
    """A cascade has a threshold and somebody to ask next, and is no part of another list."""
    inner = [models.get(name) for name in chooser.use]
    for index, member in enumerate(inner):
        if member is not None and member.use and member.order == "cascade" and len(inner) > 1:
            what = "a group with order: cascade stands alone, or is asked by its name"
            notes.add((*here, "use", index), what, "name its models here instead")
    if chooser.order != "cascade":
        for key in ("confidence", "confidence_by"):
            if notes.has(*here, key):
                notes.add((*here, key), "needs order: cascade", on_key=True)
        return
    if len(chooser.use) < 2:
        notes.add((*here, "use"), "a cascade needs at least 2, to ask the next when the first is unsure")
    if not notes.has(*here, "confidence") and not notes.has(*here, "keep_quality"):
        notes.add((*here, "order"), "missing key 'confidence'", "for example confidence: 0.85")


def _check_exists(notes: Notes, steps: Steps, name: str, models: Models) -> None:
    if name not in models:
        _add_absent(notes, steps, "model", name, models)


def _add_absent(notes: Notes, steps: Steps, what: str, name: str, known: Collection[str]) -> None:
    if notes.faults.is_full:
        return
    others = f"known: {', '.join(sorted(known))}" if known and len(known) < 10 else ""
    notes.add(steps, f"no {what} {notes.named(steps)}", nearest(name, known) or others)


def _check_cycles(notes: Notes, models: Models) -> None:
    """Neither groups nor fallbacks lead back to where they started."""
    targets = {
        name: {target for target in (*model.use, *model.fallbacks) if target in models} if model else set()
        for name, model in models.items()
    }
    for _ in range(_MOST_CYCLES):
        try:
            TopologicalSorter(targets).prepare()
        except CycleError as error:
            # Each node of the cycle is a target of the next.
            cycle: list[str] = list(reversed(error.args[1]))
            _add_cycle(notes, cycle, models)
            targets[cycle[0]].discard(cycle[1])
        else:
            return


def _add_cycle(notes: Notes, cycle: list[str], models: Models) -> None:
    name, target = cycle[0], cycle[1]
    model = models[name]
    key = "use" if model and target in model.use else "fallbacks"
    index = (model.use if key == "use" else model.fallbacks).index(target) if model else 0
    notes.add(("models", name, key, index), f"a cycle: {' -> '.join(cycle)}")


def _add_invalid(notes: Notes, steps: Steps, error: ExpressionInvalid, hint: str) -> None:
    node = find(notes.root, steps)
    if isinstance(node, Scalar) and node.sort == "filled":
        # The complaint may quote what the environment gave.
        notes.add(steps, "no valid condition once its references are filled in")
    else:
        notes.add(steps, error.message, hint, ahead=error.offset)


def check_prices(
    notes: Notes,
    models: Models,
    providers: Mapping[str, Component | None],
    table: PriceTable,
    budgets: Sequence[Amounts],
) -> None:
    """Every model under a budget has a price, known or written down: without one it could not hold (S19)."""
    own = [limit.where.get("model") for limit in budgets if isinstance(limit, LimitSettings)]
    of_all = len(own) < len(budgets) or None in own
    why = "there is a budget"
    if find(notes.root, ("limits",)).place is None:
        why += " (10 dollars a day for each user, unless the file has limits or says `limits: []`)"
    for name, model in models.items():
        if not (of_all or name in own):
            continue
        has_own = any(notes.has("models", name, key) for key in ("use", "price", "price_usd_per_million"))
        if model is None or model.provider is None or has_own:
            continue
        provider = providers.get(model.provider)
        upstream = model.name or name
        facts = table.facts(provider.vendor, upstream, provider.base_url) if provider else None
        if provider is None or (facts is not None and facts.price is not None):
            continue
        steps: Steps = ("models", name, "name") if model.name else ("models", name)
        known = "" if notes.faults.is_full else table.suggest(provider.vendor, upstream, provider.base_url)
        near = f"did you mean {known!r}? Or " if known else ""
        what = notes.named(steps) if model.name else repr(name)
        message = f"no price is known for {what} of provider {model.provider!r}, and {why}"
        notes.add(steps, message, f"{near}write price_usd_per_million, or price: free")
