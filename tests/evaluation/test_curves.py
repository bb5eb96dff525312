"""Measures of a routing score: numbers worked out by hand, and what must hold for any data."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxer.evaluation.curves import Ordered, intervals, measures, percentile
from muxer.evaluation.rows import Pair

STRONG, CHEAP = (1.0, 1.0, 1.0, 0.0), (0.0, 1.0, 0.0, 0.0)
PAIRS = [Pair(strong, cheap, 10.0, 1.0) for strong, cheap in zip(STRONG, CHEAP, strict=True)]


def of(scores: Sequence[float], pairs: Sequence[Pair] = PAIRS) -> dict[str, float]:
    return measures(Ordered(scores, pairs))


def test_measures_are_what_one_works_out_by_hand() -> None:
    # Shares 0, 25, 50, 75, 100 % recover 0, 50, 50, 100, 100 % of the gap between 0.25 and 0.75.
    found = of((4, 3, 2, 1))
    expected = {
        "strong": 0.75, "cheap": 0.25, "apgr": 0.62, "apgr_full": 0.625, "cpt50": 0.25, "cpt80": 0.65, "best_q": 0.75,
        "pgr@10": 0.2, "pgr@20": 0.4, "pgr@30": 0.5, "pgr@50": 0.5, "auroc": 0.75,
        "q@$25": 0.25 + 1.5 / 9, "q@$50": 0.5, "q@$75": 0.5 + 6.5 / 9 - 0.5,
        "save@eq": 0.225, "save@99q": 0.225, "save@95g": 0.243, "usd1k_strong": 10_000, "usd1k_cheap": 1_000,
    }  # fmt: skip
    assert found == pytest.approx(expected, abs=1e-9)


def test_the_order_of_the_prompts_does_not_matter() -> None:
    turned = Ordered((1, 2, 3, 4), PAIRS[::-1])
    assert measures(turned) == pytest.approx(of((4, 3, 2, 1)))


def test_equal_scores_are_as_good_as_chance() -> None:
    found = of((7, 7, 7, 7))
    assert (found["apgr"], found["apgr_full"], found["auroc"]) == pytest.approx((0.5, 0.5, 0.5))
    assert (found["cpt50"], found["cpt80"]) == pytest.approx((0.5, 0.8))


def test_without_costs_there_is_no_money() -> None:
    found = of((4, 3, 2, 1), [Pair(pair.strong, pair.cheap) for pair in PAIRS])
    assert not any(name.startswith(("save", "usd", "q@")) for name in found)


def test_models_of_equal_quality_have_no_gap_to_recover() -> None:
    found = of((2, 1), [Pair(1.0, 0.0), Pair(0.0, 1.0)])
    assert math.isnan(found["apgr"]) and math.isnan(found["cpt50"])
    assert found["best_q"] == 1.0


def test_intervals_are_the_same_for_the_same_seed_and_enclose_what_is_measured() -> None:
    ordered = Ordered([at % 7 for at in range(60)], [Pair(at % 3 > 0, at % 5 > 2) for at in range(60)])
    first, again, other = (intervals(ordered, 50, seed, lambda more: None) for seed in (1, 1, 2))
    assert first == again != other
    low, high = first["apgr"]
    assert low < measures(ordered)["apgr"] < high


def test_a_weight_counts_a_prompt_so_often() -> None:
    weighed = measures(Ordered((4, 3, 2, 1), PAIRS), (2, 0, 1, 3))
    repeated = of((4, 4, 2, 1, 1, 1), [PAIRS[at] for at in (0, 0, 2, 3, 3, 3)])
    assert weighed == pytest.approx(repeated)


def test_percentiles_lie_on_straight_lines() -> None:
    assert percentile([4.0, 1.0, math.nan, 3.0, 2.0], 50) == 2.5
    assert math.isnan(percentile([], 50))


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), min_size=2, max_size=40))
def test_no_score_beats_the_oracle(rows: list[tuple[int, bool, bool]]) -> None:
    pairs = [Pair(float(strong), float(cheap)) for _, strong, cheap in rows]
    curve = Ordered([score for score, _, _ in rows], pairs).curve()
    best = Ordered([pair.strong - pair.cheap for pair in pairs], pairs).curve()
    for share, quality in zip(curve.shares, curve.qualities, strict=True):
        assert quality <= best.quality(share) + 1e-9
