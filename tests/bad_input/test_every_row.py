"""Each row B1 to B80 of RELIABILITY 2 has its test, or the reason why it has none."""

import re
from pathlib import Path

import pytest

from tests.bad_input import test_body_rows, test_caller_rows, test_http_rows, test_upstream_rows
from tests.bad_input.proven import ELSEWHERE, NOT_HERE

TESTS = Path(__file__).parent.parent
TABLES = (test_http_rows, test_body_rows, test_caller_rows, test_upstream_rows)
HERE = {
    *(row.id.split("-")[0] for table in TABLES for row in getattr(table, "ROWS", ())),
    *(
        f"B{found[1]}"
        for table in TABLES
        for name in vars(table)
        if (found := re.match(r"test_bad_input_b(\d+)_", name))
    ),
}


def test_every_row_is_proven_or_has_a_reason() -> None:
    rows = {f"B{number}" for number in range(1, 81)}
    assert rows - HERE - ELSEWHERE.keys() - NOT_HERE.keys() == set()
    assert (ELSEWHERE.keys() | NOT_HERE.keys()) - rows == set()


@pytest.mark.parametrize("place", sorted({place for places in ELSEWHERE.values() for place in places}))
def test_what_is_said_to_be_proven_elsewhere_is_a_test(place: str) -> None:
    file, _, name = place.partition("::")
    assert f"def {name}(" in (TESTS / file).read_text()
