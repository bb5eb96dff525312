"""Entries of model_list as they can be read: a name, what serves it, and whether that can be served here."""

from collections.abc import Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from muxer.litellm_import.draft import Draft
from muxer.litellm_import.tree import Table, View
from muxer.litellm_import.values import REFERENCE, is_reference, variable_in
from muxer.litellm_import.vendors import Model, Unknown, address, parse
from muxer.prices import ModelFacts

ADDRESSES = ("api_base", "base_url")
"""Where LiteLLM looks for an address, in its order."""

MOST_EXPANDED = 200
"""The most models a wildcard becomes."""

_ROUTER = "auto_router/"
_SERVED = frozenset({"chat", "completion", "responses"})


class Entry(Struct, frozen=True):
    """An entry of model_list: callers' `label` for it, LiteLLM's two mappings, and the model string read."""

    label: str
    name: View
    params: Mapping[str, View]
    info: Mapping[str, View]
    model: Model

    @property
    def base_url(self) -> str | None:
        """The address as the provider will have it; None is the vendor's own."""
        given = next((self.params[key].value for key in ADDRESSES if key in self.params), None)
        if isinstance(given, str) and given:
            return address(self.model.vendor, given)
        vendor = self.model.vendor
        return f"${{{vendor.address_variable}}}" if vendor.address_variable is not None else vendor.base_url

    def facts(self, draft: Draft) -> ModelFacts | None:
        """What the price table says of the model under the name and address the result gives it."""
        vendor = self.model.vendor
        if vendor.is_own:
            return None
        if vendor.kind == "litellm":
            return draft.table.facts("litellm", self.model.full, self.base_url)
        return draft.table.facts(vendor.kind, self.model.name, self.base_url)


def read_entry(view: View, credentials: Mapping[str, View], handlers: Mapping[str, str], draft: Draft) -> Entry | None:
    """The parts of an entry, or None and why not in the report."""
    report = draft.report
    if not isinstance(view.node, Table):
        report.wrong(view, "expected a mapping with model_name and litellm_params")
        return None
    name, params = view.get("model_name"), view.get("litellm_params")
    if name is None or not isinstance(name.value, str) or not name.value:
        report.wrong(name or view, "model_name must be a text, the name callers use")
        return None
    if "${" in name.value or name.value.startswith(REFERENCE):
        report.wrong(name, "a name cannot hold a reference")
        return None
    for key, other in view.entries().items():
        if key not in ("model_name", "litellm_params", "model_info"):
            report.dropped(other, "LiteLLM looks for it in litellm_params or model_info")
    if params is None or not isinstance(params.node, Table):
        report.wrong(params or view, "litellm_params must say what serves it")
        return None
    values = {key: one for key, one in params.entries().items() if not one.is_nothing}
    string = values.get("model")
    if string is None or not isinstance(string.value, str):
        report.wrong(string or params, "model must be a text, as vendor/model")
        return None
    if string.value == "*" or string.value.startswith(_ROUTER):
        routes = "write routes, whose `when` asks for signals such as code and complexity"
        every = "stands for every model of every vendor; list the models you use"
        report.dropped(name, every if string.value == "*" else routes)
        return None
    _take_credential(values, credentials, draft)
    for at in (values[key] for key in ADDRESSES if key in values):
        # Without its address, what was meant for one server would be sent to another.
        if not isinstance(at.value, str) or not at.value or (is_reference(at) and variable_in(at.value) is None):
            report.wrong(at, "expected an address")
            return None
    provider = values.get("custom_llm_provider")
    word = provider.value if provider is not None and isinstance(provider.value, str) else ""
    model = parse(string.value, word, handlers, draft.table, draft.kinds)
    if isinstance(model, Unknown):
        report.wrong(string, model.words)
        return None
    if provider is not None:
        report.mapped(provider, f"kind {model.vendor.kind}")
    info = view.get("model_info")
    if info is not None and not isinstance(info.node, Table):
        report.wrong(info, "expected a mapping")
    about = {} if info is None else {key: one for key, one in info.entries().items() if not one.is_nothing}
    return Entry(name.value, name, values, about, model)


def is_served(entry: Entry, draft: Draft) -> bool:
    """Whether it answers chat requests; if not, the report says so of all it has."""
    mode, facts = entry.info.get("mode"), entry.facts(draft)
    word = mode.value if mode is not None else facts.mode if facts is not None else "chat"
    if word in _SERVED:
        if mode is not None and word == "chat":
            draft.report.mapped(mode, "chat is what every model here does")
        elif mode is not None:
            draft.report.approximated(mode, "asked for chat completions, which not every such model gives")
        return True
    kind = word if isinstance(word, str) and word.isidentifier() else "like this"
    for view in (entry.name, *entry.params.values(), *entry.info.values()):
        draft.report.dropped(view, f"models of mode {kind} are not served")
    return False


def expanded(entry: Entry, wanted: frozenset[str], taken: frozenset[str], draft: Draft) -> Iterator[Entry]:
    """An entry without a wildcard as it is; else one for each model the price table knows, and for each that the
    input names elsewhere (`wanted`), but for names that have an entry of their own (`taken`)."""
    if "*" not in entry.label and "*" not in entry.model.name:
        yield entry
        return
    before, _, after = entry.label.partition("*")
    if entry.label.count("*") != 1 or entry.model.name.count("*") != 1:
        draft.report.wrong(entry.name, "one * in model_name stands for the one * in model; here they do not match")
        return
    known = dict.fromkeys(_names(entry, draft))
    for name in sorted(wanted):
        if name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after):
            known[name[len(before) : len(name) - len(after)]] = None
    known = {star: None for star in known if f"{before}{star}{after}" not in taken and "${" not in star}
    if not known:
        draft.report.dropped(entry.name, "no model that it stands for is known; list the models you use")
        for view in (*entry.params.values(), *entry.info.values()):
            draft.report.leave_out(view, "its entry is left out")
        return
    stars = list(known)[:MOST_EXPANDED]
    rest = "" if len(stars) == len(known) else f" of {len(known)}"
    words = (
        f"there are no wildcards: written out as the models of the price table, {len(stars)}{rest}; add others by name"
    )
    draft.report.approximated(entry.name, words)
    for star in stars:
        model = Model(entry.model.vendor, entry.model.name.replace("*", star), entry.model.full.replace("*", star))
        yield replace(entry, label=f"{before}{star}{after}", model=model)


def _names(entry: Entry, draft: Draft) -> Iterator[str]:
    """What the star in the model may be: the chat models of the price table, but for those retired at its date."""
    vendor = entry.model.vendor
    if vendor.base_url is None and entry.base_url is not None:
        return
    before, _, after = f"{vendor.name}/{entry.model.name}".partition("*")
    for name in draft.table.models:
        if name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after):
            facts = draft.table.facts("litellm", name)
            is_current = facts is not None and not "" < facts.deprecated_on <= draft.table.date
            if facts is not None and facts.mode == "chat" and is_current and "*" not in name:
                yield name[len(before) : len(name) - len(after)]


def _take_credential(values: dict[str, View], credentials: Mapping[str, View], draft: Draft) -> None:
    """Adds what a named credential says, unless the entry says it itself."""
    view = values.get("litellm_credential_name")
    if view is None:
        return
    known = credentials.get(view.value) if isinstance(view.value, str) else None
    if known is None:
        draft.report.wrong(view, "credential_list has none of that name")
        return
    draft.report.mapped(view, "its values are the provider's")
    for key, one in known.entries().items():
        values.setdefault(key, one)
