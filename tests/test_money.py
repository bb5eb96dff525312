"""Prices and amounts: whole numbers only, rounded up once, and never above the bound."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from muxer.money import FREE, PICOS_PER_NANO, Price, Rates, Tier, nanos, picos_per_token, usd
from muxer.types import Usage

PICOS = st.integers(0, 10**9)
TOKENS = st.integers(0, 2_000_000)
AMOUNTS = st.integers(-(10**18), 10**18)

rates = st.builds(Rates, PICOS, PICOS, PICOS, PICOS)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    limits = sorted(draw(st.sets(TOKENS, max_size=3)))
    return Price(draw(rates), tuple(Tier(limit, draw(rates)) for limit in limits))


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    plain, cached, written = draw(TOKENS), draw(TOKENS), draw(TOKENS)
    return Usage(plain + cached + written, draw(TOKENS), cached, written)


SOL = Price(
    Rates(input=2_000_000, output=10_000_000, cached_input=100_000, cache_write=2_500_000),
    (Tier(272_000, Rates(input=4_000_000, output=15_000_000, cached_input=200_000, cache_write=5_000_000)),),
)


@given(prices(), usages(), TOKENS, TOKENS)
def test_a_cost_never_exceeds_the_bound(price: Price, usage: Usage, more_in: int, more_out: int) -> None:
    bound = price.bound_nanos(usage.input_tokens + more_in, usage.output_tokens + more_out)
    assert price.cost_nanos(usage) <= bound


@given(prices(), TOKENS, TOKENS, TOKENS)
def test_a_bound_grows_with_the_tokens(price: Price, few_in: int, few_out: int, more: int) -> None:
    assert price.bound_nanos(few_in, few_out) <= price.bound_nanos(few_in + more, few_out + more)


@given(prices(), usages())
def test_a_cost_is_the_sum_of_its_parts_rounded_up_once(price: Price, usage: Usage) -> None:
    rates = price.rates_for(usage.input_tokens)
    plain = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
    picos = plain * rates.input + usage.output_tokens * rates.output
    picos += usage.cached_input_tokens * rates.cached_input + usage.cache_write_tokens * rates.cache_write
    assert 0 <= price.cost_nanos(usage) * PICOS_PER_NANO - picos < PICOS_PER_NANO


@given(prices(), usages())
def test_no_amount_is_a_float(price: Price, usage: Usage) -> None:
    bound = price.bound_nanos(usage.input_tokens, usage.output_tokens)
    assert type(price.cost_nanos(usage)) is int
    assert type(bound) is int


def test_one_pico_dollar_costs_a_whole_nano_dollar() -> None:
    price = Price(Rates(input=1))
    assert price.cost_nanos(Usage(input_tokens=1)) == 1
    assert price.cost_nanos(Usage(input_tokens=1000)) == 1
    assert price.cost_nanos(Usage(input_tokens=1001)) == 2


def test_a_long_input_is_dearer_as_a_whole_and_from_the_next_token_on() -> None:
    assert SOL.cost_nanos(Usage(input_tokens=272_000, output_tokens=100)) == 545_000_000
    assert SOL.cost_nanos(Usage(input_tokens=272_001, output_tokens=100)) == 1_089_504_000


def test_cached_and_written_tokens_have_their_own_rates() -> None:
    usage = Usage(input_tokens=1000, cached_input_tokens=600, cache_write_tokens=300)
    assert SOL.cost_nanos(usage) == 100 * 2000 + 600 * 100 + 300 * 2500


def test_a_bound_takes_the_dearest_input_there_is() -> None:
    assert SOL.bound_nanos(1000, 0) == 1000 * 2500
    assert SOL.bound_nanos(272_001, 0) == 272_001 * 5000


def test_a_bound_keeps_the_base_rate_where_a_tier_is_cheaper() -> None:
    price = Price(Rates(input=9000, output=9000), (Tier(10, Rates(input=1000, output=1000)),))
    assert price.bound_nanos(20, 1) == 21 * 9


@given(TOKENS, TOKENS)
def test_what_is_free_costs_nothing_and_holds_nothing(input_tokens: int, output_tokens: int) -> None:
    assert FREE.cost_nanos(Usage(input_tokens, output_tokens)) == 0
    assert FREE.bound_nanos(input_tokens, output_tokens) == 0


@given(AMOUNTS)
def test_dollars_are_written_exactly_and_read_back(amount: int) -> None:
    assert nanos(Decimal(usd(amount))) == amount


def test_dollars_are_written_without_needless_zeros() -> None:
    amounts = (0, 1, 10**9, 1_500_000_000, -250_000_000, 100 * 10**9)
    assert [usd(n) for n in amounts] == ["0", "0.000000001", "1", "1.5", "-0.25", "100"]


def test_dollars_beyond_a_nano_are_rounded_up() -> None:
    assert nanos(Decimal("0.0000000001")) == 1
    assert nanos(Decimal("10")) == 10 * 10**9


@given(PICOS)
def test_a_price_to_the_sixth_decimal_is_kept_exactly(picos: int) -> None:
    assert picos_per_token(Decimal(picos) / 1_000_000) == picos


def test_a_price_beyond_the_sixth_decimal_is_rounded_up() -> None:
    assert picos_per_token(Decimal("0.0375")) == 37_500
    assert picos_per_token(Decimal("0.0000001")) == 1
