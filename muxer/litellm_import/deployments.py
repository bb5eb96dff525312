"""Each entry of model_list as a model: its provider, price and abilities, and the limits that are about it alone."""

from collections.abc import Mapping
from decimal import Decimal

from msgspec import Struct

from muxer.litellm_import import costs
from muxer.litellm_import.budgets import window
from muxer.litellm_import.draft import Draft, Value
from muxer.litellm_import.entries import Entry
from muxer.litellm_import.providers import provider
from muxer.litellm_import.tree import View
from muxer.litellm_import.values import escaped, number, whole
from muxer.prices import ModelFacts

_COMMENT = "a comment in the file does that"
_KEYS = "which models a key may use is in its `models`"
_INFO = {
    "id": "models are named after model_name",
    "team_id": _KEYS,
    "team_public_model_name": _KEYS,
    "access_groups": _KEYS,
    "access_via_team_ids": _KEYS,
    "supported_environments": "keep a file for each environment",
    "tier": "route free and paid users with `when`",
    "description": _COMMENT,
    "metadata": _COMMENT,
    "version": _COMMENT,
    "custom_tokenizer": "tokens are estimated from bytes",
    "db_model": "only the file has models",
    "health_check_timeout": "models are watched by the requests they answer",
    "disable_background_health_check": "models are watched by the requests they answer",
}
_RATES = {"rpm": "requests_per_minute", "tpm": "tokens_per_minute", "max_parallel_requests": "concurrent"}


class Deployment(Struct, frozen=True, kw_only=True):
    """A model under the name callers use. `order` is LiteLLM's (the lower is asked first), `weights` what its shuffle
    may go by, `bounds` the amounts of a limit about this model alone."""

    label: str
    name: View
    entry: dict[str, Value]
    is_priced: bool
    order: Decimal | None
    weights: Mapping[str, Decimal]
    bounds: dict[str, Value]


def deployment(entry: Entry, handlers: Mapping[str, str], draft: Draft) -> Deployment:
    """The model an entry stands for; its provider is added to the draft."""
    report = draft.report
    facts, is_written_out = _facts(entry, draft)
    name = draft.provider(entry.model.vendor.name, provider(entry, handlers, draft), str(entry.name.spot))
    report.mapped(entry.name, "a model of that name")
    report.mapped(entry.params["model"], f"served by providers.{name}")
    foreign = entry.model.vendor.kind == "litellm"
    settings: dict[str, Value] = {
        "provider": name,
        "name": escaped(entry.model.full if foreign else entry.model.name),
    }
    price = costs.price([entry.params, entry.info], facts, report)
    if is_written_out and facts is not None:
        settings |= costs.from_facts(facts)
    if price:
        settings = {key: one for key, one in settings.items() if not key.startswith("price")} | price
    settings |= costs.about(entry.info, facts, report)
    for key, view in entry.info.items():
        if key in _INFO:
            report.dropped(view, _INFO[key])
    own = entry.facts(draft)
    return Deployment(
        label=entry.label,
        name=entry.name,
        entry=settings,
        is_priced="price" in settings or "price_usd_per_million" in settings or bool(own and own.price),
        order=_told(entry.params.get("order"), draft, "its group asks in that order"),
        weights=_weights(entry, draft),
        bounds=_bounds(entry, draft),
    )


def _facts(entry: Entry, draft: Draft) -> tuple[ModelFacts | None, bool]:
    """What the price table says, and whether it must be written out: it is not found by the name and the address that
    the result has. Azure's deployments have any name; what LiteLLM serves at an address of one's own has no price."""
    base, model = entry.info.get("base_model"), entry.model
    facts = draft.table.facts("litellm", base.value) if base is not None and isinstance(base.value, str) else None
    if base is not None and facts is not None:
        draft.report.mapped(base, "its price, lengths and abilities are written out")
        return facts, True
    if base is not None:
        draft.report.dropped(base, "the price table does not know it")
    own = entry.facts(draft)
    if own is None and model.vendor.kind == "litellm" and not model.vendor.is_own:
        facts = draft.table.facts("litellm", model.full)
        return facts, facts is not None
    return own, False


def _told(view: View | None, draft: Draft, words: str) -> Decimal | None:
    found = number(view, draft.report) if view is not None else None
    if view is not None and found is not None:
        draft.report.mapped(view, words)
    return found


def _weights(entry: Entry, draft: Draft) -> dict[str, Decimal]:
    """What LiteLLM's shuffle may go by; a rate that the environment gives is no weight."""
    weights: dict[str, Decimal] = {}
    weight = _told(entry.params.get("weight"), draft, "goes into the weights of its group")
    if weight is not None:
        weights["weight"] = weight
    for key in ("rpm", "tpm"):
        value = entry.params[key].value if key in entry.params else None
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53:
            weights[key] = Decimal(value)
    return weights


def _bounds(entry: Entry, draft: Draft) -> dict[str, Value]:
    bounds: dict[str, Value] = {}
    for key, ours in _RATES.items():
        view = entry.params.get(key)
        found = whole(view, draft.report) if view is not None else None
        if view is not None and found is not None:
            bounds[ours] = found
            draft.report.approximated(view, f"{ours} of this model: over it a request is refused, not sent elsewhere")
    amount, duration = entry.params.get("max_budget"), entry.params.get("budget_duration")
    return bounds | window(amount, duration, "of this model", draft.report)
