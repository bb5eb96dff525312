"""The models of a configuration with everything known about them: who serves them, what they cost, what they can do."""

from collections.abc import Mapping

from msgspec import Struct

from muxer.config.pricing import price_of
from muxer.config.settings import Component, ConfidenceBy, ModelSettings, Order, Settings
from muxer.money import Price
from muxer.prices import ModelFacts, PriceTable


class Model(Struct, frozen=True, kw_only=True):
    """One model as callers name it. `can` None and missing sizes mean that nobody knows: no gate applies then.

    `mode` is what the price table says it is for: chat, responses, completion, embedding; '' where it does not. Of two
    models with a `tier` the one with the higher is the stronger.
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
    tier: int | None = None
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
    confidence: float | None = None
    confidence_by: ConfidenceBy = "rule"


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
        name: Group(
            use=entry.use,
            order=entry.order,
            weights=entry.weights,
            confidence=entry.confidence,
            confidence_by=entry.confidence_by,
        )
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
        tier=entry.tier,
        unavailable=provider.unavailable,
        deprecated_on=facts.deprecated_on,
    )
