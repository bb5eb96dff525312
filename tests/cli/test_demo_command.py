import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.cli.running import ROUTING, Ran

Run = Callable[..., Ran]
KEY = "sk-of-the-tests"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("serving")
    (path / "routing.yaml").write_text(ROUTING)
    return path


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    """A running `muxer serve --demo` that wants a key."""
    command = [sys.executable, "-m", "muxer", "serve", "--demo", "--port", "0"]
    environ = {**os.environ, "ALLOWED_API_KEYS": KEY, "PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen(
        command, cwd=folder, env=environ, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as server:
        assert server.stderr is not None
        found = re.search(r"http://\S+", server.stderr.readline())
        assert found is not None
        yield found[0]
        server.terminate()


def _rows(ran: Ran) -> list[list[str]]:
    """The rows of the table, its columns parted."""
    rows = [re.split(r"  +", line) for line in ran.out.splitlines()]
    return [row for row in rows if len(row) == 8][1:]


def test_every_sample_is_answered_and_ends_in_totals(muxer: Run) -> None:
    ran = muxer("demo")
    assert (ran.code, ran.err) == (0, "")
    assert {(row[1], row[2]) for row in _rows(ran)} == {
        ("code", "gpt-sol"),
        ("complex", "gpt-sol"),
        ("simple", "claude-haiku"),
        ("default", "gpt-terra"),
    }
    assert re.fullmatch(
        r"\$[0-9.]+ instead of \$[0-9.]+ with gpt-sol for everything: [0-9]+ % less", ran.out.splitlines()[-1]
    )


def test_money_adds_up(muxer: Run) -> None:
    ran = muxer("demo")
    costs = [Decimal(row[5]) for row in _rows(ran)]
    left = [Decimal(row[7]) for row in _rows(ran)]
    assert [10 - sum(costs[: at + 1]) for at in range(len(costs))] == left
    assert ran.out.splitlines()[-1].startswith(
        f"${sum(costs)} instead of ${sum(Decimal(row[6]) for row in _rows(ran))}"
    )


def test_the_folder_and_its_store_are_left_alone(recorded: Path, muxer: Run) -> None:
    before = muxer("usage", "--by", "state").out
    assert muxer("demo").code == 0
    assert muxer("usage", "--by", "state").out == before
    assert not (recorded.parent / "demo.db").exists()


def test_the_keys_of_the_file_do_not_stand_in_the_way(
    routing: Path, muxer: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALLOWED_API_KEYS", KEY)
    assert muxer("demo").code == 0


def test_a_budget_that_is_too_small_fails_with_its_words(routing: Path, muxer: Run) -> None:
    routing.write_text(ROUTING.replace("daily_usd: 1,", "daily_usd: 0.0001,"))
    ran = muxer("demo")
    assert ran.code == 1
    assert "Write a Python function to sort a list -> status 402: the daily budget of user 'anonymous'" in ran.err
    assert "requests failed" in ran.err


def test_a_file_that_is_not_valid_starts_nothing(routing: Path, muxer: Run) -> None:
    routing.write_text("version: 2\n")
    assert muxer("demo").code == 2


def test_a_running_proxy_is_asked_and_checked(url: str, muxer: Run) -> None:
    ran = muxer("demo", "--url", f"{url}/v1/", "--api-key", KEY)
    assert len(_rows(ran)) == 8
    lines = {line[0]: " ".join(line[1:]) for line in ran.lines if line}
    assert lines["/health"].startswith("ok version")
    assert lines["/providers"] == "ok openai, local"
    assert lines["/user/stats"].startswith("ok user key-")


def test_a_check_that_fails_says_what_to_do(url: str, muxer: Run) -> None:
    ran = muxer("demo", "--url", url, "--api-key", KEY)
    assert ran.code == 1
    assert "failed not served: add prometheus to `plugins:` in routing.yaml" in " ".join(ran.out.split())


def test_records_can_be_read_while_it_runs(url: str, folder: Path, muxer: Run) -> None:
    muxer("demo", "--url", url, "--api-key", KEY)
    before = muxer("usage", "--config", str(folder / "routing.yaml"), "--by", "state")
    muxer("demo", "--url", url, "--api-key", KEY)
    after = muxer("usage", "--config", str(folder / "routing.yaml"), "--by", "state")
    assert int(after.lines[1][1]) == int(before.lines[1][1]) + 8


def test_a_missing_key_is_told(url: str, muxer: Run) -> None:
    ran = muxer("demo", "--url", url)
    assert (ran.code, ran.out) == (1, "")
    assert "status 401: no API key" in ran.err
    assert "--api-key KEY" in ran.err


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("127.0.0.1:9", "nobody answers at http://127.0.0.1:9"),
        ("http://[::", "http://[:: is no address"),
        ("ftp://somewhere", "ftp://somewhere is no address"),
    ],
)
def test_an_address_where_nobody_answers_is_told(muxer: Run, url: str, words: str) -> None:
    ran = muxer("demo", "--url", url)
    assert (ran.code, ran.out) == (1, "")
    assert words in ran.err
