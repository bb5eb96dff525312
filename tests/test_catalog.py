"""The models of a configuration: what the file says, and what the price table knows besides."""

from decimal import Decimal

import msgspec
import pytest
from msgspec.structs import replace

from muxer.catalog import Model, build_catalog
from muxer.config.pricing import price_of
from muxer.config.settings import Component, ModelSettings, PriceSettings, PriceTierSettings, Settings
from muxer.money import FREE, Price, Rates, Tier
from muxer.prices import ModelFacts, PriceTable
from tests.values import Nothing

KNOWN = ModelFacts(
    mode="chat",
    price=Price(Rates(1, 2, 3, 4)),
    context_tokens=1_000,
    max_output_tokens=100,
    can=frozenset({"tools", "json"}),
    takes_sampling=False,
    deprecated_on="2026-10-23",
)
TABLE = PriceTable(
    source="test", version="test 1", date="2026-01-01", count=1,
    models={"openai/gpt-x": msgspec.Raw(msgspec.json.encode(KNOWN))},
)  # fmt: skip
OPENAI = Component(name="main", kind="openai", settings=Nothing(), vendor="openai")


def catalogued(entry: ModelSettings, provider: Component = OPENAI) -> Model:
    settings = Settings(store=OPENAI, providers={"main": provider}, models={"mine": entry})
    return build_catalog(settings, TABLE).models["mine"]


def priced(input: str, output: str, **more: str) -> PriceSettings:
    return PriceSettings(input=Decimal(input), output=Decimal(output), **{k: Decimal(v) for k, v in more.items()})


def test_the_table_tells_what_the_file_leaves_out() -> None:
    model = catalogued(ModelSettings(provider="main", name="gpt-x"))
    assert model == Model(
        name="mine",
        provider="main",
        upstream="gpt-x",
        price=KNOWN.price,
        context_tokens=1_000,
        max_output_tokens=100,
        can=frozenset({"tools", "json"}),
        mode="chat",
        takes_sampling=False,
        deprecated_on="2026-10-23",
    )


def test_what_the_file_says_wins() -> None:
    entry = ModelSettings(
        provider="main", name="gpt-x", price="free", context_tokens=5, max_output_tokens=6, can=("images",)
    )
    model = catalogued(entry)
    assert (model.price, model.context_tokens, model.max_output_tokens) == (FREE, 5, 6)
    assert model.can == frozenset({"images"})


def test_a_model_nobody_knows_has_no_price_and_no_gates() -> None:
    model = catalogued(ModelSettings(provider="main"))
    assert (model.upstream, model.price, model.context_tokens, model.can) == ("mine", None, None, None)
    assert (model.max_output_tokens, model.takes_sampling) == (None, True)


def test_the_same_name_at_another_address_is_another_model() -> None:
    elsewhere = replace(OPENAI, base_url="http://localhost:11434/v1")
    assert catalogued(ModelSettings(provider="main", name="gpt-x"), elsewhere).price is None


def test_a_provider_that_cannot_be_asked_says_so_in_its_models() -> None:
    keyless = replace(OPENAI, unavailable="no api_key")
    assert catalogued(ModelSettings(provider="main"), keyless).unavailable == "no api_key"


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        (priced("0.15", "0.6"), Rates(150_000, 600_000, 150_000, 150_000)),
        (priced("3", "15", cached_input="0.3", cache_write="3.75"), Rates(3_000_000, 15_000_000, 300_000, 3_750_000)),
        (priced("1", "1", cached_input="0"), Rates(1_000_000, 1_000_000, 0, 1_000_000)),
        (priced("0.0000001", "0"), Rates(1, 0, 1, 1)),
    ],
    ids=["plain", "with a cache", "free from the cache", "rounded up"],
)
def test_prices_of_the_file_are_exact_pico_dollars_per_token(settings: PriceSettings, rates: Rates) -> None:
    assert price_of(ModelSettings(price_usd_per_million=settings), KNOWN) == Price(rates)


def test_price_tiers_are_put_in_order() -> None:
    tiers = tuple(
        PriceTierSettings(above_input_tokens=above, input=Decimal(above), output=Decimal(above)) for above in (200, 100)
    )
    price = price_of(ModelSettings(price_usd_per_million=priced("1", "1"), price_tiers=tiers), None)
    assert price is not None
    assert price.tiers == tuple(Tier(n, Rates(*[n * 1_000_000] * 4)) for n in (100, 200))


def test_groups_are_names_like_models() -> None:
    models = {"a": ModelSettings(provider="main"), "g": ModelSettings(use=("a",), order="weighted", weights=(1.0,))}
    catalog = build_catalog(Settings(store=OPENAI, providers={"main": OPENAI}, models=models), TABLE)
    assert ("a" in catalog, "g" in catalog, "x" in catalog) == (True, True, False)
    assert (catalog.groups["g"].use, catalog.prices) == (("a",), "test 1")
