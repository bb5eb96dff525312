"""A store in memory played as one on another machine: its data outlives the processes that use it, and it can be away,
lose a reply, break, or come back without what it knew."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from contextvars import ContextVar
from pathlib import Path

from msgspec.structs import replace
from muxer_memory import Ledger as Data
from muxer_memory import MemoryStore

from muxer import Attempt, BudgetClaim, Granted, HoldChoice, Record, Refused, Standing, StoreUnavailable
from muxer.ledger import Ledger, open_ledger
from muxer.testing import ManualClock, a_choice, a_claim, a_record, an_attempt
from muxer.testing.contracts.money import amounts
from tests.plugins.redis_server import TOTAL
from tests.proxy import Lines, Silent

SOON_S = 10.0
LIMIT = 1000
CLAIM = a_claim(limit_nanos=LIMIT, windows=(TOTAL,))
ASSERTING = ContextVar("asserting", default=False)
"""Whether this is a call of `reassert`, which may pass where others may not yet."""
ALLOWED = replace(CLAIM, on_store_error="allow")


class Remote(MemoryStore):
    """One process's connection; `play` is called before each call and after it ("held" and so on), and may raise."""

    def __init__(self, data: Data, journal: Path, owner: str) -> None:
        super().__init__(data, owner)
        self.journal = journal
        self.owner_name = owner
        self.is_away = False
        self.reassert: Callable[[], Awaitable[None]] | None = None

    async def play(self, call: str, id: str) -> None:
        if self.is_away and not ASSERTING.get():
            raise StoreUnavailable("away")

    def on_lost(self, reassert: Callable[[], Awaitable[None]]) -> None:
        self.reassert = reassert

    async def hold(self, opening: Record, choices: Sequence[HoldChoice]) -> Granted | Refused:
        await self.play("hold", opening.id)
        reply = await super().hold(opening, choices)
        await self.play("held", opening.id)
        return reply

    async def extend(self, id: str, leg: int, choice: HoldChoice, ended: Attempt | None) -> Granted | Refused:
        await self.play("extend", id)
        reply = await super().extend(id, leg, choice, ended)
        await self.play("extended", id)
        return reply

    async def settle(self, record: Record) -> None:
        await self.play("settle", record.id)
        await super().settle(record)

    async def record(self, id: str) -> Record | None:
        await self.play("record", id)
        return await super().record(id)

    async def standings(self, claims: Sequence[BudgetClaim]) -> Sequence[Standing]:
        await self.play("standings", "")
        return await super().standings(claims)


class House:
    """The data of a store, and processes with a journal each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.data = Data(self.clock, keep_records=1000)
        self.log = Lines()

    @asynccontextmanager
    async def process(
        self, owner: str = "first", journal: str = "j.db", kind: type[Remote] = Remote, grace_s: float = 0.0
    ) -> AsyncIterator[tuple[Ledger, Remote]]:
        store = kind(self.data, self.folder / journal, owner)
        async with open_ledger(store, Silent(), self.log, self.clock, grace_s=grace_s) as ledger:
            yield ledger, store

    def copied(self, journal: str = "j.db", to: str = "copy.db") -> str:
        """What a process that is killed now leaves."""
        with closing(sqlite3.connect(self.folder / journal)) as db, closing(sqlite3.connect(self.folder / to)) as other:
            db.backup(other)
        return to

    def journaled(self, journal: str = "j.db") -> set[tuple[str, str]]:
        with closing(sqlite3.connect(self.folder / journal)) as db:
            return set(db.execute("SELECT id, state FROM entries").fetchall())

    def lose(self) -> None:
        """The store forgets all it knew."""
        vars(self.data).update(vars(Data(self.clock, keep_records=1000)))

    @contextmanager
    def locked(self, journal: str = "j.db") -> Iterator[None]:
        """While nobody else can write a journal."""
        with closing(sqlite3.connect(self.folder / journal, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield
            other.execute("ROLLBACK")

    def counted(self, claim: BudgetClaim = CLAIM) -> tuple[int, int, int]:
        return amounts(self.data.standing(claim))


async def hold(ledger: Ledger, id: str, bound: int, claim: BudgetClaim = CLAIM) -> None:
    await ledger.hold(a_record(id=id), [a_choice(bound, claim)])


async def settle(ledger: Ledger, id: str, cost: int) -> None:
    await ledger.settle(a_record(id=id, state="done", cost_nanos=cost, attempts=(an_attempt(cost_nanos=cost),)))


async def asserted(store: Remote) -> None:
    """What a store does that lost data, again where the journal cannot be read just now."""
    assert store.reassert is not None
    ASSERTING.set(True)
    async with asyncio.timeout(SOON_S):
        while True:
            try:
                await store.reassert()
                break
            except StoreUnavailable:
                await asyncio.sleep(0.01)
    ASSERTING.set(False)
