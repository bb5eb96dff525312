"""The log: one line of JSON an event, whatever is in it."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxer.log import JSONLog


def logged(level: str = "info", least: str = "info", **fields: object) -> list[str]:
    stream = io.BytesIO()
    JSONLog(stream, lambda: 1_790_035_200.25, least)(level, "request", **fields)
    return stream.getvalue().decode().splitlines(keepends=True)


def test_an_event_is_one_line_with_its_time_in_utc() -> None:
    (line,) = logged(model="m-1", cost_usd="0.1")
    assert line == (
        '{"at":"2026-09-22T00:00:00.250Z","level":"info","event":"request","model":"m-1","cost_usd":"0.1"}\n'
    )


def test_what_is_below_the_level_is_not_written() -> None:
    assert [len(logged(level, "warning")) for level in ("debug", "info", "warning", "error")] == [0, 0, 1, 1]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_nothing_in_a_field_makes_a_second_line_or_a_bare_control_character(text: str) -> None:
    (line,) = logged(path=text)
    assert json.loads(line)["path"] == text
    assert line.rstrip("\n").isprintable() and line.isascii()


@pytest.mark.parametrize("text", ["\ud800", "a\udcffb"])
def test_half_a_surrogate_pair_is_written_as_something(text: str) -> None:
    (line,) = logged(path=text)
    assert json.loads(line)["event"] == "request"


def test_what_json_has_not_is_written_as_text() -> None:
    (line,) = logged(what=ValueError("no"), many={1, 2} - {2})
    assert json.loads(line)["what"] == "no"


def test_a_reader_that_left_stops_nothing() -> None:
    stream = io.BytesIO()
    log = JSONLog(stream, lambda: 0.0)
    stream.close()
    log("info", "request")
