import json
from collections.abc import Callable

from muxer.prices import load_prices
from tests.cli.running import Ran

Run = Callable[..., Ran]


def test_the_origin_of_the_table_is_shown_with_its_age(muxer: Run) -> None:
    table = load_prices()
    out = muxer("prices").out
    assert table.source in out
    assert f"{table.date} (" in out
    assert f"models   {table.count:,}" in out


def test_the_origin_as_json(muxer: Run) -> None:
    origin = json.loads(muxer("prices", "--json").out)
    assert list(origin) == ["source", "version", "date", "age_days", "models"]
    assert origin["age_days"] >= 0


def test_a_full_name_shows_one_model_and_its_tiers(muxer: Run) -> None:
    ran = muxer("prices", "openai/gpt-6.1-sol")
    assert ran.code == 0
    assert [line[:4] for line in ran.lines[1:]] == [
        ["openai/gpt-6.1-sol", "-", "2", "10"],
        ["272,000", "4", "15", "0.2"],
    ]


def test_a_bare_name_shows_every_vendor(muxer: Run) -> None:
    names = [model["model"] for model in json.loads(muxer("prices", "gpt-4o", "--json").out)]
    assert {"openai/gpt-4o", "azure/gpt-4o"} <= set(names)
    assert all(name.endswith("/gpt-4o") for name in names)


def test_json_has_tiers(muxer: Run) -> None:
    (model,) = json.loads(muxer("prices", "openai/gpt-6.1-sol", "--json").out)
    assert model["price_usd_per_million"]["cache_write"] == "2.5"
    assert model["price_tiers"][0] == {
        "above_input_tokens": 272_000, "input": "4", "output": "15", "cached_input": "0.2", "cache_write": "5",
    }  # fmt: skip


def test_an_unknown_model_is_a_no_with_a_suggestion(muxer: Run) -> None:
    ran = muxer("prices", "openai/gpt4o")
    assert (ran.code, ran.out) == (1, "")
    assert "did you mean openai/gpt-4o" in ran.err


def test_a_misspelt_bare_name_is_suggested_too(muxer: Run) -> None:
    assert "gpt-6.1-sol" in muxer("prices", "gpt-6.1-soll").err


def test_what_is_like_nothing_says_how_to_price_it(muxer: Run) -> None:
    assert "price_usd_per_million" in muxer("prices", "!!!").err
