"""Whatever the file says: it loads or it is refused, soon, and no secret is in the words."""

import json
import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muxer.config.settings import Settings
from muxer.errors import ConfigInvalid
from tests.config.example import ENVIRON, FULL, load_text

SOON = timedelta(seconds=2)
SECRETS = [value.strip() for value in ENVIRON.values()]
PIECES = [
    *"{}[],:-&*!|>'\"%@`#?\n\t \\",
    "${",
    "$${",
    "}",
    "---",
    "<<",
    "null",
    "1e999",
    "0x1",
    "&a",
    "*a",
    "${ALICE_KEY}",
]


def _loads_or_refuses(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            load_text(Path(folder), data)
        except ConfigInvalid as error:
            assert error.faults
            told = str(error) + "".join(map(repr, error.faults))
            assert not any(secret in told for secret in SECRETS)


def _values() -> st.SearchStrategy[object]:
    names = st.sampled_from(
        ["gpt-4o", "openai", "heuristics", "${ALICE_KEY}", "${NO}", "auto", "code > 0", "10", "free"]
    )
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | names
    keys = st.sampled_from(["kind", "use", "name", "provider", "secret", "daily_usd", "when", "per", "api_key"])
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | names, inner, max_size=4)
    )


@given(st.binary(max_size=200))
@settings(deadline=SOON)
def test_any_bytes_load_or_are_refused(data: bytes) -> None:
    _loads_or_refuses(data)


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=40))
@settings(deadline=SOON)
def test_any_yaml_like_text_loads_or_is_refused(pieces: list[str]) -> None:
    _loads_or_refuses("".join(pieces).encode("utf-8", "surrogatepass"))


@given(st.integers(0, len(FULL)), st.integers(0, 30), st.lists(st.sampled_from(PIECES), max_size=3))
@settings(deadline=SOON)
def test_any_change_of_a_good_file_loads_or_is_refused(start: int, length: int, pieces: list[str]) -> None:
    _loads_or_refuses((FULL[:start] + "".join(pieces) + FULL[start + length :]).encode())


@given(st.dictionaries(st.sampled_from(Settings.__struct_fields__), _values(), max_size=8))
@settings(deadline=SOON, suppress_health_check=[HealthCheck.too_slow])
def test_any_sections_load_or_are_refused(sections: dict[str, object]) -> None:
    _loads_or_refuses(json.dumps(sections).encode())


@given(st.sampled_from(Settings.__struct_fields__), _values())
@settings(deadline=SOON)
def test_any_value_of_a_section_loads_or_is_refused(section: str, value: object) -> None:
    lines = [line for line in FULL.splitlines() if not line.startswith(f"{section}:")]
    _loads_or_refuses("\n".join([*lines, f"{section}: {json.dumps(value)}"]).encode())


def test_a_megabyte_of_anything_is_refused_soon() -> None:
    for piece in (
        "[",
        "{",
        "a: ",
        "- ",
        "x\n",
        "a: b\n",
        "'",
        "&a [*a]\n",
        "? ",
        "routes: [",
        "0",
        "1_0",
        "${",
        "# \n",
    ):
        _loads_or_refuses((piece * 1_000_000)[:1_000_000].encode())


def test_many_wrong_entries_are_refused_soon() -> None:
    models = "".join(f"  m{i}: {{use: [m{i + 1}], ordr: x}}\n" for i in range(20_000))
    routes = "".join(f"  - {{name: r{i}, use: [nobody{i}]}}\n" for i in range(10_000))
    _loads_or_refuses(f"version: 1\nplugins: []\nproviders: {{}}\nmodels:\n{models}routes:\n{routes}".encode())
