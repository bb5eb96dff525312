"""What the embedded store's writer knows without reading it: right when others write, and written once a batch."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from muxer_sqlite import SqliteSettings, ledger, open_sqlite, schema
from muxer_sqlite.book import Book, Counter
from muxer_sqlite.rows import to_row

from muxer import FileCondition, FileWriter, Refused, Transactions, WriterBounds
from muxer.testing import a_record, open_context
from muxer.testing.builders import START_S
from muxer.testing.contracts.money import a_choice, a_claim, an_attempt

Work = Callable[[sqlite3.Connection], object]
CLAIM = a_claim("all:", limit_nanos=1_000)
START = CLAIM.windows[0].start_s


def connected(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / "muxer.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    return connection


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connected(tmp_path)) as made:
        schema.prepare(made)
        yield made


def hold(book: Book, id: str, _: object = None) -> None:
    ledger.hold(book, START_S, "me", to_row(a_record(id=id, at=START_S)), [a_choice(10, CLAIM)])


def settle(book: Book, id: str, _: object = None) -> None:
    record = a_record(id=id, at=START_S, state="done", cost_nanos=7, attempts=(an_attempt(cost_nanos=7),))
    ledger.settle(book, START_S, record, to_row(record))


def transaction(book: Book, *works: Work) -> list[object]:
    return Transactions(book.connection, book).run(works)


def test_a_batch_reads_and_writes_a_counter_once_whatever_it_holds(connection: sqlite3.Connection) -> None:
    book, said = Book(connection), list[str]()
    connection.set_trace_callback(said.append)
    works = [partial(step, book, f"r{number}") for step in (hold, settle) for number in range(20)]
    transaction(book, *works)
    assert [one.split()[0] for one in said if "counters" in one] == ["SELECT", "INSERT"]
    assert not [one for one in said if "FROM requests" in one]


def test_what_another_connection_commits_is_seen_by_the_next_batch(
    connection: sqlite3.Connection, tmp_path: Path
) -> None:
    book = Book(connection)
    transaction(book, lambda _: hold(book, "r1"))
    with closing(connected(tmp_path)) as other:
        other.execute("UPDATE counters SET spent = 900")
        other.execute("UPDATE requests SET state = 'interrupted', holds = NULL WHERE id = 'r1'")
    (counter, is_known) = transaction(book, lambda _: book.counter("all::day", START), lambda _: "r1" in book.requests)
    assert counter == Counter(spent=900, held=10)
    assert not is_known


def test_a_batch_that_is_undone_leaves_nothing_in_memory(connection: sqlite3.Connection) -> None:
    book = Book(connection)
    with pytest.raises(ZeroDivisionError):
        transaction(book, lambda _: hold(book, "r1"), lambda _: 1 / 0)
    transaction(book, lambda _: hold(book, "r2"))
    assert connection.execute("SELECT spent, held FROM counters").fetchall() == [(0, 10)]
    assert list(book.requests) == ["r2"]


def test_sql_on_the_tables_meets_what_the_batch_did_before(connection: sqlite3.Connection) -> None:
    book = Book(connection)
    query = "UPDATE counters SET held = held + 5"
    transaction(book, lambda _: hold(book, "r1"), lambda _: book.tables().execute(query))
    (counter,) = transaction(book, lambda _: book.counter("all::day", START))
    assert counter == Counter(held=15)


async def test_two_processes_on_one_file_never_grant_more_than_the_limit(tmp_path: Path) -> None:
    async with (
        open_context(tmp_path) as context,
        open_sqlite(SqliteSettings(), context) as one,
        open_sqlite(SqliteSettings(), context) as other,
    ):
        choice = a_choice(10, CLAIM)
        replies = await asyncio.gather(
            *(
                store.hold(a_record(id=f"{n}-{id(store)}", at=START_S), [choice])
                for n in range(80)
                for store in (one, other)
            )
        )
        assert sum(not isinstance(reply, Refused) for reply in replies) == 100


def _same(number: int, _: sqlite3.Connection) -> int:
    return number


class Counting:
    """Counts transactions."""

    def __init__(self) -> None:
        self.count = 0

    def begun(self) -> None:
        self.count += 1

    def ending(self) -> None: ...

    def undone(self) -> None: ...


async def test_what_one_turn_of_the_loop_brings_is_a_few_transactions(tmp_path: Path) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)) as connection:
        behind, health = Counting(), FileCondition(lambda *_, **__: None)
        async with FileWriter(connection, tmp_path / "no-wal", health, WriterBounds(), behind) as writer:
            assert await asyncio.gather(*(writer.run(partial(_same, n)) for n in range(30))) == list(range(30))
            assert behind.count <= 8
