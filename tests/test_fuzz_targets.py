"""The targets of `make check-atheris`: what they begin with, what they once found, and what hypothesis draws."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

FOUND = {
    "body": (
        b'{"a":1e400,,}',  # an error that the guard did not foresee, so the caller was told 500
        b'{"a":1,"a":1}\x00',
    ),
    "expression": (b'user in ["alice"] and 1 < z \x05< 5', b"code >= 1\r>=2"),
}
"""By target: inputs that broke a promise."""
CASES = [
    pytest.param(name, data, id=f"{name}-{number}")
    for name, (_, seeds) in TARGETS.items()
    for number, data in enumerate((*seeds, *FOUND.get(name, ())))
]


@pytest.mark.parametrize(("name", "data"), CASES)
def test_what_was_found_and_what_they_begin_with_is_as_promised(name: str, data: bytes) -> None:
    TARGETS[name][0](data)


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
@settings(max_examples=50)
def test_whatever_the_bytes_are(name: str, data: st.DataObject) -> None:
    TARGETS[name][0](data.draw(st.binary(max_size=60)))
