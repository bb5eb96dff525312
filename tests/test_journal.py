"""What is kept on this machine in the store's name: through a kill, beside other processes, and within its bounds."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from muxer_sqlite import SqliteSettings, open_sqlite

from muxer import ConfigInvalid, Granted, Store, StoreUnavailable, Window
from muxer import journal as journals
from muxer.entries import Entry, Leg, reapply
from muxer.journal import KEEP_SETTLED_S, Journal, open_journal
from muxer.testing import ManualClock, a_choice, a_claim, a_record, an_attempt, open_context
from muxer.testing.builders import START_S
from muxer.testing.contracts.money import DAY_S, TODAY, TOMORROW, counted
from tests.proxy import Lines

ONE = Entry(a_record(), (Leg(a_choice(60)),))
LONGER = Entry(ONE.opening, (*ONE.legs, Leg(a_choice(30), an_attempt(cost_nanos=7))))
FINAL = a_record(state="done", cost_nanos=12, attempts=(an_attempt(cost_nanos=7), an_attempt(cost_nanos=5)))
ENDED = Entry(ONE.opening, LONGER.legs, FINAL)


@asynccontextmanager
async def opened(path: Path | None, clock: ManualClock | None = None) -> AsyncIterator[Journal]:
    async with open_journal(path, clock or ManualClock(), Lines()) as journal:
        yield journal


@asynccontextmanager
async def store(folder: Path, clock: ManualClock) -> AsyncIterator[Store]:
    async with open_context(folder, clock=clock) as context, open_sqlite(SqliteSettings(), context) as found:
        yield found


async def test_what_is_owed_is_there_for_the_next_process(tmp_path: Path) -> None:
    async with opened(tmp_path / "j") as journal:
        await journal.owe(ENDED)
    async with opened(tmp_path / "j") as journal:
        assert (journal.owed_rows, [one.entry for one in await journal.owed(10)]) == (1, [ENDED])
        await journal.applied([ENDED])
        assert (journal.owed_rows, await journal.owed(10)) == (0, [])


async def test_what_changed_while_it_was_told_stays_owed(tmp_path: Path) -> None:
    async with opened(tmp_path / "j") as journal:
        await journal.owe(ONE)
        await journal.owe(ENDED)
        await journal.applied([ONE])
        assert [one.entry for one in await journal.owed(10)] == [ENDED]


async def test_escrow_is_told_after_all_requests(tmp_path: Path) -> None:
    async with opened(tmp_path / "j") as journal:
        await journal.owe(Entry(a_record(id="a")), turn=1)
        await journal.owe(Entry(a_record(id="b")))
        assert [one.entry.opening.id for one in await journal.owed(10)] == ["b"]


async def test_what_is_settled_is_remembered_for_a_while(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path / "j", clock) as journal:
        journal.settled(ENDED)
        assert await journal.ids("settled") == [FINAL.id]
        clock.now_s += KEEP_SETTLED_S + 1
        assert await journal.ids("settled") == []
        await journal.intend(Entry(a_record(id="next")))  # type: ignore[misc]  # a file always writes it
        assert await journal.entry(FINAL.id) is None


async def test_a_process_beside_takes_the_next_name_and_leaves_the_other_alone(tmp_path: Path) -> None:
    async with opened(tmp_path / "j") as first, opened(tmp_path / "j") as second:
        await first.owe(ENDED)
        assert second.owed_rows == 0
        assert sorted(path.name for path in tmp_path.glob("j*") if path.suffix != ".lock" and "-" not in path.name) == [
            "j", "j.2",
        ]  # fmt: skip


async def test_journals_of_ended_processes_are_taken_over(tmp_path: Path) -> None:
    async with opened(tmp_path / "j.2") as gone:
        await gone.owe(ENDED)
    async with opened(tmp_path / "j") as journal:
        assert [one.entry for one in await journal.owed(10)] == [ENDED]
    async with opened(tmp_path / "j.2") as gone:
        assert gone.owed_rows == 0


async def test_in_memory_it_holds_ten_thousand_rows() -> None:
    async with opened(None) as journal:
        for number in range(journals.IN_MEMORY.rows):
            assert not journal.is_full
            await journal.owe(Entry(a_record(id=f"r-{number}")))
        assert journal.is_full


async def test_a_file_that_is_no_journal_is_a_fault_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(b"not a database, " * 100)
    with pytest.raises(ConfigInvalid, match=r"store\.journal"):
        async with opened(tmp_path / "j"):
            pass


async def test_a_journal_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "j")) as db:
        db.execute("PRAGMA user_version = 9")
    with pytest.raises(ConfigInvalid, match="later version"):
        async with opened(tmp_path / "j"):
            pass


async def test_a_journal_that_cannot_be_written_says_so_and_owes_nothing(tmp_path: Path) -> None:
    log = Lines()
    async with open_journal(tmp_path / "j", ManualClock(), log) as journal:
        with closing(sqlite3.connect(tmp_path / "j", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match="the journal's file: another process keeps it locked"):
                    await journal.owe(ENDED)
            other.execute("ROLLBACK")
        assert (journal.owed_rows, [line["event"] for line in log.lines]) == (0, ["journal_unavailable"])
        await log.wait_for("journal_available")
        await journal.owe(ENDED)
        assert journal.owed_rows == 1


@pytest.mark.parametrize("known", [(), (ONE,), (ONE, LONGER), (ENDED,), (ENDED, ENDED)])
async def test_telling_again_counts_once_whatever_the_store_knows(tmp_path: Path, known: tuple[Entry, ...]) -> None:
    async with store(tmp_path, ManualClock()) as found:
        for entry in (*known, ENDED):
            await reapply(found, entry)
        assert (await counted(found), await found.held()) == ((12, 0, 0), (0, 0))


async def test_it_counts_in_the_window_of_its_admission(tmp_path: Path) -> None:
    clock = ManualClock(START_S + DAY_S + 60)
    async with store(tmp_path, clock) as found:
        await reapply(found, ENDED)
        assert await counted(found, a_claim(windows=(TODAY,))) == (12, 0, 0)
        assert await counted(found, a_claim(windows=(TOMORROW,))) == (0, 0, 0)


async def test_a_total_counts_for_ever(tmp_path: Path) -> None:
    claim = a_claim(windows=(Window("total", 0, 0),))
    async with store(tmp_path, ManualClock()) as found:
        await reapply(found, Entry(ONE.opening, (Leg(a_choice(60, claim)),)))
        assert await counted(found, claim) == (0, 60, 0)


async def test_telling_again_passes_a_spent_limit(tmp_path: Path) -> None:
    async with store(tmp_path, ManualClock()) as found:
        assert isinstance(await found.hold(a_record(id="other"), [a_choice(100)]), Granted)
        await reapply(found, ENDED)
        assert await counted(found) == (12, 100, 0)
