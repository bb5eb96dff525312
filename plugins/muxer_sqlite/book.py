"""What the writer knows of the file without reading it: counters, levels of quotas, and the requests that are open.

All of it is written behind, in the transaction of the requests that changed it: a batch reads each counter at most once
and writes it once, and nothing is confirmed that the file does not have.
"""

import sqlite3
from collections import defaultdict

from msgspec import Struct

from muxer import Drawn, Quotas
from muxer_sqlite.legs import Leg

_MOST = 10_000
_ADD = (
    "INSERT INTO counters (account, start, spent, held, presumed) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
    "spent = spent + excluded.spent, held = held + excluded.held, presumed = presumed + excluded.presumed"
)
_LEVEL = "INSERT INTO quotas (account, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"


class Counter(Struct):
    """What one account has in one window, in nano-dollars."""

    spent: int = 0
    held: int = 0
    presumed: int = 0

    @property
    def used(self) -> int:
        """All that counts against a limit (I1)."""
        return self.spent + self.held + self.presumed

    def add(self, spent: int, held: int, presumed: int) -> None:
        """Changes each by so much."""
        self.spent += spent
        self.held += held
        self.presumed += presumed


class Open(Struct, frozen=True):
    """What an open request holds."""

    legs: tuple[Leg, ...]
    drawn: tuple[Drawn, ...]


class Book:
    """One connection that writes, and what is known of its file. `WriteBehind`: used inside a transaction alone, since
    what it knows holds until another connection commits."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._version = -1
        self._counters: dict[tuple[str, int], Counter] = {}
        self._changes: defaultdict[tuple[str, int], Counter] = defaultdict(Counter)
        self._levels: dict[str, int] = {}
        self._changed_levels: set[str] = set()
        self.requests: dict[str, Open] = {}
        self.execute = connection.execute
        self.quotas = Quotas(self)

    def tables(self) -> sqlite3.Connection:
        """For SQL on counters and quotas: they are as the book knows them, and it learns them anew after."""
        self.ending()
        self._forget()
        return self.connection

    def begun(self) -> None:
        """See WriteBehind."""
        (version,) = self.execute("PRAGMA data_version").fetchone()
        if version != self._version or max(len(self._counters), len(self._levels), len(self.requests)) > _MOST:
            self._version = version
            self._forget()

    def ending(self) -> None:
        """See WriteBehind."""
        for (account, start), by in self._changes.items():
            self.execute(_ADD, (account, start, by.spent, by.held, by.presumed))
        for account in self._changed_levels:
            self.execute(_LEVEL, (account, self._levels[account]))
        self._changes.clear()
        self._changed_levels.clear()

    def undone(self) -> None:
        """See WriteBehind."""
        self._changes.clear()
        self._changed_levels.clear()
        self._forget()

    def _forget(self) -> None:
        self._counters.clear()
        self._levels.clear()
        self.requests.clear()

    def counter(self, account: str, start: int) -> Counter:
        """How an account stands in a window; it changes by `add`."""
        known = self._counters.get((account, start))
        if known is None:
            query = "SELECT spent, held, presumed FROM counters WHERE account = ? AND start = ?"
            found = self.execute(query, (account, start)).fetchone()
            known = self._counters[account, start] = Counter(*found) if found else Counter()
        return known

    def add(self, account: str, start: int, spent: int, held: int, presumed: int) -> None:
        """Changes what an account has in a window by so much."""
        self.counter(account, start).add(spent, held, presumed)
        self._changes[account, start].add(spent, held, presumed)

    def level(self, account: str) -> int:
        """See Levels."""
        known = self._levels.get(account)
        if known is None:
            found = self.execute("SELECT value FROM quotas WHERE account = ?", (account,)).fetchone()
            known = self._levels[account] = int(found[0]) if found else 0
        return known

    def set_level(self, account: str, value: int) -> None:
        """See Levels."""
        self._levels[account] = value
        self._changed_levels.add(account)
