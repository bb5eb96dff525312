"""`muxer explain`: what it prints, and how it ends."""

import json
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
keys: [{name: ann, secret: s, user: ann}]
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
