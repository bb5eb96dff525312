"""Models callers can name: deployments of one name become a group, fallbacks and aliases what comes nearest."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from msgspec import Struct

from muxer.litellm_import.deployments import Deployment
from muxer.litellm_import.draft import Draft, Value, free_name
from muxer.litellm_import.tree import Table, View
from muxer.litellm_import.values import names

_STRATEGIES = {
    "simple-shuffle": ("mapped", "order: weighted"),
    "least-busy": ("approximated", "order: weighted: nobody counts what each model is busy with"),
    "usage-based-routing": ("approximated", "order: weighted by rpm or tpm, which are limits too"),
    "usage-based-routing-v2": ("approximated", "order: weighted by rpm or tpm, which are limits too"),
    "latency-based-routing": ("approximated", "order: weighted: nobody measures which model is fastest"),
    "cost-based-routing": ("mapped", "order: cheapest, by the expected cost of each request"),
}
_METRICS = ("weight", "rpm", "tpm")
_FAMILIES = {
    "fallbacks": ("mapped", "fallbacks of the model"),
    "context_window_fallbacks": (
        "approximated",
        "among the fallbacks of the model, asked where a request is too long for it, and when it fails",
    ),
}
_POLICY = "a refusal for content is the answer; nobody else is asked"


class Routing(Struct, kw_only=True):
    """What the input says about choosing: gathered from the sections, used when the models are built."""

    is_cheapest: bool = False
    strategy: View | None = None
    fallbacks: list[tuple[View, str]]
    """Each a list of mappings from a model to its fallbacks, and the family it is of."""
    defaults: list[View]
    aliases: list[View]


def strategy(view: View, routing: Routing, draft: Draft) -> None:
    """The order of groups."""
    known = _STRATEGIES.get(view.value) if isinstance(view.value, str) else None
    if known is None:
        draft.report.wrong(view, f"LiteLLM has no such strategy; it has {', '.join(_STRATEGIES)}")
        return
    routing.is_cheapest = view.value == "cost-based-routing"
    draft.report.add(view.path, view.spot, "mapped" if known[0] == "mapped" else "approximated", known[1])


def build(deployments: Sequence[Deployment], dropped: frozenset[str], routing: Routing, draft: Draft) -> dict[str, str]:
    """Adds every model, group and alias to the draft, and says what each is called in it. `dropped` are the names whose
    entries came to nothing."""
    labels: dict[str, list[Deployment]] = {}
    for one in deployments:
        labels.setdefault(one.label, []).append(one)
    targets = _Targets(frozenset(labels), dropped, _aliases(labels, dropped, routing, draft), draft)
    wanted = {label: one for label, one in targets.fallbacks(routing).items() if one}
    circle = _circle({label: one for label, one in wanted.items() if label in labels})
    taken = {*labels, *targets.aliases}
    final = {label: _renamed(label, taken) for label in (*labels, *targets.aliases)}
    alone = {label: _own_name(f"{final[label]}-alone", taken) for label in sorted(circle)}
    for label, members in labels.items():
        uses: list[Value] = [alone.get(target) or final[target] for target in wanted.get(label, ())]
        if final[label] != label:
            draft.report.approximated(members[0].name, f"callers say auto to be routed; it is called {final[label]}")
        if label in alone:
            _add(alone[label], members, [], taken, routing, draft)
            draft.model(final[label], {"use": [alone[label], *uses]}, str(members[0].name.spot))
        else:
            _add(final[label], members, uses, taken, routing, draft)
    for alias, (target, view) in targets.aliases.items():
        uses = [final[target], *(final[one] for one in wanted.get(alias, ()))]
        draft.model(final[alias], {"use": list(dict.fromkeys(map(str, uses)))}, str(view.spot))
    return final


def _renamed(label: str, taken: set[str]) -> str:
    """Callers say auto to be routed, so a model of that name gets another."""
    if label != "auto" and not label.startswith("auto:"):
        return label
    return _own_name(f"{label.replace(':', '-')}-model", taken)


def _own_name(wanted: str, taken: set[str]) -> str:
    name = free_name(wanted, taken)
    taken.add(name)
    return name


def _add(
    name: str, members: Sequence[Deployment], fallbacks: list[Value], taken: set[str], routing: Routing, draft: Draft
) -> None:
    """A model, or a group of several with the same name; the fallbacks of a group make a group around it."""
    came_from = str(members[0].name.spot)
    if len(members) == 1:
        entry = dict(members[0].entry)
        if entry["name"] == name:
            del entry["name"]
        if fallbacks:
            entry["fallbacks"] = fallbacks
        _add_model(name, entry, members[0], draft)
        return
    inner = _own_name(f"{name}-pool", taken) if fallbacks else name
    _add_group(inner, name, members, taken, routing, draft)
    if fallbacks:
        draft.model(name, {"use": [inner, *fallbacks]}, came_from)


def _add_group(
    inner: str, name: str, members: Sequence[Deployment], taken: set[str], routing: Routing, draft: Draft
) -> None:
    """The group and its members; deployments of a lower order are asked before those of a higher one."""
    numbered = [(_own_name(f"{name}-{index}", taken), one) for index, one in enumerate(members, 1)]
    for member, one in numbered:
        _add_model(member, dict(one.entry), one, draft)
    levels: dict[Decimal, list[tuple[str, Deployment]]] = {}
    for member, one in numbered:
        levels.setdefault(Decimal("Infinity") if one.order is None else one.order, []).append((member, one))
    came_from = str(members[0].name.spot)
    if len(levels) == 1:
        draft.model(inner, _chosen(numbered, routing), came_from)
        return
    uses: list[Value] = []
    for _, level in sorted(levels.items()):
        if len(level) == 1:
            uses.append(level[0][0])
            continue
        pool = _own_name(f"{name}-order-{len(uses) + 1}", taken)
        draft.model(pool, _chosen(level, routing), came_from)
        uses.append(pool)
    draft.model(inner, {"use": uses}, came_from)


def _chosen(members: Sequence[tuple[str, Deployment]], routing: Routing) -> dict[str, Value]:
    uses: list[Value] = [name for name, _ in members]
    if routing.is_cheapest:
        return {"use": uses, "order": "cheapest"}
    weights: list[Decimal] = [Decimal(1)] * len(members)
    for metric in _METRICS:
        found = [one.weights.get(metric, Decimal(0)) for _, one in members]
        if any(found):
            weights = found
            break
    return {"use": uses, "order": "weighted", "weights": list(weights)}


def _add_model(name: str, entry: dict[str, Value], one: Deployment, draft: Draft) -> None:
    draft.model(name, entry, str(one.name.spot))
    if not one.is_priced:
        draft.unpriced[name] = one.name
    if one.bounds:
        draft.limit({"per": "model", "where": {"model": name}, **one.bounds}, str(one.name.spot))


def _aliases(
    labels: Mapping[str, object], dropped: frozenset[str], routing: Routing, draft: Draft
) -> dict[str, tuple[str, View]]:
    """The aliases by name, each with the model it stands for."""
    found: dict[str, tuple[str, View]] = {}
    for section in routing.aliases:
        if not isinstance(section.node, Table):
            draft.report.wrong(section, "expected a mapping from alias to model")
        for alias, view in section.entries().items():
            inner = view.get("model") if isinstance(view.node, Table) else view
            target = inner.value if inner is not None else None
            if not isinstance(target, str):
                draft.report.wrong(view, "expected the model it stands for")
            elif alias in labels or alias in found:
                draft.report.wrong(view, "a model or an alias of that name exists already")
            elif not alias or "${" in alias:
                draft.report.wrong(view, "not a name")
            elif target not in labels and _is_dropped(target, dropped):
                draft.report.dropped(view, "the model it stands for is left out")
            elif target not in labels:
                draft.report.wrong(view, "model_list has no model of that name")
            else:
                found[alias] = target, view
                hidden = view.get("hidden")
                if hidden is not None and hidden.value is True:
                    draft.report.approximated(view, "a group of that one model, which /v1/models lists")
                else:
                    draft.report.mapped(view, "a group of that one model")
    return found


class _Targets(Struct, frozen=True):
    """Finds out who falls back to whom."""

    labels: frozenset[str]
    dropped: frozenset[str]
    aliases: dict[str, tuple[str, View]]
    draft: Draft

    def fallbacks(self, routing: Routing) -> dict[str, list[str]]:
        """The fallbacks of each name that has any, in order; the general ones for every other name."""
        special: dict[str, list[str]] = {}
        general: dict[str, None] = {}
        for view, family in routing.fallbacks:
            for source, targets in self._pairs(view, family):
                if source == "*":
                    general |= dict.fromkeys(targets)
                else:
                    special.setdefault(source, []).extend(targets)
        for view in routing.defaults:
            found = [name for item in names(view, self.draft.report) for name in self._target(item)]
            self.draft.report.mapped(view, "fallbacks of every model without its own")
            general |= dict.fromkeys(found)
        # An alias goes to its model, which has what is general.
        every = {name: special.get(name, list(general)) for name in sorted(self.labels)}
        every |= {name: special.get(name, []) for name in self.aliases}
        return {
            name: [target for target in dict.fromkeys(targets) if target != self._real(name)]
            for name, targets in every.items()
        }

    def _real(self, name: str) -> str:
        return self.aliases[name][0] if name in self.aliases else name

    def _pairs(self, view: View, family: str) -> list[tuple[str, list[str]]]:
        """Who falls back to whom by one list of one family."""
        report, found = self.draft.report, []
        items = list(view.items()) or ([view] if isinstance(view.node, Table) else [])
        if not items and not isinstance(view.node, Table) and view.is_scalar:
            report.wrong(view, "expected a list of mappings from a model to its fallbacks")
        for item in items:
            if not isinstance(item.node, Table):
                report.wrong(item, "expected a mapping from a model to its fallbacks")
            for source, targets in item.entries().items():
                if source != "*" and source not in self.labels and source not in self.aliases:
                    self._add_absent(targets, source)
                    continue
                if family not in _FAMILIES:
                    report.dropped(targets, _POLICY)
                    continue
                outcome, words = _FAMILIES[family]
                resolved = [name for one in names(targets, report) for name in self._target(one)]
                report.add(targets.path, targets.spot, "mapped" if outcome == "mapped" else "approximated", words)
                found.append((source, resolved))
        return found

    def _target(self, item: View) -> list[str]:
        name = str(item.value)
        real = self._real(name)
        if real in self.labels:
            return [real]
        self._add_absent(item, name)
        return []

    def _add_absent(self, view: View, name: str) -> None:
        if _is_dropped(name, self.dropped):
            self.draft.report.dropped(view, "its model is left out")
        else:
            self.draft.report.wrong(view, "model_list has no model of that name")


def _is_dropped(name: str, dropped: frozenset[str]) -> bool:
    """Whether an entry that is left out has that name, or stands for it with a wildcard."""
    if name in dropped:
        return True
    patterns = (pattern.partition("*") for pattern in dropped if "*" in pattern)
    return any(name.startswith(before) and name.endswith(after) for before, _, after in patterns)


def _circle(wanted: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """The names on a way of fallbacks that leads back to where it began, and those between two such ways: what is left
    when who falls back to nobody, or is nobody's fallback, is taken away until all have both."""
    left: Mapping[str, Sequence[str]] = wanted
    while True:
        reached = {target for targets in left.values() for target in targets}
        kept = {
            name: [target for target in targets if target in left] for name, targets in left.items() if name in reached
        }
        kept = {name: targets for name, targets in kept.items() if targets}
        if kept == left:
            return frozenset(left)
        left = kept
