"""From the bytes of a LiteLLM config.yaml to the text of a routing.yaml and a word on every key."""

from collections.abc import Collection, Iterator, Mapping

from msgspec import Struct

from muxer.config.source import LARGEST_BYTES
from muxer.litellm_import.deployments import Deployment, deployment
from muxer.litellm_import.draft import Draft, Secrets, looks_secret
from muxer.litellm_import.entries import Entry, expanded, is_served, read_entry
from muxer.litellm_import.groups import Routing, build
from muxer.litellm_import.includes import with_includes
from muxer.litellm_import.report import Report
from muxer.litellm_import.sections import handlers_of, read_sections
from muxer.litellm_import.source import Fetch, read
from muxer.litellm_import.tree import Items, Node, Scalar, Table, View
from muxer.litellm_import.values import variable_in
from muxer.litellm_import.vendors import VENDORS
from muxer.litellm_import.writer import written
from muxer.prices import PriceTable

_MONEY = ("daily_usd", "monthly_usd", "total_usd")
MOST_MODELS = 2_000
"""The most models a result may have, wildcards written out."""


class Converted(Struct, frozen=True):
    """The result, or nothing where the input is no YAML at all; and what became of each key."""

    text: str
    report: Report


def convert(data: bytes, file: str, fetch: Fetch, table: PriceTable, plugins: Collection[str]) -> Converted:
    """Converts a file and what it includes. Never raises: what is wrong is in the report, and the text has the rest.

    `file` is how the report names it; `fetch` reads included files by their path from its folder; `plugins` are the
    installed ones, on which it depends what serves Gemini.
    """
    report = Report()
    start = read(data, file, report)
    if start is None:
        return Converted("", report)
    node = with_includes(start, file, fetch, report)
    root = View("", node.spot, node)
    draft = Draft(
        report=report,
        table=table,
        kinds=frozenset(plugins),
        secrets=Secrets(_names(node), report),
    )
    _fill(draft, root)
    report.complete(root)
    text = written(draft, file)
    # What was read and then left out needs no variable.
    for name in [name for name in report.variables if f"${{{name}}}" not in text]:
        del report.variables[name]
    if len(text.encode()) > LARGEST_BYTES:
        report.add("", node.spot, "wrong", "the result is larger than 1 MB; list fewer models")
        text = ""
    return Converted(text, report)


def _fill(draft: Draft, root: View) -> None:
    routing = Routing(fallbacks=[], defaults=[], aliases=[])
    handlers = handlers_of(root, draft)
    read_sections(root, routing, draft)
    credentials = _credentials(root, draft)
    entries = list(_entries(root, credentials, handlers, draft))
    labels = frozenset(entry.label for entry in entries)
    told = (*routing.aliases, *routing.defaults, *(view for view, _ in routing.fallbacks))
    # A secret that stands in the place of a name makes no model of that name.
    wanted = frozenset(name for name in _texts(view.node for view in told) if not looks_secret(name))
    deployments: list[Deployment] = []
    for entry in entries:
        for one in expanded(entry, wanted, labels, draft):
            if len(deployments) == MOST_MODELS:
                draft.report.wrong(entry.name, f"more than {MOST_MODELS:,} models, wildcards written out")
                break
            if is_served(one, draft):
                deployments.append(deployment(one, handlers, draft))
    dropped = _named(root) - {one.label for one in deployments}
    for values in credentials.values():
        draft.report.leave_out(values, "no model that is served names it")
    called = build(deployments, dropped, routing, draft)
    _default_route(root, called, draft)
    _free_what_has_no_price(draft)
    _name_plugins(draft)
    _environment(root, draft)


def _entries(root: View, credentials: Mapping[str, View], handlers: Mapping[str, str], draft: Draft) -> Iterator[Entry]:
    models = root.get("model_list")
    if models is None:
        draft.report.add("model_list", root.spot, "wrong", "missing: the result has no models")
        return
    if not isinstance(models.node, Items):
        draft.report.wrong(models, "expected a list of models")
    for view in models.items():
        entry = read_entry(view, credentials, handlers, draft)
        if entry is None:
            draft.report.leave_out(view, "its entry is left out")
        else:
            yield entry


