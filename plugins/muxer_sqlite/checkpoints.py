"""SQLite's log is copied into the file beside the writer, so that no commit waits for the disk meanwhile.

Left to itself SQLite does so after a commit, at each 1,000 pages, in the thread that writes; and with two processes
again after the next ones: the log begins anew only where nobody has written since the copy, and the other always has.
"""

import asyncio
import sqlite3
import time
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path

from muxer_sqlite.bounds import Bounds

_TRIES = 10
_PAUSE_S = 0.002  # of a process that writes: about a transaction


class Checkpoints:
    """Runs until it is cancelled, on a connection that waits for no lock and in a thread of its own."""

    def __init__(self, connection: sqlite3.Connection, thread: Executor, log_path: Path) -> None:
        self._connection = connection
        self._thread = thread
        self._log_path = log_path

    async def empty_for_ever(self, bounds: Bounds) -> None:
        """Empties the log whenever it is longer than `emptied_at_bytes`. What fails is tried again; the writer watches
        how long the log becomes meanwhile (F13)."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(bounds.empty_every_s)
            with suppress(OSError, sqlite3.Error):
                if self._log_path.stat().st_size > bounds.emptied_at_bytes:
                    await loop.run_in_executor(self._thread, self._empty)

    def _empty(self) -> None:
        """Most of it is copied while others write; for the rest they wait, and for nobody who reads. It is cut, so that
        its length says when it is due again."""
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        for _ in range(_TRIES):
            (is_busy, *_) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not is_busy:
                return
            time.sleep(_PAUSE_S)
