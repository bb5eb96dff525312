"""Transactions on a SQLite file that other processes may write, too: all of their work or none of it, and turns that
nobody waits for in vain."""

import math
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_PAUSE_S = 0.0001  # with what the system takes to wake a thread, 0.16 ms; a transaction takes about 1 ms


class WriteBehind(Protocol):
    """What somebody keeps in memory of a file in order to write it later in the same transaction."""

    def begun(self) -> None:
        """A transaction has begun: from here to its end no other process writes."""

    def ending(self) -> None:
        """It is about to be committed: what was put off is written now."""

    def undone(self) -> None:
        """Nothing of it was written."""


class Transactions:
    """One connection's. `patience_s` is how long one waits for another process's, beyond what its connection does.

    SQLite keeps no order, and asks again after ever longer pauses, of 0.1 s in the end: a process whose next
    transaction is always ready would keep the file from others for seconds. So all ask for it often, and each leaves it
    alone for a moment after its own (decision 40).
    """

    def __init__(
        self, connection: sqlite3.Connection, behind: WriteBehind | None = None, patience_s: float = 0.0
    ) -> None:
        self._connection = connection
        self._behind = behind
        self._patience_s = patience_s
        self._left_at = -math.inf

    def run(self, works: Sequence[Work[Any]]) -> list[Any]:
        """Does all of the works or, raising, none; their results."""
        connection, behind = self._connection, self._behind
        self._begin()
        try:
            if behind is not None:
                behind.begun()
            results = [work(connection) for work in works]
            if behind is not None:
                behind.ending()
            connection.execute("COMMIT")
        except BaseException:
            if behind is not None:
                behind.undone()
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        finally:
            self._left_at = time.monotonic()
        return results

    def _begin(self) -> None:
        now = time.monotonic()
        until = now + self._patience_s
        if now < self._left_at + _PAUSE_S:
            time.sleep(_PAUSE_S)
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                    raise
            time.sleep(_PAUSE_S)