def _credentials(root: View, draft: Draft) -> dict[str, View]:
    """The values of each named credential; what is in them is told where it is used."""
    found: dict[str, View] = {}
    section = root.get("credential_list")
    for view in section.items() if section is not None else ():
        name, values = view.get("credential_name"), view.get("credential_values")
        if name is None or not isinstance(name.value, str) or values is None or not isinstance(values.node, Table):
            draft.report.wrong(view, "expected credential_name and credential_values")
            continue
        if name.value in found:
            draft.report.wrong(name, "a credential of that name exists already")
        found[name.value] = values
        draft.report.mapped(name, "its values are in the providers that name it")
        info = view.get("credential_info")
        if info is not None:
            draft.report.dropped(info, "a comment in the file does that")
    return found


def _named(root: View) -> frozenset[str]:
    """Every model_name of the input, whether its entry can be read or not."""
    models = root.get("model_list")
    names = [view.get("model_name") for view in models.items()] if models is not None else []
    return frozenset(name.value for name in names if name is not None and isinstance(name.value, str))


def _default_route(root: View, called: Mapping[str, str], draft: Draft) -> None:
    """Where requests go that name no model, if LiteLLM has a model for them."""
    section = root.get("general_settings")
    view = section.get("completion_model") if section is not None else None
    if view is not None:
        name = called.get(view.value) if isinstance(view.value, str) else None
        if name is None:
            draft.report.wrong(view, "model_list has no model of that name")
        else:
            draft.report.approximated(view, "the route default: for requests that name no model, or auto")
            draft.routes.append({"name": "default", "use": [name]})
            draft.comments["routes[0]"] = str(view.spot)
    elif "auto" in called:
        draft.routes.append({"name": "default", "use": [called["auto"]]})


def _free_what_has_no_price(draft: Draft) -> None:
    """Under a budget every model needs a price. LiteLLM counts nothing for one it knows none of; so does the result."""
    if not any(key in limit for limit in draft.limits for key in _MONEY):
        return
    for name, view in draft.unpriced.items():
        draft.models[name]["price"] = "free"
        draft.report.approximated(
            view, "no price is known, and there are budgets: it counts as free, as in LiteLLM; write its price"
        )


def _name_plugins(draft: Draft) -> None:
    kinds = dict.fromkeys(str(settings["kind"]) for settings in draft.providers.values())
    if not draft.store:
        draft.store |= {"kind": "sqlite", "path": "muxer.db"}
    sinks = [str(sink["kind"]) for sink in draft.sinks]
    draft.plugins[:] = dict.fromkeys([*kinds, str(draft.store["kind"]), *draft.plugins, *sinks])


def _environment(root: View, draft: Draft) -> None:
    """Variables LiteLLM sets for itself: here the environment or .env has them."""
    section = root.get("environment_variables")
    if section is None:
        return
    if not isinstance(section.node, Table):
        draft.report.wrong(section, "expected a mapping")
    for name, view in section.entries().items():
        if name in draft.report.variables:
            draft.report.approximated(view, "not copied; put it into the environment, or into .env beside the result")
        elif any(provider["kind"] == "litellm" for provider in draft.providers.values()):
            draft.report.approximated(view, "not copied; put it into the environment, where LiteLLM may read it")
        else:
            draft.report.dropped(view, "nothing in the result reads it")


def _names(root: Node) -> frozenset[str]:
    """The names of variables that a secret must not take."""
    vendors = {vendor.variable for vendor in VENDORS.values() if vendor.variable}
    found = {name for name in map(variable_in, _texts([root])) if name is not None}
    section = root.entries.get("environment_variables") if isinstance(root, Table) else None
    return frozenset(vendors | found | (set(section.entries) if isinstance(section, Table) else set()))


def _texts(nodes: Iterator[Node] | list[Node]) -> Iterator[str]:
    """Every text in these, keys too."""
    for node in nodes:
        if isinstance(node, Scalar):
            if isinstance(node.value, str):
                yield node.value
        elif isinstance(node, Items):
            yield from _texts(list(node.items))
        else:
            yield from node.entries
            yield from _texts(list(node.entries.values()))
