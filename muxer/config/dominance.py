"""Candidates that another of the same list beats in every way the file and the price table know of."""

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import astuple

from muxer.config.checks import Models
from muxer.config.lint import opened
from muxer.config.notes import Notes, Steps
from muxer.config.pricing import price_of
from muxer.config.settings import Component, RouteSettings
from muxer.money import Price
from muxer.prices import ModelFacts, PriceTable

_EVERYTHING = frozenset({"tools", "images", "json", "logprobs", "embeddings"})


class _Standing(Struct, frozen=True):
    """What a model is known to be; what nobody knows keeps no request from it."""

    tier: int
    price: Price
    can: frozenset[str]
    context_tokens: float
    max_output_tokens: float

    def is_beaten_by(self, other: "_Standing") -> bool:
        """Whether the other is stronger, never dearer and somewhere cheaper, and takes all that this one takes."""
        return (
            self.tier < other.tier
            and self.can <= other.can
            and self.context_tokens <= other.context_tokens
            and self.max_output_tokens <= other.max_output_tokens
            and _is_dearer(self.price, other.price)
        )


def lint_dominated(
    notes: Notes,
    routes: Sequence[RouteSettings | None],
    models: Models,
    providers: Mapping[str, Component | None],
    table: PriceTable | None,
) -> None:
    """Warns of each candidate of a route or a group that is dearer at every part of its price and weaker by its tier
    than another of the same list."""
    standings = _standings(models, providers, table)
    lists: list[tuple[Steps, tuple[str, ...]]] = [
        (("routes", index), route.use) for index, route in enumerate(routes) if route
    ]
    lists += [(("models", name), model.use) for name, model in models.items() if model and model.use]
    for steps, use in lists:
        rivals = [(name, standings[name]) for name in opened(use, models) if name in standings]
        for index, name in enumerate(use):
            own = standings.get(name)
            better = next((rival for rival, at in rivals if own is not None and own.is_beaten_by(at)), None)
            if better is not None and own is not None:
                tiers = f"{own.tier} < {standings[better].tier}"
                what = f"dearer than {better!r} at every part of its price, and weaker by tier ({tiers})"
                notes.add((*steps, "use", index), what, "take it out, unless it is there for when that one fails")


def _standings(
    models: Models, providers: Mapping[str, Component | None], table: PriceTable | None
) -> Mapping[str, _Standing]:
    """The models of which there is enough to say: a tier and a price."""
    found: dict[str, _Standing] = {}
    for name, model in models.items():
        if model is None or model.provider is None or model.tier is None:
            continue
        provider = providers.get(model.provider)
        known = table.facts(provider.vendor, model.name or name, provider.base_url) if table and provider else None
        price = price_of(model, known)
        if price is None:
            continue
        facts = known or ModelFacts(mode="")
        can = facts.can if model.can is None else frozenset(model.can)
        found[name] = _Standing(
            tier=model.tier,
            price=price,
            can=_EVERYTHING if can is None else can,
            context_tokens=model.context_tokens or facts.context_tokens or float("inf"),
            max_output_tokens=model.max_output_tokens or facts.max_output_tokens or float("inf"),
        )
    return found


def _is_dearer(price: Price, other: Price) -> bool:
    """Whether no request of any length costs less, and some cost more."""
    starts = {0, *(tier.above_input_tokens + 1 for tier in (*price.tiers, *other.tiers))}
    pairs = [
        pair
        for start in starts
        for pair in zip(astuple(price.rates_for(start)), astuple(other.rates_for(start)), strict=True)
    ]
    return all(own >= theirs for own, theirs in pairs) and any(own > theirs for own, theirs in pairs)
