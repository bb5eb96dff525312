"""The models of a configuration with everything known about them: who serves them, what they cost, what they can do."""

from collections.abc import Mapping

from msgspec import Struct

from muxer.config.settings import Component, ModelSettings, Order, PriceSettings, Settings
from muxer.money import FREE, Price, Rates, Tier, picos_per_token
from muxer.prices import ModelFacts, PriceTable


class Model(Struct, frozen=True, kw_only=True):
    """One model as callers name it. `can` None and missing sizes mean that nobody knows: no gate applies then.

    `mode` is what the price table says it is for: chat, responses, completion, embedding; '' where it does not.
    """

    name: str
    provider: str
    upstream: str
    price: Price | None = None
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    can: frozenset[str] | None = None
    mode: str = ""
    takes_sampling: bool = True
    retry_uncertain: bool = False
    fallbacks: tuple[str, ...] = ()
    unavailable: str = ""
    deprecated_on: str = ""

    @property
    def embeds(self) -> bool | None:
        """Whether it makes embeddings, and then nothing else; None when nobody knows."""
        if self.can is not None:
            return "embeddings" in self.can
        return self.mode == "embedding" if self.mode else None


class Group(Struct, frozen=True, kw_only=True):
    """Several models under one name."""

    use: tuple[str, ...]
    order: Order
    weights: tuple[float, ...]


class Catalog(Struct, frozen=True, kw_only=True):
    """All names that `use` and callers may say."""

    models: Mapping[str, Model]
    groups: Mapping[str, Group]
    prices: str

    def __contains__(self, name: str) -> bool:
        return name in self.models or name in self.groups


def build_catalog(settings: Settings, table: PriceTable) -> Catalog:
    """Joins the file's models with the price table; what the file says wins."""
    models = {
        name: _model(name, entry, settings.providers[entry.provider], table)
        for name, entry in settings.models.items()
        if entry.provider is not None
    }
    groups = {
        name: Group(use=entry.use, order=entry.order, weights=entry.weights)
        for name, entry in settings.models.items()
        if entry.provider is None
    }
    return Catalog(models=models, groups=groups, prices=table.version)


def _model(name: str, entry: ModelSettings, provider: Component, table: PriceTable) -> Model:
    upstream = entry.name or name
    facts = table.facts(provider.vendor, upstream, provider.base_url) or ModelFacts(mode="")
    known = frozenset({"embeddings"}) if facts.mode == "embedding" else facts.can
    return Model(
        name=name,
        provider=provider.name,
        upstream=upstream,
        price=price_of(entry, facts),
        context_tokens=entry.context_tokens or facts.context_tokens,
        max_output_tokens=entry.max_output_tokens or facts.max_output_tokens,
        can=known if entry.can is None else frozenset(entry.can),
        mode=facts.mode,
        takes_sampling=facts.takes_sampling,
        retry_uncertain=entry.retry_uncertain,
        fallbacks=entry.fallbacks,
        unavailable=provider.unavailable,
        deprecated_on=facts.deprecated_on,
    )


def price_of(entry: ModelSettings, facts: ModelFacts | None) -> Price | None:
    """What a model costs: as the file says, else as the table says, else unknown."""
    if entry.price == "free":
        return FREE
    if entry.price_usd_per_million is None:
        return facts.price if facts else None
    tiers = [Tier(tier.above_input_tokens, _rates(tier)) for tier in entry.price_tiers]
    tiers.sort(key=lambda tier: tier.above_input_tokens)
    return Price(_rates(entry.price_usd_per_million), tuple(tiers))


def _rates(price: PriceSettings) -> Rates:
    return Rates(
        input=picos_per_token(price.input),
        output=picos_per_token(price.output),
        cached_input=picos_per_token(price.input if price.cached_input is None else price.cached_input),
        cache_write=picos_per_token(price.input if price.cache_write is None else price.cache_write),
    )
