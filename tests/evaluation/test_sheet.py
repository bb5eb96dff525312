"""What stands on the axes of a picture."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxer.evaluation.sheet import ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.541, 1.026, [0.6, 0.7, 0.8, 0.9, 1.0]),
        (0.0, 0.115, [0.0, 0.02, 0.04, 0.06, 0.08, 0.1]),
        (0.0, 5432.0, [0.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0]),
    ],
)
def test_they_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


@given(st.floats(-10, 10), st.floats(1e-3, 1e6))
def test_there_are_some_and_not_many_and_all_inside(low: float, size: float) -> None:
    found = ticks(low, low + size)
    assert 2 <= len(found) <= 10
    assert all(low - 1e-9 <= tick <= low + size + 1e-9 for tick in found)
