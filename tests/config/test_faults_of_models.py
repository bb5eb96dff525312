"""Wrong models and the exact lines an operator reads."""

from pathlib import Path

import pytest

from tests.config.example import BASE, faults_of

# What is wrong with one more model, written as line 7.
IN_A_MODEL = [
    ("m: {}", "7:6: models.m: missing key 'provider'; or write use: to make it a group of models"),
    ("m: {provider: mane, price: free}", "7:17: models.m.provider: no provider 'mane'; did you mean 'main'?"),
    (
        "auto: {provider: main, price: free}",
        "7:3: models.auto: callers say auto to be routed; a model cannot have that name",
    ),
    (
        "m: {provider: main}",
        "7:6: models.m: no price is known for 'm' of provider 'main', and there is a budget (10 dollars a day for "
        "each user, unless the file has limits or says `limits: []`); "
        "write price_usd_per_million, or price: free",
    ),
    (
        "m: {provider: main, name: gpt-4oo}",
        "7:29: models.m.name: no price is known for 'gpt-4oo' of provider 'main', and there is a budget (10 dollars a "
        "day for each user, unless the file has limits or says `limits: []`); "
        "did you mean 'gpt-4o'? Or write price_usd_per_million, or price: free",
    ),
    ("m: {provider: main, price: fre}", "7:30: models.m.price: expected free, found 'fre'; did you mean 'free'?"),
    (
        "m: {provider: main, price_usd_per_million: {input: 1, output: nan}}",
        "7:65: models.m.price_usd_per_million.output: expected an amount such as 10 or 0.25, found 'nan'",
    ),
    (
        'm: {provider: main, price_usd_per_million: {input: "0.1", output: 1}}',
        "7:54: models.m.price_usd_per_million.input: expected an amount such as 10 or 0.25, found '0.1'; "
        "write it without quotes",
    ),
    (
        "m: {provider: main, price_usd_per_million: {input: 1}}",
        "7:46: models.m.price_usd_per_million: missing key 'output'",
    ),
    (
        "m: {provider: main, price: free, price_usd_per_million: {input: 1, output: 1}}",
        "7:23: models.m.price: give either price or price_usd_per_million",
    ),
    ("m: {provider: main, price: free, order: cheapest}", "7:36: models.m.order: only a group (use: ...) has this"),
    ("m: {use: []}", "7:12: models.m.use: expected at least 1, found 0"),
    (
        "m: {use: [free], provider: main}",
        "7:20: models.m.provider: a group of models has only use, order and what goes with it",
    ),
    ("m: {use: [fre]}", "7:13: models.m.use[0]: no model 'fre'; did you mean 'free'?"),
    ("m: {use: [m]}", "7:13: models.m.use[0]: a cycle: m -> m"),
    (
        "m: {provider: main, price: free, fallbacks: [nobody]}",
        "7:48: models.m.fallbacks[0]: no model 'nobody'; known: free, gpt-4o, m",
    ),
    (
        "m: {provider: main, price: free, can: [fly]}",
        "7:42: models.m.can[0]: expected one of embeddings, images, json, logprobs, tools, found 'fly'",
    ),
]


@pytest.mark.parametrize(("model", "line"), IN_A_MODEL)
def test_a_wrong_model_is_refused_with_its_place(tmp_path: Path, model: str, line: str) -> None:
    assert faults_of(tmp_path, f"{BASE}  {model}\n") == [f"routing.yaml:{line}"]


def test_every_cycle_is_told_along_its_way(tmp_path: Path) -> None:
    text = BASE + "  a: {use: [b]}\n  b: {use: [a]}\n  c: {provider: main, price: free, fallbacks: [c]}\n"
    assert [line.split(": ", 2)[2] for line in faults_of(tmp_path, text)] in (
        ["a cycle: a -> b -> a", "a cycle: c -> c"],
        ["a cycle: b -> a -> b", "a cycle: c -> c"],
    )


def test_without_a_hard_limit_a_price_may_be_unknown(tmp_path: Path) -> None:
    text = BASE + "  m: {provider: main}\nlimits: [{per: user, daily_usd: 1, hold: expected}]\n"
    assert faults_of(tmp_path, text) == []


def test_another_address_has_other_prices(tmp_path: Path) -> None:
    text = BASE.replace("main: {", "main: {base_url: 'http://localhost:1/v1', ")
    assert ["no price is known for 'gpt-4o'" in line for line in faults_of(tmp_path, text)] == [True]


def test_a_budget_of_one_model_asks_for_no_price_of_another(tmp_path: Path) -> None:
    text = BASE + "  m: {provider: main}\nlimits: [{per: user, daily_usd: 1, where: {model: MODEL}}]\n"
    assert faults_of(tmp_path, text.replace("MODEL", "gpt-4o")) == []
    (line,) = faults_of(tmp_path, text.replace("MODEL", "m"))
    assert line.startswith(
        "routing.yaml:7:6: models.m: no price is known for 'm' of provider 'main', and there is a budget;"
    )
