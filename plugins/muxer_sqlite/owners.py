"""Who is alive, told by the kernel: each process holds a lock on a file of its own, which ends with the process.

SQLite's WAL needs all processes on one machine, so a lock is exact where a heartbeat would only guess.
"""

import fcntl
import os
import secrets
from collections.abc import Callable
from pathlib import Path


class Owner:
    """This process's claim to be alive; `name` marks the rows it holds."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.name = secrets.token_hex(8)
        self._folder = folder
        self._path = folder / self.name
        # Locked before it has its name: whoever finds the name finds it locked.
        unnamed = folder / f".{self.name}"
        self._file = os.open(unnamed, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        unnamed.rename(self._path)

    def forget(self) -> None:
        """Removes this process's name; nothing may be held under it any more."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Gives up the lock: from here on this process counts as dead."""
        os.close(self._file)

    def sweep(self, bury: Callable[[str], object]) -> None:
        """Calls `bury` with the name of each dead process, then forgets it."""
        for path in self._folder.iterdir():
            if path.name.startswith(".") or path.name == self.name:
                continue
            try:
                file = os.open(path, os.O_RDWR)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                bury(path.name)
                path.unlink(missing_ok=True)
            except BlockingIOError:
                pass  # alive
            finally:
                os.close(file)
