"""Money as integers: nano-dollars for amounts, pico-dollars per token for prices (RELIABILITY S1)."""

from decimal import ROUND_CEILING, Decimal

from msgspec import Struct

from muxer.types import Usage

NANOS_PER_USD = 1_000_000_000
PICOS_PER_NANO = 1_000


class Rates(Struct, frozen=True):
    """Pico-dollars per token, which is the same number as micro-dollars per million tokens."""

    input: int = 0
    output: int = 0
    cached_input: int = 0
    cache_write: int = 0


class Tier(Struct, frozen=True):
    """Rates for the whole request once its input is longer than `above_input_tokens`."""

    above_input_tokens: int
    rates: Rates


class Price(Struct, frozen=True):
    """What a model costs: base rates, and dearer tiers for long inputs in ascending order."""

    rates: Rates
    tiers: tuple[Tier, ...] = ()

    def rates_for(self, input_tokens: int) -> Rates:
        """The rates in force for a request with that many input tokens."""
        rates = self.rates
        for tier in self.tiers:
            if input_tokens > tier.above_input_tokens:
                rates = tier.rates
        return rates

    def cost_nanos(self, usage: Usage) -> int:
        """What the usage costs, rounded up once to whole nano-dollars (S1)."""
        rates = self.rates_for(usage.input_tokens)
        plain = max(0, usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens)
        picos = (
            plain * rates.input
            + usage.cached_input_tokens * rates.cached_input
            + usage.cache_write_tokens * rates.cache_write
            + usage.output_tokens * rates.output
        )
        return -(-picos // PICOS_PER_NANO)

    def bound_nanos(self, input_tokens: int, output_tokens: int) -> int:
        """The most that many tokens can cost: input at the dearest rate reachable (S3)."""
        rates = self.rates
        dearest_input, dearest_output = max(rates.input, rates.cache_write, rates.cached_input), rates.output
        for tier in self.tiers:
            if input_tokens > tier.above_input_tokens:
                rates = tier.rates
                dearest_input = max(dearest_input, rates.input, rates.cache_write, rates.cached_input)
                dearest_output = max(dearest_output, rates.output)
        return -(-(input_tokens * dearest_input + output_tokens * dearest_output) // PICOS_PER_NANO)


FREE = Price(Rates())


def picos_per_token(usd_per_million: Decimal) -> int:
    """Turns a price in dollars per million tokens into pico-dollars per token, rounding up past the sixth decimal."""
    return int((usd_per_million * 1_000_000).to_integral_value(ROUND_CEILING))


def nanos(usd: Decimal) -> int:
    """Turns dollars into nano-dollars, rounding up past the ninth decimal."""
    return int((usd * NANOS_PER_USD).to_integral_value(ROUND_CEILING))


def most_here(cost_nanos: int, bound_here_nanos: int, bound_nanos: int) -> int:
    """The most of a cost that some of its attempts can have made, when nobody knows how it was split: what they may
    cost at most (`bound_here_nanos`, of `bound_nanos` for all of them), and all that passes the bounds (I1)."""
    return min(cost_nanos, bound_here_nanos + max(0, cost_nanos - bound_nanos))


def usd(amount_nanos: int) -> str:
    """Writes nano-dollars as a decimal string in dollars, exact and without needless zeros."""
    sign = "-" if amount_nanos < 0 else ""
    whole, rest = divmod(abs(amount_nanos), NANOS_PER_USD)
    return f"{sign}{whole}.{rest:09d}".rstrip("0").rstrip(".") if rest else f"{sign}{whole}"
