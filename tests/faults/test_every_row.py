"""Each row F1 to F25 of RELIABILITY 3 has its test, a part of `make chaos`, or the reason why it has none."""

import re
from pathlib import Path

import pytest

from tests.chaos.scenes import SCENES
from tests.faults import test_process_rows, test_upstream_rows
from tests.faults.proven import ELSEWHERE, IN_CHAOS, NOT_HERE

TESTS = Path(__file__).parent.parent
HERE = {
    f"F{found[1]}"
    for table in (test_process_rows, test_upstream_rows)
    for name in vars(table)
    if (found := re.match(r"test_fault_f(\d+)_", name))
}


def test_every_row_is_proven_or_has_a_reason() -> None:
    rows = {f"F{number}" for number in range(1, 26)}
    assert rows - HERE - ELSEWHERE.keys() - IN_CHAOS.keys() == set()
    assert (HERE | ELSEWHERE.keys() | IN_CHAOS.keys() | NOT_HERE.keys()) - rows == set()


def test_what_is_said_to_be_in_the_chaos_run_is_played_there() -> None:
    assert IN_CHAOS.keys() <= {scene.row for scene in SCENES}


@pytest.mark.parametrize("place", sorted({place for places in ELSEWHERE.values() for place in places}))
def test_what_is_said_to_be_proven_elsewhere_is_a_test(place: str) -> None:
    file, _, name = place.partition("::")
    assert f"def {name}(" in (TESTS / file).read_text()
