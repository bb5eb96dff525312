"""The price table: what the shipped snapshot says, and whose model a name is taken for."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from muxer.money import Price, Rates, Tier, picos_per_token
from muxer.prices import ModelFacts, PriceTable, load_prices


@pytest.fixture(scope="module")
def table() -> PriceTable:
    return load_prices()


def known(table: PriceTable, kind: str, name: str, base_url: str | None = None) -> ModelFacts:
    facts = table.facts(kind, name, base_url)
    assert facts is not None
    return facts


def rates(table: PriceTable, kind: str, name: str) -> tuple[int, int]:
    price = known(table, kind, name).price
    assert price is not None
    return price.rates.input, price.rates.output


def test_says_where_and_when_its_prices_are_from(table: PriceTable) -> None:
    assert "LiteLLM" in table.source
    assert table.version.startswith("litellm 1.")
    assert date.fromisoformat(table.date) >= date(2026, 10, 21)


def test_has_as_many_models_as_it_says(table: PriceTable) -> None:
    assert table.count == len(list(table)) > 3000


def test_the_docs_name_the_snapshot_that_ships(table: PriceTable) -> None:
    page = Path(__file__).parent.parent.joinpath("docs", "prices.md").read_text(encoding="utf-8")
    assert f"| {table.version} | {table.date} | {table.count:,} text models |" in page


def test_every_entry_decodes_to_positive_whole_prices(table: PriceTable) -> None:
    priced = 0
    for entry in table.models.values():
        price = msgspec.json.decode(entry, type=ModelFacts).price
        if price:
            priced += 1
            for each in (price.rates, *(tier.rates for tier in price.tiers)):
                assert all(type(p) is int for p in (each.input, each.output, each.cached_input, each.cache_write))
                assert min(each.input, each.cached_input, each.cache_write) > 0
    assert priced > 3000


def test_tiers_come_in_ascending_order(table: PriceTable) -> None:
    for entry in table.models.values():
        price = msgspec.json.decode(entry, type=ModelFacts).price
        limits = [tier.above_input_tokens for tier in price.tiers] if price else []
        assert limits == sorted(set(limits))


def test_every_deprecation_is_a_date(table: PriceTable) -> None:
    for entry in table.models.values():
        day = msgspec.json.decode(entry, type=ModelFacts).deprecated_on
        assert not day or date.fromisoformat(day)


@pytest.mark.parametrize(
    ("kind", "name", "usd_per_million"),
    [
        ("openai", "gpt-4o", ("2.5", "10")),
        ("openai", "gpt-6.1-sol", ("2", "10")),
        ("openai", "gpt-6.1-terra", ("1", "5")),
        ("anthropic", "claude-sonnet-5-5", ("2", "10")),
        ("anthropic", "claude-haiku-5-5", ("0.1", "0.5")),
        ("mistral", "mistral-small-latest", ("0.15", "0.6")),
    ],
)
def test_knows_the_prices_vendors_publish(
    table: PriceTable, kind: str, name: str, usd_per_million: tuple[str, str]
) -> None:
    assert rates(table, kind, name) == tuple(picos_per_token(Decimal(usd)) for usd in usd_per_million)


def test_knows_that_a_long_prompt_is_dearer(table: PriceTable) -> None:
    long = Rates(input=4_000_000, output=15_000_000, cached_input=200_000, cache_write=5_000_000)
    price = known(table, "openai", "gpt-6.1-sol").price
    assert price is not None
    assert price.tiers == (Tier(272_000, long),)


def test_what_has_no_price_for_cached_input_pays_for_it_as_for_any(table: PriceTable) -> None:
    price = known(table, "openai", "gpt-3.5-turbo").price
    assert price == Price(Rates(input=500_000, output=1_500_000, cached_input=500_000, cache_write=500_000))


def test_knows_when_a_model_is_retired(table: PriceTable) -> None:
    assert known(table, "openai", "gpt-3.5-turbo").deprecated_on == "2026-10-23"
    assert known(table, "openai", "gpt-6.1-sol").deprecated_on == ""


def test_knows_what_a_model_can_do_and_how_much_it_takes(table: PriceTable) -> None:
    facts = known(table, "openai", "gpt-4o")
    assert facts.can == frozenset({"tools", "images", "json", "logprobs"})
    assert (facts.context_tokens, facts.max_output_tokens, facts.mode) == (128_000, 16_384, "chat")


def test_models_that_reason_take_no_sampling_and_give_no_logprobs(table: PriceTable) -> None:
    sol, sonnet = known(table, "openai", "gpt-6.1-sol"), known(table, "anthropic", "claude-sonnet-5-5")
    assert not sol.takes_sampling
    assert not sonnet.takes_sampling
    assert known(table, "mistral", "mistral-small-latest").takes_sampling
    assert sol.can == frozenset({"tools", "images", "json"})


@pytest.mark.parametrize("name", ["gpt-4o-search-preview", "gpt-audio", "o3-deep-research"])
def test_what_tokens_do_not_bound_has_no_price(table: PriceTable, name: str) -> None:
    assert known(table, "openai", name).price is None


def test_zero_is_not_taken_for_a_price(table: PriceTable) -> None:
    assert known(table, "litellm", "ollama/llama3").price is None


ENTRY = msgspec.Raw(b'{"mode":"chat"}')
NAMES = ("openai/gpt-4o", "groq/llama-4", "azure/gpt-4o", "anthropic/claude-haiku", "mistral/small", "gemini/flash")
SMALL = PriceTable(source="", version="", date="", count=6, models=dict.fromkeys(NAMES, ENTRY))


@pytest.mark.parametrize(
    ("kind", "name", "base_url"),
    [
        ("openai", "gpt-4o", None),
        ("openai", "gpt-4o", "https://api.openai.com/v1"),
        ("openai", "llama-4", "https://api.groq.com/openai/v1"),
        ("openai", "gpt-4o", "https://mine.openai.azure.com/openai/v1"),
        ("openai", "small", "https://API.MISTRAL.AI/v1"),
        ("anthropic", "claude-haiku", None),
        ("mistral", "small", None),
        ("gemini", "flash", None),
        ("litellm", "groq/llama-4", None),
        ("litellm", "gpt-4o", None),
        ("litellm", "claude-haiku", None),
    ],
)
def test_finds_the_model_of_a_vendor_it_knows(kind: str, name: str, base_url: str | None) -> None:
    assert SMALL.facts(kind, name, base_url) == ModelFacts(mode="chat")


@pytest.mark.parametrize(
    ("kind", "name", "base_url"),
    [
        ("openai", "gpt-4o", "http://localhost:11434/v1"),
        ("openai", "gpt-4o", "https://eu.api.openai.com/v1"),
        ("openai", "gpt-4o", "https://api.openai.com.example.org/v1"),
        ("openai", "gpt-4o", "https://api.openai.com@example.org/v1"),
        ("openai", "gpt-4o", "https://openai.azure.com/v1"),
        ("openai", "gpt-4o", "http://[broken"),
        ("openai", "gpt-4o", "api.openai.com"),
        ("openai", "gpt-4o", "https://api.groq.com/openai/v1"),
        ("openai", "gpt-4o-2024-08-06", None),
        ("openai", "groq/llama-4", None),
        ("anthropic", "claude-haiku", "http://localhost:8080"),
        ("litellm", "gpt-4o", "http://localhost:4000"),
        ("demo", "gpt-4o", None),
    ],
)
def test_never_prices_a_model_by_a_name_it_happens_to_share(kind: str, name: str, base_url: str | None) -> None:
    assert SMALL.facts(kind, name, base_url) is None


@pytest.mark.parametrize(
    ("name", "same"),
    [
        (
            "bedrock/converse/anthropic.claude-sonnet-4-5-20250929-v1:0",
            "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        (
            "bedrock/invoke/anthropic.claude-sonnet-4-5-20250929-v1:0",
            "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        ("cohere/command-a-03-2025", "cohere_chat/command-a-03-2025"),
    ],
)
def test_finds_a_model_however_litellm_is_told_to_call_it(table: PriceTable, name: str, same: str) -> None:
    assert known(table, "litellm", name) == known(table, "litellm", same)
    # A region may have a price of its own, so it is not left out.
    assert table.facts("litellm", "bedrock/us-east-1/anthropic.claude-sonnet-4-5-20250929-v1:0") is None


def test_suggests_the_name_that_was_likely_meant() -> None:
    assert SMALL.suggest("openai", "gpt-4oo") == "gpt-4o"
    assert SMALL.suggest("litellm", "grok/llama-4") == "groq/llama-4"


def test_suggests_nothing_from_another_vendor_and_nothing_far_off() -> None:
    assert SMALL.suggest("openai", "claude-haiku") is None
    assert SMALL.suggest("demo", "gpt-4o") is None
    assert SMALL.suggest("openai", "gpt-4o", "http://localhost:11434/v1") is None
