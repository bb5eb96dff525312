"""Chances against what happened, in groups."""

import pytest

from muxer.evaluation.reliability import GROUPS, drawn, groups


def test_groups_are_of_about_the_same_size_and_rise() -> None:
    found = groups([at / 100 for at in range(100)], [at >= 50 for at in range(100)])
    assert [one.count for one in found] == [10] * GROUPS
    assert [one.said for one in found] == sorted(one.said for one in found)
    assert [one.happened for one in found] == [0.0] * 5 + [1.0] * 5
    assert all(one.low <= one.happened <= one.high for one in found)


def test_equal_chances_are_one_group_with_the_share_that_happened() -> None:
    (only,) = groups([0.3] * 50, [at < 15 for at in range(50)])
    assert (only.count, only.happened) == (50, 0.3)
    assert only.said == pytest.approx(0.3)
    # Wilson's interval of 15 in 50, as R's `binom.confint(15, 50, methods="wilson")` has it.
    assert [only.low, only.high] == pytest.approx([0.1910, 0.4375], abs=1e-3)


def test_a_picture_has_a_point_for_each_group() -> None:
    found = groups([0.1] * 10 + [0.9] * 10, [False] * 10 + [True] * 10)
    assert str(drawn(found)).count("<circle") == len(found) == 2
