import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.running import Ran

Run = Callable[..., Ran]


def _ids(ran: Ran) -> list[str]:
    return [record["id"] for record in json.loads(ran.out)]


def test_the_newest_comes_first_with_what_it_cost(recorded: Path, muxer: Run) -> None:
    titles, failed, simple, code = muxer("requests").lines
    assert titles == ["time", "(UTC)", "id", "model", "route", "user", "state", "in", "out", "cost", "$", "ms", "error"]
    assert failed[2:6] + failed[-1:] == ["small", "default", "bob", "failed", "upstream_unreachable"]
    assert simple[2:6] == ["small", "default", "alice", "done"]
    assert code[2:6] == ["big", "code", "alice", "done"]
    assert float(code[-3]) > float(simple[-3]) > 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--user", "alice"], 2),
        (["--model", "small"], 2),
        (["--route", "code"], 1),
        (["--user", "bob", "--route", "code"], 0),
        (["--since", "1h"], 3),
        (["--since", "0s"], 0),
        (["--limit", "2"], 2),
    ],
)
def test_filters_pick(recorded: Path, muxer: Run, words: list[str], expected: int) -> None:
    assert len(_ids(muxer("requests", "--json", *words))) == expected


def test_a_limit_that_cuts_says_so_beside_the_answer(recorded: Path, muxer: Run) -> None:
    assert "the newest 2" in muxer("requests", "--limit", "2").err
    assert muxer("requests", "--limit", "4").err == ""


def test_an_id_shows_the_whole_record(recorded: Path, muxer: Run) -> None:
    newest = _ids(muxer("requests", "--json"))[0]
    record = json.loads(muxer("requests", newest).out)
    assert (record["id"], record["state"], record["user"]) == (newest, "failed", "bob")
    assert record["attempts"][0]["outcome"] == "none"


def test_an_unknown_id_is_a_no(recorded: Path, muxer: Run) -> None:
    ran = muxer("requests", "req_nobody")
    assert (ran.code, ran.out) == (1, "")
    assert "no request 'req_nobody'" in ran.err


def test_without_a_store_there_is_nothing_and_none_is_made(routing: Path, muxer: Run) -> None:
    assert muxer("requests") == Ran(0, "no requests recorded yet in muxer.db\n", "")
    assert muxer("requests", "--json").out == "[]\n"
    assert muxer("requests", "req_nobody").code == 1
    assert [path.name for path in routing.parent.iterdir()] == ["routing.yaml"]


def test_filters_that_match_nothing_say_so(recorded: Path, muxer: Run) -> None:
    assert muxer("requests", "--user", "carol") == Ran(0, "no request in muxer.db matches\n", "")


@pytest.mark.parametrize("words", ["7", "d", "3y", "-1h", "1.5h", "7 d", ""])
def test_what_is_no_duration_is_wrong_usage(muxer: Run, words: str) -> None:
    ran = muxer("requests", f"--since={words}")
    assert ran.code == 2
    assert f"{words!r} is no duration: write a number and one of s, m, h, d, w" in ran.err


def test_a_limit_is_a_number_from_one(muxer: Run) -> None:
    assert muxer("requests", "--limit", "0").code == 2


def test_a_file_that_is_not_valid_is_told_with_its_line(routing: Path, muxer: Run) -> None:
    routing.write_text("version: 2\n")
    ran = muxer("requests")
    assert ran.code == 2
    assert "routing.yaml:1:10: version" in ran.err


def test_a_narrow_terminal_keeps_whole_ids(recorded: Path, muxer: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = _ids(muxer("requests", "--json"))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    out = muxer("requests").out
    assert "\x1b[" in out
    assert all(id in out for id in ids)
    assert "upstream_unreachable" not in out
