"""Whether a SQLite file can be used, said to the log once per change; and what its failures mean for its operator."""

import sqlite3
from typing import Literal

from muxer.errors import StoreUnavailable
from muxer.interfaces import Log

Cause = Literal["file", "damage", "place", "queue", "log"]

_REMEDIES = {
    sqlite3.SQLITE_BUSY: "another process keeps it locked; end what does, such as a shell in a transaction",
    sqlite3.SQLITE_LOCKED: "another process keeps it locked; end what does, such as a shell in a transaction",
    sqlite3.SQLITE_PROTOCOL: "another process keeps its log locked; end it",
    sqlite3.SQLITE_FULL: "the disk, or what this process may write, is full; make room",
    sqlite3.SQLITE_READONLY: "it cannot be written; make the file and its folder writable for the proxy's user",
    sqlite3.SQLITE_PERM: "it cannot be written; make the file and its folder writable for the proxy's user",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; make the folder exist and writable for the proxy's user",
    sqlite3.SQLITE_IOERR: "the disk fails or is full; look at the system's log",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
    sqlite3.SQLITE_CORRUPT: "it is damaged; stop the proxy, see `muxer ledger check`, and restore a copy",
    sqlite3.SQLITE_NOTADB: "it is damaged, or no database; stop the proxy and restore a copy",
}
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_of_the_file(error: Exception) -> bool:
    """Whether the file's state failed a statement, so that any other would fail as well."""
    return _code(error) in _REMEDIES


def is_damage(error: Exception) -> bool:
    """Whether the file is damaged: nothing that is read from it can be trusted with money any more."""
    return _code(error) in _DAMAGED


def words(error: Exception, what: str = "store") -> str:
    """What is wrong with the file and what to do about it, in a sentence without a path; `what` is kept in it."""
    remedy = _REMEDIES.get(_code(error))
    return f"the {what}'s file: {remedy} ({error})" if remedy else f"the {what} failed ({error})"


def _code(error: Exception) -> int:
    """SQLite's primary result code; 0 for what is not SQLite's."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


class Condition:
    """Why nothing can be written now, by cause. Belongs to the event loop's thread. `what` is kept in the file."""

    def __init__(self, log: Log, what: str = "store") -> None:
        self._log = log
        self.what = what
        self._reasons: dict[Cause, str] = {}

    def fail(self, cause: Cause, reason: str) -> None:
        """Notes a cause, and logs it if that is news."""
        if self._reasons.get(cause) == reason:
            return
        self._reasons[cause] = reason
        self._log("error", f"{self.what}_unavailable", reason=reason)

    def recover(self, cause: Cause) -> None:
        """The cause is no more; when it was the last one, that is logged."""
        if self._reasons.pop(cause, None) is not None and not self._reasons:
            self._log("info", f"{self.what}_available")

    @property
    def reason(self) -> str:
        """Why nothing new can be written; '' when it can."""
        return next(iter(self._reasons.values()), "")

    def check(self, *, is_new: bool = True) -> None:
        """Raises StoreUnavailable when nothing can be written. What is not new, the end of something held before, is
        still written into a log that has grown too long."""
        for cause, reason in self._reasons.items():
            if is_new or cause != "log":
                raise StoreUnavailable(reason)
