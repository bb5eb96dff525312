import re

import pytest

from muxer.cli.output import Cell, Column, bad, good, print_json, print_table

COLUMNS = [Column("name"), Column("cost $", is_number=True), Column("spare", is_spare=True)]
ROWS: list[list[Cell]] = [["a", "0.25", good("x")], ["long name", "12", bad("y")], ["none", "-", "z"]]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return monkeypatch


def test_piped_tables_are_plain_and_decimal_points_stand_under_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, ROWS, ["total", "12.25", ""])
    assert capsys.readouterr().out.splitlines() == [
        "name       cost $  spare",
        "a            0.25  x",
        "long name   12     y",
        "none            -  z",
        "total       12.25",
    ]


def test_a_terminal_has_colour(terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, ROWS)
    out = capsys.readouterr().out
    assert "\x1b[32mx" in out
    assert "\x1b[31my" in out


def test_no_color_takes_the_colour_away(terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.setenv("NO_COLOR", "1")
    print_table(COLUMNS, ROWS)
    print_json({"a": 1})
    assert "\x1b[3" not in capsys.readouterr().out


def test_a_narrow_terminal_leaves_out_spare_columns(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.setenv("COLUMNS", "20")
    print_table(COLUMNS, ROWS)
    out = capsys.readouterr().out
    assert "spare" not in out
    assert "long name" in out


@pytest.mark.parametrize("words", ["[red]x[/red]", "\x1b[31mx\x1b[0m", "x\ry"])
def test_names_cannot_steer_the_terminal(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    print_table([Column("name")], [[words]])
    out = capsys.readouterr().out
    assert words.replace("\x1b", "?").replace("\r", "?") in out


def test_texts_are_broken_at_words_and_joints_and_numbers_are_whole(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.setenv("COLUMNS", "34")
    terminal.setenv("NO_COLOR", "1")
    columns = [Column("name"), Column("cost $", is_number=True), Column("why", wraps=True)]
    print_table(columns, [["claude-sonnet-of-the-team", "0.123456789", "it is too dear for this"]])
    words = [line.split() for line in re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()]
    assert words[2:] == [
        ["claude-", "0.123456789", "it", "is", "too"],
        ["sonnet-", "dear", "for"],
        ["of-the-", "this"],
        ["team"],
    ]
