"""What LiteLLM's model_info and cost keys say of a model: prices per million tokens, limits, abilities."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, localcontext

from muxer.litellm_import.draft import Value
from muxer.litellm_import.report import Report
from muxer.litellm_import.tree import View
from muxer.litellm_import.values import dollars, flag, whole
from muxer.money import Rates
from muxer.prices import ModelFacts

_RATES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write",
}
_TIERED = re.compile(f"({'|'.join(_RATES)})_above_([1-9][0-9]{{0,5}})k_tokens")
_COST = re.compile(r".*cost_per_.*|.*token_cost.*|.*_cost$")
_ABILITIES = {
    "supports_function_calling": "tools",
    "supports_vision": "images",
    "supports_response_schema": "json",
}
_ALL = ("tools", "images", "json", "logprobs")
_LENGTHS = {"max_input_tokens": "context_tokens", "max_output_tokens": "max_output_tokens"}
_MILLION = 6


def is_cost(key: str) -> bool:
    """Whether a key is about what something costs."""
    return _COST.fullmatch(key) is not None


def price(views: Iterable[Mapping[str, View]], facts: ModelFacts | None, report: Report) -> dict[str, Value]:
    """The keys of a model's price: none when the input gives none. The first of the mappings with a key counts."""
    rates: dict[str, Decimal] = {}
    tiers: dict[int, dict[str, Decimal]] = {}
    last: View | None = None
    for view in _costs(views, report):
        key = re.split(r"\.", view.path)[-1]
        tiered = _TIERED.fullmatch(key)
        if key not in _RATES and tiered is None:
            report.dropped(view, "prices are per token, one for each of input, output, cached input and cache write")
            continue
        found = _per_million(view, report)
        if found is None:
            continue
        last = view
        if tiered is None:
            rates[_RATES[key]] = found
            report.mapped(view, f"price_usd_per_million.{_RATES[key]}")
        else:
            tiers.setdefault(int(tiered[2]) * 1_000, {})[_RATES[tiered[1]]] = found
            report.mapped(view, f"price_tiers, above {int(tiered[2]) * 1_000:,} input tokens")
    if last is None:
        return {}
    if not {"input", "output"} <= set(rates):
        report.approximated(last, "of input and output, what is not given is the price table's, or 0")
    table = _known(facts.price.rates if facts is not None and facts.price is not None else Rates())
    # What the cache costs goes with the price of input, and is not taken from another list.
    base = {name: table[name] for name in (("output",) if "input" in rates else table)} | rates
    if not any(base.values()) and not tiers:
        return {"price": "free"}
    entry: dict[str, Value] = {"price_usd_per_million": _ordered(base)}
    if tiers:
        entry["price_tiers"] = [
            {"above_input_tokens": above, **_ordered(base | tiers[above])} for above in sorted(tiers)
        ]
    return entry


def from_facts(facts: ModelFacts) -> dict[str, Value]:
    """All that the table knows of a model, written out for one it does not know by its own name."""
    entry: dict[str, Value] = {}
    if facts.price is not None:
        entry["price_usd_per_million"] = _ordered(_known(facts.price.rates))
        tiers: list[Value] = [
            {"above_input_tokens": tier.above_input_tokens, **_ordered(_known(tier.rates))}
            for tier in facts.price.tiers
        ]
        if tiers:
            entry["price_tiers"] = tiers
    if facts.context_tokens:
        entry["context_tokens"] = facts.context_tokens
    if facts.max_output_tokens:
        entry["max_output_tokens"] = facts.max_output_tokens
    if facts.can is not None:
        entry["can"] = [one for one in _ALL if one in facts.can]
    return entry


def about(info: Mapping[str, View], facts: ModelFacts | None, report: Report) -> dict[str, Value]:
    """Lengths and abilities, as far as they differ from what the price table says."""
    entry: dict[str, Value] = {}
    names = dict(_LENGTHS)
    if "max_output_tokens" not in info:
        names["max_tokens"] = "max_output_tokens"
    for key, ours in names.items():
        view = info.get(key)
        found = whole(view, report) if view is not None else None
        if view is not None and found is not None:
            entry[ours] = found
            report.mapped(view, ours)
    can = _abilities(info, facts, report)
    return entry if can is None else {**entry, "can": can}


def _abilities(info: Mapping[str, View], facts: ModelFacts | None, report: Report) -> Value | None:
    known = facts.can if facts is not None else None
    before = frozenset(_ALL) if known is None else known
    can = set(before)
    for key, view in info.items():
        if not key.startswith("supports_") and key != "supported_openai_params":
            continue
        if key not in _ABILITIES:
            report.dropped(view, "no request is kept from a model for this")
            continue
        has = flag(view, report)
        if has is not None:
            (can.add if has else can.discard)(_ABILITIES[key])
            report.mapped(view, f"{'has' if has else 'lacks'} {_ABILITIES[key]}")
    return None if can == before else [one for one in _ALL if one in can]


def _costs(views: Iterable[Mapping[str, View]], report: Report) -> Iterable[View]:
    seen: set[str] = set()
    for mapping in views:
        for key, view in mapping.items():
            if not is_cost(key):
                continue
            if key in seen:
                report.dropped(view, "litellm_params says it too, and that counts")
                continue
            seen.add(key)
            yield view


def _per_million(view: View, report: Report) -> Decimal | None:
    """Dollars per million tokens, exactly; at most the 24 decimals that a setting can have."""
    found = dollars(view, report)
    if found is None:
        return None
    with localcontext(prec=100):
        per_million = found.scaleb(_MILLION)
        if per_million != round(per_million, 24):
            report.approximated(view, "rounded to 24 decimals")
            per_million = round(per_million, 24)
    if per_million > 9_007_199:
        report.wrong(view, "more than 9 dollars a token")
        return None
    return per_million


def _known(rates: Rates) -> dict[str, Decimal]:
    """Rates in dollars per million; what the cache costs only where it is not the price of input."""
    micros = {"input": rates.input, "output": rates.output}
    if rates.cached_input != rates.input:
        micros["cached_input"] = rates.cached_input
    if rates.cache_write != rates.input:
        micros["cache_write"] = rates.cache_write
    return {name: Decimal(amount).scaleb(-_MILLION) for name, amount in micros.items()}


def _ordered(rates: Mapping[str, Decimal]) -> dict[str, Value]:
    return {name: rates[name] for name in _RATES.values() if name in rates}
