"""What `bench.routing` says of figures: which promises are missed, and how they are drawn. The figures are made up."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import msgspec
import pytest

from bench import rules
from bench.routing import gain, main
from bench.routing_found import LEFT_OUT, RULES, WITHIN, Found, Gain, OfSet, Ranked, missed
from bench.routing_plot import drawn
from bench.routing_tables import tables
from muxer.evaluation.curves import Curve, Ordered
from muxer.evaluation.rows import Cell, Pair, Row

SVG = "{http://www.w3.org/2000/svg}"
CURVE = Curve([0.0, 1.0], [0.5, 0.7], [0.001, 0.01])
ALIKE = Gain(0.0, -0.01, 0.01)


def a_set(within: float, left_out: float, over_rules: Gain = ALIKE) -> OfSet:
    values = {"random": 0.5, "length": 0.55, RULES: 0.5, WITHIN: within, LEFT_OUT: left_out, "oracle": 1.2}
    ranked = {way: Ranked(value, value - 0.02, value + 0.02, 0.1, CURVE) for way, value in values.items()}
    return OfSet("big", "small", ranked, over_rules)


def test_what_was_promised_and_kept_is_not_missed() -> None:
    assert list(missed(Found({"mmlu_pro": a_set(0.75, 0.55), "other": a_set(0.3, 0.55)}))) == []


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (a_set(0.74, 0.6), "mmlu_pro: 0.740 within the set"),
        (a_set(0.8, 0.47), "mmlu_pro: 0.470 with the set left out"),
        (a_set(0.8, 0.54), "0.540 is the mean"),
        (
            a_set(0.8, 0.6, Gain(-0.03, -0.05, -0.01)),
            "mmlu_pro: learned from the other sets it is worse than the rules",
        ),
    ],
)
def test_each_promise_that_is_not_kept_is_named(one: OfSet, told: str) -> None:
    assert [words[: len(told)] for words in missed(Found({"mmlu_pro": one}))][:1] == [told]


def test_an_interval_that_holds_nothing_lost_is_not_worse_than_the_rules() -> None:
    assert list(missed(Found({"mmlu_pro": a_set(0.8, 0.6, Gain(-0.03, -0.05, 0.001))}))) == []


@pytest.mark.parametrize(("within", "code"), [(0.8, 0), (0.7, 1)])
def test_what_was_kept_is_checked_and_drawn_again(
    within: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept.json"
    kept.write_bytes(msgspec.json.encode(Found({"mmlu_pro": a_set(within, 0.6), "routellm_mmlu": a_set(0.7, 0.6)})))
    words = ["routing", "--from", str(kept), "--plot", str(tmp_path), "--check"]
    monkeypatch.setattr("sys.argv", words)
    assert main() == code
    assert {path.name for path in tmp_path.glob("*.svg")} == {"routing-apgr.svg", "routing-routellm-mmlu.svg"}


def test_the_tables_have_a_line_a_set() -> None:
    one = a_set(0.7, 0.6)
    one.ranked.update(dict.fromkeys(("rules before", "rules now"), one.ranked["length"]))
    lines = list(tables(Found({"one": one, "other": one})))
    within, left_out = "0.700 [0.680, 0.720]; 10.0 %", "0.600 [0.580, 0.620]; 10.0 %"
    assert lines[2] == f"| one | 0.550; 10.0 % | 0.500; 10.0 % | {within} | {left_out} | 1.200; 10.0 % |"
    rules_cell = "0.550 [0.530, 0.570]; 10.0 %"
    assert lines[7] == f"| one | 0.5; 10.0 % | {rules_cell} | {rules_cell} | +0.0000 [-0.0100, +0.0100] |"


def test_the_picture_names_the_sets_and_shows_what_leaves_its_frame() -> None:
    wide = a_set(0.6, 0.6)
    wide.ranked[WITHIN] = msgspec.structs.replace(wide.ranked[WITHIN], low=-3.0, high=9.0)
    svg = drawn(Found({"one": a_set(0.7, 0.6), "other": wide}))["routing-apgr.svg"]
    picture = ElementTree.fromstring(svg)
    assert {"one", "other", "chance", WITHIN, LEFT_OUT} <= {words.text for words in picture.iter(f"{SVG}text")}
    assert len([shape for shape in picture.iter(f"{SVG}path") if shape.get("d", "").endswith("Z")]) == 2
    assert "prefers-color-scheme:dark" in svg and len(svg) < 60_000


def test_the_gain_of_an_order_is_over_the_same_prompts() -> None:
    pairs = [Pair(1.0, 0.0), Pair(1.0, 1.0)] * 20
    knows, errs = Ordered([1.0, 0.0] * 20, pairs), Ordered([0.0, 1.0] * 20, pairs)
    found = gain(knows, errs, 20)
    assert 0.2 < found.low < found.high <= 0.25
    assert found.value == pytest.approx(0.25)
    assert gain(knows, knows, 20) == Gain(0.0, 0.0, 0.0)


def test_the_rules_before_look_for_words_wherever_they_stand() -> None:
    prompts = {
        "Write a Python function to sort a list": "code",
        "Analyze how merge sort behaves": "complex",
        "What is 2+2?": "simple",
        "Which class of ship is this?": "code",
        "Prove that there are infinitely many primes. " * 3: "general",
    }
    assert {prompt: rules.route(prompt) for prompt in prompts} == prompts


def test_the_rules_now_are_those_of_the_file_that_ships() -> None:
    prompts = (
        "Write a Python function to sort a list",
        "What is the capital of France?",
        "Tell me about climate change",
    )
    assert rules.now([Row(prompt=words, models={"any": Cell(1.0)}) for words in prompts]) == [1.0, 0.0, 0.5]
