"""Thresholds of a cascade against a walk over every one of them, prompt by prompt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxer.evaluation.cascades import ranked, thresholds
from muxer.evaluation.curves import measures
from muxer.evaluation.rows import Pair

STRONG, CHEAP, SURE = (1.0, 1.0, 1.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.3, 0.9, 0.8, 0.5)
PAIRS = [Pair(strong, cheap, 10.0, 1.0) for strong, cheap in zip(STRONG, CHEAP, strict=True)]
Prompt = tuple[int, float, float, float, float]
PROMPT = st.tuples(st.integers(0, 40), *[st.sampled_from((0.0, 0.25, 0.5, 1.0))] * 2, *[st.floats(0.01, 9)] * 2)


def test_a_prompt_that_is_asked_again_pays_for_both_answers() -> None:
    # Thresholds above 0.3, 0.5, 0.8 and 0.9 recover 50, 50, 100 and 100 % of the gap, and each costs 2.50 more.
    curve = ranked(SURE, PAIRS).curve()
    assert (curve.qualities, curve.usd) == ([0.25, 0.5, 0.5, 0.75, 0.75], [1.0, 3.5, 6.0, 8.5, 11.0])
    expected = {
        "apgr": 0.62, "cpt50": 0.25, "cpt80": 0.65, "usd1k_strong": 10_000, "usd1k_cheap": 1_000,
        "save@eq": 0.15, "save@99q": 0.15, "save@95g": 0.17, "q@$25": 0.25 + 1.5 / 10, "q@$50": 0.5,
    }  # fmt: skip
    found = measures(ranked(SURE, PAIRS))
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_a_cascade_that_asks_nearly_all_again_costs_more_than_the_strong_model() -> None:
    turned = [1 - sure for sure in SURE]
    assert measures(ranked(turned, PAIRS))["save@eq"] == pytest.approx(-0.1)


def test_no_threshold_asks_again_where_the_model_was_quite_sure() -> None:
    assert thresholds([0.5, 1.0], [Pair(1, 1), Pair(1, 0)]) == []
    assert [one.confidence for one in thresholds([1.0, 0.9999], [Pair(1, 1), Pair(1, 0)])] == [1.0, 1.0]


def test_a_model_as_good_as_the_strong_one_needs_no_threshold() -> None:
    assert [(one.confidence, one.asked_again) for one in thresholds([0.2], [Pair(0, 1)])] == [(0.0, 0)] * 2


def played(prompts: list[Prompt], threshold: float) -> tuple[float, float]:
    """Quality and dollars of all prompts, one after the other."""
    quality = usd = 0.0
    for sure, strong, cheap, strong_usd, cheap_usd in prompts:
        is_given = sure / 40 >= threshold
        quality += cheap if is_given else strong
        usd += cheap_usd + (0 if is_given else strong_usd)
    return quality / len(prompts), usd / len(prompts)


@given(st.lists(PROMPT, min_size=1, max_size=30))
def test_it_is_the_least_threshold_that_keeps_the_quality(prompts: list[Prompt]) -> None:
    pairs = [Pair(*prompt[1:]) for prompt in prompts]
    found = thresholds([sure / 40 for sure, *_ in prompts], pairs)
    strong = sum(pair.strong for pair in pairs) / len(pairs)
    # Certainties are fortieths, so that a threshold in each gap stands for all of it; nothing is below 0.
    tried = [0.0, *((step + 0.5) / 40 for step in range(40))]
    for keeps in (1.0, 0.99):
        enough = [threshold for threshold in tried if played(prompts, threshold)[0] >= keeps * strong - 1e-9]
        one = next((one for one in found if one.keeps == keeps), None)
        assert (one is None) == (not enough)
        if one is not None:
            assert played(prompts, one.confidence) == pytest.approx(played(prompts, enough[0]))
            assert (one.quality, one.usd) == pytest.approx(played(prompts, one.confidence))
            assert one.asked_again == sum(sure / 40 < one.confidence for sure, *_ in prompts)
