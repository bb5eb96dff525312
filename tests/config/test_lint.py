"""What is valid and cannot be meant is a warning with its place, and never a false alarm."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxer.config.lint import region_of
from muxer.expressions import compile_expression
from tests.config.example import ENVIRON, load_text

TYPES: dict[str, type] = {"a": float, "b": int, "flag": bool, "user": str}
NUMBERS = st.sampled_from(["0", "1", "2", "3"])
COMPARED = st.one_of(
    st.builds("{} {} {}".format, st.sampled_from("ab"), st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), NUMBERS),
    st.builds("{} {} {}".format, NUMBERS, st.sampled_from(["<", "<=", ">", ">="]), st.sampled_from("ab")),
    st.builds("{} < {} <= {}".format, NUMBERS, st.sampled_from("ab"), NUMBERS),
    st.sampled_from(["flag", "not flag", "user == 'x'", "user != 'x'", "user in ('x', 'y')", "user in ('y', 'z')"]),
)
CONDITIONS = st.recursive(
    COMPARED,
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(["and", "and", "or"]), inner),
    max_leaves=4,
)
VALUES = st.fixed_dictionaries(
    {
        "a": st.sampled_from([-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0]),
        "b": st.integers(-1, 4),
        "flag": st.booleans(),
        "user": st.sampled_from(["x", "y", "z", ""]),
    }
)
YAML = """\
version: 1
plugins: [openai, sqlite]
providers: {p: {kind: openai, api_key: "${OPENAI_API_KEY}"}}
models: {m: {provider: p, price: free, can: [tools]}, v: {provider: p, price: free, can: [images]}, g: {use: [m]}}
routes:
"""


@given(one=CONDITIONS, other=CONDITIONS, values=st.lists(VALUES, min_size=20, max_size=20))
def test_what_is_within_another_region_is_let_through_by_it(one: str, other: str, values: list[dict[str, Any]]) -> None:
    first, second = region_of(one), region_of(other)
    conditions = [compile_expression(words, TYPES) for words in (one, other)]
    for value in values:
        holds = [condition(value) for condition in conditions]
        assert not (first.is_empty and holds[0])
        assert not (first.within(second) and holds[0] and not holds[1])


@pytest.mark.parametrize(
    ("first", "second", "line", "says"),
    [
        ("chars > 10", "chars > 20 and has_tools", 2, "never reached: routes[0] matches all that this does"),
        ("stream", "stream and user == 'ann'", 2, "never reached: routes[0]"),
        ("user in ('ann', 'bob')", "user == 'bob'", 2, "never reached: routes[0]"),
        ("chars > 10 and chars < 5", "stream", 1, "no request can match this"),
        ("5 < chars < 5", "stream", 1, "no request can match this"),
    ],
)
def test_a_rule_that_nothing_reaches_is_warned_of(
    tmp_path: Path, first: str, second: str, line: int, says: str
) -> None:
    routes = f'  - {{name: a, when: "{first}", use: [m]}}\n  - {{name: b, when: "{second}", use: [m]}}\n'
    (warning,) = load_text(tmp_path, YAML + routes, ENVIRON).warnings
    assert f"{5 + line}:" in str(warning) and says in str(warning)


@pytest.mark.parametrize("second", ["chars > 5", "chars >= 10", "stream or chars > 20", "turns > 10"])
def test_a_rule_that_may_be_reached_is_not(tmp_path: Path, second: str) -> None:
    routes = f'  - {{name: a, when: "chars > 10", use: [m]}}\n  - {{name: b, when: "{second}", use: [m]}}\n'
    assert load_text(tmp_path, YAML + routes, ENVIRON).warnings == ()


@pytest.mark.parametrize(("share", "warns"), [("share: 10%, ", False), ("share: 1, ", True)])
def test_a_rule_for_a_part_leaves_the_rest_to_the_next(tmp_path: Path, share: str, warns: bool) -> None:
    routes = f'  - {{name: a, {share}when: "chars > 10", use: [m]}}\n  - {{name: b, when: "chars > 10", use: [v]}}\n'
    assert bool(load_text(tmp_path, YAML + routes, ENVIRON).warnings) == warns


@pytest.mark.parametrize(("use", "warns"), [("[m, g]", True), ("[m, v]", False), ("[v]", False)])
def test_candidates_that_cannot_do_what_the_rule_asks_for_are_warned_of(tmp_path: Path, use: str, warns: bool) -> None:
    routes = f'  - {{name: a, when: "has_images and chars > 10", use: {use}}}\n'
    warnings = [str(one) for one in load_text(tmp_path, YAML + routes, ENVIRON).warnings]
    assert bool(warnings) == warns
    assert all("none of these can do images" in one for one in warnings)


MODELS = """\
version: 1
plugins: [openai, sqlite]
providers: {{p: {{kind: openai, api_key: "${{OPENAI_API_KEY}}"}}}}
models:
  weak: {{provider: p, tier: 1, price_usd_per_million: {{input: 2, output: 8}}{weak}}}
  strong: {{provider: p, tier: 2, price_usd_per_million: {{input: 2, output: 6}}{strong}}}
  some: {{use: [strong]}}
"""


@pytest.mark.parametrize(
    ("lists", "place"),
    [
        ("  all: {use: [strong, weak]}\nroutes: [{name: a, use: [strong]}]\n", "8:23: models.all.use[1]: dearer than"),
        ("routes:\n  - {name: a, use: [some, weak]}\n", "9:27: routes[0].use[1]: dearer than 'strong' at every part"),
    ],
)
def test_a_candidate_that_another_beats_is_warned_of_at_its_place(tmp_path: Path, lists: str, place: str) -> None:
    (warning,) = load_text(tmp_path, MODELS.format(weak="", strong="") + lists, ENVIRON).warnings
    assert place in str(warning) and "weaker by tier (1 < 2)" in str(warning)


@pytest.mark.parametrize(
    ("weak", "strong"),
    [
        (", can: [images]", ", can: [tools]"),  # it sees, the other does not
        (", context_tokens: 9000", ", context_tokens: 8000"),
        ("", ", max_output_tokens: 100"),
        ("", ", price_tiers: [{above_input_tokens: 9, input: 3, output: 9}]"),  # long prompts are dearer there
    ],
)
def test_a_candidate_with_something_of_its_own_is_not(tmp_path: Path, weak: str, strong: str) -> None:
    text = MODELS.format(weak=weak, strong=strong) + "routes: [{name: a, use: [strong, weak]}]\n"
    assert load_text(tmp_path, text, ENVIRON).warnings == ()


def test_a_candidate_of_the_same_tier_or_none_is_not(tmp_path: Path) -> None:
    routes = "routes: [{name: a, use: [strong, weak]}]\n"
    for tier in ("tier: 2, ", ""):
        text = MODELS.format(weak="", strong="").replace("tier: 1, ", tier)
        assert load_text(tmp_path, text + routes, ENVIRON).warnings == ()
