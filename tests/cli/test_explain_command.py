"""`muxer explain`: what it prints, and how it ends."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.running import Ran

Run = Callable[..., Ran]
YAML = """\
version: 1
plugins: [heuristics, openai, sqlite]
providers: {main: {kind: openai, api_key: k}}
models:
  small: {provider: main, price_usd_per_million: {input: 1, output: 2}}
  large: {provider: main, can: [json], price_usd_per_million: {input: 10, output: 20}}
routes:
  - {name: code, when: "code >= 0.2", use: [large, small], hedge_after_s: 2}
  - {name: rest, use: [small]}
limits: [{per: user, daily_usd: 5}]
keys:
  - {name: ann, secret: s, user: ann}
  - {name: old, secret: t, expires: "2020-01-01T00:00:00Z"}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "routing.yaml").write_text(YAML)
    return tmp_path / "routing.yaml"


def test_a_question_is_explained_with_line_cost_and_limit(file: Path, muxer: Run) -> None:
    ran = muxer("explain", "Write a python function", "--config", str(file))
    assert ran.code == 0 and ran.out.startswith("auto → route code → large at main\n")
    for words in (
        "python",
        "code >= 0.2",
        "limits[0].daily_usd",
        "user anonymous, day",
        "$5 - 0 spent",
        "small is asked, too",
    ):
        assert words in ran.out, words
    assert not (file.parent / "muxer.db").exists()


def test_as_json_it_is_what_the_proxy_answers(file: Path, muxer: Run) -> None:
    told = json.loads(muxer("explain", "Hi", "--as", "ann", "--config", str(file), "--json").out)
    assert (told["route"], told["model"], told["caller"]["user"]) == ("rest", "small", "ann")
    assert [(rule["name"], rule["line"], rule["holds"]) for rule in told["rules"]] == [
        ("code", 8, False),
        ("rest", 9, True),
    ]


def test_a_whole_request_may_be_given(file: Path, muxer: Run, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"model": "large", "messages": [{"role": "user", "content": "Hi"}], "tools": 5}')
    assert muxer("explain", "-f", str(tmp_path / "r.json"), "--config", str(file)).code == 2
    (tmp_path / "r.json").write_text('{"model": "none", "messages": [{"role": "user", "content": "Hi"}]}')
    ran = muxer("explain", "-f", str(tmp_path / "r.json"), "--config", str(file))
    assert ran.code == 1 and "model_not_found" in ran.out


@pytest.mark.parametrize("words", [(), ("a", "-f", "b"), ("a", "--as", "nobody"), ("-f", "missing.json")])
def test_wrong_usage_is_2(file: Path, muxer: Run, words: tuple[str, ...]) -> None:
    ran = muxer("explain", *words, "--config", str(file))
    assert ran.code == 2 and ran.err


def test_what_the_limits_refuse_is_a_refusal(file: Path, muxer: Run) -> None:
    file.write_text(YAML.replace("daily_usd: 5", "daily_usd: 0.000001"))
    ran = muxer("explain", "Write a python function", "--config", str(file))
    assert ran.code == 1 and "refused with 402 budget_exceeded" in ran.out and "→ nobody" in ran.out


def test_a_key_that_expired_is_refused_as_the_proxy_does(file: Path, muxer: Run) -> None:
    ran = muxer("explain", "Hi", "--as", "old", "--config", str(file))
    assert ran.code == 1 and "the API key expired at 2020-01-01" in ran.err


def test_what_is_passed_over_is_told_by_its_reason(file: Path, muxer: Run, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(
        '{"messages": [{"role": "user", "content": "python code"}], "response_format": {"type": "json_object"}}'
    )
    text = YAML.replace("small: {provider: main,", "small: {provider: main, can: [],")
    file.write_text(text.replace("use: [large, small]", "use: [small, large]"))
    ran = muxer("explain", "-f", str(tmp_path / "r.json"), "--config", str(file))
    assert ran.out.startswith("auto → route code → large at main\n")
    assert ["json", "cannot", "do", "json", "small"] in [line.split() for line in ran.out.splitlines()], ran.out


@pytest.mark.parametrize("width", ["80", "50"])
def test_it_fits_the_terminal_with_thirty_models_of_long_names(
    file: Path, muxer: Run, monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    names = [f"team-research/meta-llama-3.3-instruct-turbo-70b-{number:02}" for number in range(30)]
    models = "".join(
        f"  {name}: {{provider: main, price_usd_per_million: {{input: {at}, output: 2}}}}\n"
        for at, name in enumerate(names)
    )
    use = f"use: [{', '.join(names)}], on_budget: downgrade"
    when = "code >= 0.9 and (complexity < 0.5 or user in ['alexandra.katharina@research.example.com', 'bob'])"
    rule = f'routes:\n  - {{name: a-rule-of-a-long-name-that-is-asked-first, when: "{when}", use: [small]}}\n'
    file.write_text(YAML.replace("routes:\n", models + rule).replace("use: [large, small]", use))
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    ran = muxer("explain", "Write a python function", "--config", str(file))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", ran.out).splitlines()
    table = lines[lines.index("The request") :]
    assert max(map(len, table)) <= int(width)
    whole = "".join(re.sub(r"\s", "", line) for line in table)
    assert all(name in whole or width == "50" for name in names) and "…" not in ran.out


ORDERS = """\
version: 1
plugins: [openai, sqlite]
providers: {main: {kind: openai, api_key: k}}
models:
  small: {provider: main, tier: 1, price_usd_per_million: {input: 1, output: 2}}
  dull: {provider: main, tier: 1, price_usd_per_million: {input: 5, output: 9}}
  large: {provider: main, tier: 2, price_usd_per_million: {input: 10, output: 20}}
routes:
  - {name: short, when: "chars < 10", use: [small, large], order: cascade, confidence: 0.7}
  - {name: rest, use: [dull, small, large], order: value}
"""


def test_a_cascade_says_who_is_asked_until_how_sure(tmp_path: Path, muxer: Run) -> None:
    (tmp_path / "routing.yaml").write_text(ORDERS)
    ran = muxer("explain", "Hi", "--config", str(tmp_path / "routing.yaml"))
    assert "cascade: small, then large, while an answer is less than 0.70 sure (by rule)" in ran.out


def test_by_value_each_candidate_has_its_quality_and_what_is_beaten_says_by_whom(tmp_path: Path, muxer: Run) -> None:
    (tmp_path / "routing.yaml").write_text(ORDERS)
    told = json.loads(
        muxer("explain", "Why is the sky blue?", "--config", str(tmp_path / "routing.yaml"), "--json").out
    )
    assert [(one["model"], one["gate"], one["quality"]) for one in told["candidates"]] == [
        ("large", None, 1.0),
        ("small", None, 0.5),
        ("dull", "dominated", None),
    ]
    assert told["candidates"][2]["why"].startswith("small is as good (0.50 >= 0.50) and costs $")
