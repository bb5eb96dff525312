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
from typing import NamedTuple

from muxer_sqlite.bounds import Bounds

_HEADER, _FRAME_HEADER = 32, 24
_TRIES = 10
_PAUSE_S = 0.002  # of a process that writes: about a transaction


class Log(NamedTuple):
    """What tells one beginning of a log from the next, and how many bytes of it are in use."""

    salt: bytes = b""
    used_bytes: int = 0


class Checkpoints:
    """Runs until it is cancelled, on a connection that waits for no lock and in a thread of its own."""

    def __init__(self, connection: sqlite3.Connection, thread: Executor, log_path: Path) -> None:
        self._connection = connection
        self._thread = thread
        self._log_path = log_path
        self._emptied = Log()

    async def empty_for_ever(self, bounds: Bounds) -> None:
        """Empties the log whenever more than `emptied_at_bytes` are in use. What fails is tried again; the writer
        watches how long the log becomes meanwhile (F13)."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(bounds.empty_every_s)
            with suppress(OSError, sqlite3.Error):
                if self._log_path.stat().st_size > bounds.emptied_at_bytes:
                    await loop.run_in_executor(self._thread, self._empty, bounds.emptied_at_bytes)

    def _empty(self, most_bytes: int) -> None:
        """Most of it is copied while others write; for the rest they wait, and for nobody who reads. The file keeps its
        length: to write where it has blocks already, nobody waits for the file system's own journal."""
        log = look_at(self._log_path)
        if log.used_bytes <= most_bytes or log == self._emptied:
            return  # it is long, and little of it is in use
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        for _ in range(_TRIES):
            (is_busy, *_) = self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
            if not is_busy:
                self._emptied = look_at(self._log_path)  # as it looks until somebody writes again
                return
            time.sleep(_PAUSE_S)


def look_at(path: Path) -> Log:
    """The log as it is now. Raises OSError.

    In use are its first frames, which have the salt of the header; behind them lie those of before it began anew
    (https://www.sqlite.org/fileformat2.html#the_write_ahead_log).
    """
    with path.open("rb", buffering=0) as file:
        header = file.read(_HEADER)
        if len(header) < _HEADER:
            return Log()
        frame, salt = int.from_bytes(header[8:12]) + _FRAME_HEADER, header[16:24]
        low, high = 0, (path.stat().st_size - _HEADER) // frame
        while low < high:
            middle = (low + high) // 2
            file.seek(_HEADER + middle * frame + 8)
            is_used = file.read(len(salt)) == salt
            low, high = (middle + 1, high) if is_used else (low, middle)
        return Log(salt, low * frame)
