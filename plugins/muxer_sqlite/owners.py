"""Who is alive, told by the kernel: each process holds a lock on a file of its own, which ends with the process.

SQLite's WAL needs all processes on one machine, so a lock is exact where a heartbeat would only guess.
"""

import fcntl
import os
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
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

    @contextmanager
    def dead(self, holding: Collection[str]) -> Iterator[list[str]]:
        """The dead among those that left a file or are `holding` rows; nobody else buries them meanwhile.

        Whoever has no file is dead as well: a file is removed only after its rows were freed, unless somebody removed
        the folder or put back an older database. Left without an error, the dead are forgotten.
        """
        locked: dict[Path, int] = {}
        left = {path.name for path in self._folder.iterdir() if not path.name.startswith(".")} | set(holding)
        dead: list[str] = []
        try:
            for name in sorted(left - {self.name}):
                path = self._folder / name
                try:
                    locked[path] = os.open(path, os.O_RDWR)
                    fcntl.flock(locked[path], fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(locked.pop(path))  # alive
                    continue
                except FileNotFoundError:
                    pass
                dead.append(name)
            yield dead
            for path in locked:
                path.unlink(missing_ok=True)
        finally:
            for file in locked.values():
                os.close(file)
