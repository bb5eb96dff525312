"""`muxer ledger check`, on a store that real requests wrote."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.running import Ran


def changed(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "muxer.db")) as db:
        assert db.execute(statement).rowcount > 0
        db.commit()


@pytest.mark.usefixtures("recorded")
def test_accounts_that_hold_together_are_fine(muxer: Callable[..., Ran]) -> None:
    ran = muxer("ledger", "check")
    assert (ran.code, ran.out, ran.err) == (0, "the store's accounts hold together\n", "")
    assert json.loads(muxer("ledger", "check", "--json").out) == {"ok": True, "faults": []}


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE counters SET held = held + 1000", "$0.000001 are counted as held, the requests account for $0"),
        ("UPDATE counters SET presumed = 5", "$0.000000005 are counted as presumed"),
        ("UPDATE totals SET cost_nanos = cost_nanos + 1", "the day's totals say"),
        ("INSERT INTO quotas VALUES ('user:alice:slots', 1)", "1 slots are taken, open requests took 0"),
    ],
)
def test_what_does_not_add_up_is_named(recorded: Path, muxer: Callable[..., Ran], statement: str, words: str) -> None:
    changed(recorded.parent, statement)
    ran = muxer("ledger", "check")
    assert ran.code == 1
    assert words in ran.err


def test_a_damaged_file_is_named(recorded: Path, muxer: Callable[..., Ran]) -> None:
    file = recorded.parent / "muxer.db"
    with closing(sqlite3.connect(file)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'requests_by_user'").fetchone()
    with file.open("r+b") as bytes:
        bytes.seek((page - 1) * 4096)
        bytes.write(b"\xa5" * 4096)
    ran = muxer("ledger", "check")
    assert ran.code == 1
    assert "damaged" in ran.err


@pytest.mark.usefixtures("routing")
def test_nothing_recorded_is_fine(muxer: Callable[..., Ran]) -> None:
    assert muxer("ledger", "check").code == 0
