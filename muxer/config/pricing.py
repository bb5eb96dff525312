"""What a model costs by the file, or by the price table where the file does not say."""

from muxer.config.settings import ModelSettings, PriceSettings
from muxer.money import FREE, Price, Rates, Tier, picos_per_token
from muxer.prices import ModelFacts


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
