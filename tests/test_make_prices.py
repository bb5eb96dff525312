"""The script behind the price table: how one entry of LiteLLM's map is read."""

from decimal import Decimal

import pytest

from muxer.money import Price, Rates, Tier
from scripts.make_prices import Entry, models, price

PLAIN: Entry = {
    "mode": "chat",
    "litellm_provider": "openai",
    "input_cost_per_token": Decimal("2E-6"),
    "output_cost_per_token": Decimal("0.00001"),
}
RATES = Rates(input=2_000_000, output=10_000_000, cached_input=2_000_000, cache_write=2_000_000)


def test_what_has_no_rate_of_its_own_costs_what_input_costs() -> None:
    assert price("m", PLAIN) == Price(RATES)
    assert price("m", {**PLAIN, "cache_creation_input_token_cost": Decimal("0.0")}) == Price(RATES)


def test_reasoning_that_is_dearer_than_output_makes_all_output_so() -> None:
    found = price("m", {**PLAIN, "output_cost_per_reasoning_token": Decimal("0.00004")})
    assert found is not None
    assert found.rates.output == 40_000_000


def test_the_noise_of_floats_is_dropped_and_the_rest_rounded_up() -> None:
    noisy = {"input_cost_per_token": Decimal("8.000000000000001E-7"), "output_cost_per_token": Decimal("1.1E-12")}
    found = price("m", {**PLAIN, **noisy})
    assert found is not None
    assert (found.rates.input, found.rates.output) == (800_000, 2)


def test_only_the_plain_tiers_are_read() -> None:
    tier = {
        "input_cost_per_token_above_272k_tokens": Decimal("4E-6"),
        "output_cost_per_token_above_272k_tokens": Decimal("15E-6"),
        "input_cost_per_token_above_128k_tokens_batches": Decimal("1E-6"),
    }
    long = Rates(input=4_000_000, output=15_000_000, cached_input=4_000_000, cache_write=4_000_000)
    assert price("m", {**PLAIN, **tier}) == Price(RATES, (Tier(272_000, long),))


def test_prices_by_ranges_are_tiers_too() -> None:
    step = {"input_cost_per_token": Decimal("3E-6"), "output_cost_per_token": Decimal("20E-6")}
    ranges = [{**PLAIN, "range": [0, Decimal("256000.0")]}, {**step, "range": [Decimal("256000.0"), 1_000_000]}]
    long = Rates(input=3_000_000, output=20_000_000, cached_input=3_000_000, cache_write=3_000_000)
    assert price("m", {"mode": "chat", "tiered_pricing": ranges}) == Price(RATES, (Tier(256_000, long),))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("m", {"input_cost_per_token": 0, "output_cost_per_token": 0}),
        ("m", {"output_cost_per_token": Decimal("0.0")}),
        ("m", {"output_cost_per_token_above_272k_tokens": Decimal("15E-6")}),
        ("m", {"input_cost_per_request": Decimal("0.005")}),
        ("m", {"output_cost_per_video_token": Decimal("0.000012")}),
        ("openai/gpt-9-search-preview", {}),
    ],
)
def test_no_price_is_better_than_one_that_does_not_hold(name: str, changes: Entry) -> None:
    assert price(name, {**PLAIN, **changes}) is None


def test_a_key_that_names_its_vendor_wins_over_one_that_does_not() -> None:
    table = models(
        {"x/m": {**PLAIN, "litellm_provider": "x", "max_input_tokens": 7}, "m": {**PLAIN, "litellm_provider": "x"}}
    )
    assert list(table) == ["x/m"]
    assert table["x/m"].context_tokens == 7


def test_only_text_models_are_kept() -> None:
    assert models({"painter": {**PLAIN, "mode": "image_generation"}}) == {}


def test_an_entry_that_is_silent_about_abilities_leaves_them_unknown() -> None:
    table = models({"m": PLAIN, "n": {**PLAIN, "supports_vision": False}})
    assert table["openai/m"].can is None
    assert table["openai/n"].can == frozenset({"logprobs"})


def test_openai_models_take_sampling_only_when_they_do_not_reason_by_default() -> None:
    thinks = {**PLAIN, "supports_reasoning": True}
    table = models({"m": thinks, "n": {**thinks, "default_reasoning_effort": "none"}})
    assert not table["openai/m"].takes_sampling
    assert table["openai/n"].takes_sampling
