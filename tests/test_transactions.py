"""Transactions on a file that several processes write."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from muxer import Transactions

TURNS = 20


@pytest.fixture
def connected(tmp_path: Path) -> Iterator[Callable[[], sqlite3.Connection]]:
    made: list[sqlite3.Connection] = []

    def connect() -> sqlite3.Connection:
        made.append(sqlite3.connect(tmp_path / "a.db", isolation_level=None, timeout=0, check_same_thread=False))
        made[-1].execute("PRAGMA journal_mode = WAL")
        return made[-1]

    yield connect
    for connection in made:
        connection.close()


def test_who_writes_without_a_pause_leaves_turns_to_others(connected: Callable[[], sqlite3.Connection]) -> None:
    busy, other = Transactions(connected(), patience_s=30), Transactions(connected(), patience_s=30)
    is_over, busy_turns = threading.Event(), 0

    def write(_: sqlite3.Connection) -> None:
        time.sleep(0.002)

    def write_on() -> None:
        nonlocal busy_turns
        while not is_over.is_set():
            busy.run([write])
            busy_turns += 1

    thread = threading.Thread(target=write_on)
    thread.start()
    try:
        for _ in range(TURNS):
            time.sleep(0.003)
            other.run([write])
    finally:
        is_over.set()
        thread.join()
    assert busy_turns < 50 * TURNS


def test_who_waits_for_another_process_gives_up_in_the_end(connected: Callable[[], sqlite3.Connection]) -> None:
    with closing(connected()) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            Transactions(connected(), patience_s=0.05).run([lambda _: None])
