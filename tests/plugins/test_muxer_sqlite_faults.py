"""The embedded store when its file is locked, full, read-only, damaged or gone (RELIABILITY F13, F14)."""

import asyncio
import json
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import pytest
from msgspec.structs import replace
from muxer_sqlite import Bounds, SqliteSettings, SqliteStore, open_at

from muxer import ConfigInvalid, FileCondition, Granted, Refused, StoreUnavailable, Window
from muxer.testing import a_record, open_context
from muxer.testing.contracts.money import a_choice, a_claim, an_attempt, counted

CLAIM = a_claim(limit_nanos=10_000, windows=(Window("total", 0, 0),))
PATIENCE_S = 20.0
QUICK = Bounds(probe_every_s=0.02, sweep_every_s=0.02)
ROOT = Path(__file__).parents[2]


class Events:
    """A log that can be waited for; `store` has its events about the store."""

    def __init__(self) -> None:
        self.store: list[str] = []
        self.reasons: list[object] = []
        self._changed = asyncio.Event()

    def __call__(self, level: str, event: str, **fields: object) -> None:
        self.store.append(event)
        self.reasons.append(fields.get("reason"))
        self._changed.set()

    async def wait_for(self, *events: str) -> None:
        """Waits until just these were logged."""
        async with asyncio.timeout(PATIENCE_S):
            while self.store != [*events]:
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def opened(
    folder: Path,
    log: Callable[..., None] | None = None,
    bounds: Bounds = QUICK,
    busy_timeout_s: float = 0.1,
    path: str = "muxer.db",
) -> AsyncIterator[SqliteStore]:
    settings = SqliteSettings(path=path, busy_timeout_s=busy_timeout_s)
    async with open_context(folder, log=log or Events()) as context, open_at(settings, context, bounds) as store:
        yield store


async def hold(store: SqliteStore, id: str, bound: int = 10) -> Granted | Refused:
    return await store.hold(a_record(id=id), [a_choice(bound, CLAIM)])


async def settle(store: SqliteStore, id: str, cost: int) -> None:
    await store.settle(a_record(id=id, state="done", cost_nanos=cost, attempts=(an_attempt(cost_nanos=cost),)))


async def refused(*works: object) -> list[str]:
    """The words with which each was refused."""
    found = await asyncio.gather(*works, return_exceptions=True)  # type: ignore[call-overload]  # of one awaitable each
    assert [type(one) for one in found] == [StoreUnavailable] * len(works)
    return [str(one) for one in found]


SHELL = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    db.execute(statement).fetchall()
print("ready", flush=True)
sys.stdin.readline()
"""


@asynccontextmanager
async def another_process(folder: Path, *statements: str) -> AsyncIterator[None]:
    """One that has run these and still has its transaction open."""
    shell = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SHELL, str(folder / "muxer.db"), *statements,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert shell.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        assert await shell.stdout.readline() == b"ready\n"
    try:
        yield
    finally:
        await shell.communicate(b"\n")


async def test_the_log_has_a_line_per_change_and_none_per_request() -> None:
    log = Events()
    health = FileCondition(log)
    for _ in range(3):
        health.fail("file", "full")
        with pytest.raises(StoreUnavailable, match="full"):
            health.check()
    health.fail("file", "locked")
    health.fail("log", "long")
    health.recover("file")
    health.recover("queue")
    with pytest.raises(StoreUnavailable, match="long"):
        health.check()
    health.check(is_new=False)
    for _ in range(3):
        health.recover("log")
    health.check()
    assert log.store == ["store_unavailable"] * 3 + ["store_available"]
    assert log.reasons == ["full", "locked", "long", None]


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
async def test_a_file_locked_by_another_process_refuses_and_goes_on(tmp_path: Path, lock: str) -> None:
    log = Events()
    async with opened(tmp_path, log) as store:
        await hold(store, "before")
        async with another_process(tmp_path, lock):
            said = await refused(*(hold(store, f"r-{number}") for number in range(50)), settle(store, "before", 7))
            assert all("another process keeps it locked" in words for words in said)
            said = await refused(*(hold(store, f"later-{number}") for number in range(50)))
            assert all("another process keeps it locked" in words for words in said)
            assert await counted(store, CLAIM) == (0, 10, 0)  # what is there can be read
            assert "another process keeps it locked" in store.trouble
            assert log.store == ["store_unavailable"]
        await log.wait_for("store_unavailable", "store_available")
        await settle(store, "before", 7)
        assert (await counted(store, CLAIM), await store.held(), store.trouble) == ((7, 0, 0), (0, 0), "")
        assert await store.examine() == []


async def test_a_lock_shorter_than_the_timeout_is_waited_for(tmp_path: Path) -> None:
    log = Events()
    async with opened(tmp_path, log, busy_timeout_s=4) as store:
        async with another_process(tmp_path, "BEGIN IMMEDIATE"):
            waiting = [asyncio.create_task(hold(store, f"r-{number}")) for number in range(10)]
            await asyncio.sleep(0)
        assert all(isinstance(one, Granted) for one in await asyncio.gather(*waiting))
        assert (await counted(store, CLAIM), log.store) == ((0, 100, 0), [])


@pytest.mark.parametrize("bounds", [replace(QUICK, waiting_rows=5), replace(QUICK, waiting_bytes=5 * 1_500)])
async def test_only_so_much_waits(tmp_path: Path, bounds: Bounds) -> None:
    log = Events()
    async with opened(tmp_path, log, bounds, busy_timeout_s=4) as store:
        async with another_process(tmp_path, "BEGIN IMMEDIATE"):
            waiting = [asyncio.create_task(hold(store, f"r-{number}")) for number in range(50)]
            over, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert {type(one.exception()) for one in over} == {StoreUnavailable}
            assert "too many writes are waiting" in str(over.pop().exception())
            assert log.store == ["store_unavailable"]
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        granted = sum(isinstance(one, Granted) for one in answers)
        assert 0 < granted <= 6  # the sweeper may be one of those that wait
        await log.wait_for("store_unavailable", "store_available")
        assert await counted(store, CLAIM) == (0, 10 * granted, 0)


async def test_the_log_stays_bounded_under_a_long_reader(tmp_path: Path) -> None:
    log, bounds = Events(), replace(QUICK, log_bytes=400_000)
    wal = tmp_path / "muxer.db-wal"
    async with opened(tmp_path, log, bounds) as store:
        async with another_process(tmp_path, "BEGIN", "SELECT count(*) FROM requests"):
            ids = [f"r-{number}" for number in range(1_000)]
            answers = await asyncio.gather(*(_one_by_one(store, ids[start::10]) for start in range(10)))
            (words,) = {words for _, words in answers}
            assert "end what reads the file in one transaction" in words
            assert wal.stat().st_size < 3 * bounds.log_bytes
            held = [id for granted, _ in answers for id in granted]
            for id in held:  # what was held before is still settled
                await settle(store, id, 7)
            assert log.reasons == [words]
        await log.wait_for("store_unavailable", "store_available")
        assert wal.stat().st_size < bounds.log_bytes
        assert isinstance(await hold(store, "after"), Granted)
        assert await counted(store, CLAIM) == (7 * len(held), 10, 0)


async def _one_by_one(store: SqliteStore, ids: list[str]) -> tuple[list[str], str]:
    """Holds one after the other until one is refused; those that were granted, and the words of the refusal."""
    granted: list[str] = []
    for id in ids:
        try:
            await hold(store, id, bound=1)
        except StoreUnavailable as error:
            return granted, str(error)
        granted.append(id)
    return granted, ""


FILLING = """
import asyncio, json, resource, signal, sys
from pathlib import Path
from tests.plugins.test_muxer_sqlite_faults import CLAIM, Events, _one_by_one, counted, hold, opened, refused, settle
async def main():
    folder, log = Path(sys.argv[1]), Events()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    async with opened(folder, log) as store:
        await hold(store, "before")
        size = (folder / "muxer.db-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100_000, resource.RLIM_INFINITY))
        held, words = await _one_by_one(store, [f"r-{number}" for number in range(500)])
        await refused(*(hold(store, f"more-{number}") for number in range(100)), settle(store, "before", 7))
        full = dict(words=words, events=list(log.store), counted=await counted(store, CLAIM), held=len(held))
        if len(sys.argv) > 2:
            print(json.dumps(full))
            return
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await log.wait_for("store_unavailable", "store_available")
        for id in ["before", *held]:
            await settle(store, id, 1)
        print(json.dumps(full | dict(after=await counted(store, CLAIM), faults=await store.examine())))
asyncio.run(main())
"""


async def run(code: str, *words: str) -> tuple[dict[str, object], str]:
    """What a process of its own printed, as JSON, and what it said besides."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=ROOT
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    found: dict[str, object] = json.loads(out)
    return found, err.decode()


async def test_a_full_disk_refuses_and_all_is_written_when_there_is_room(tmp_path: Path) -> None:
    found, said = await run(FILLING, str(tmp_path))
    assert "the disk fails or is full" in str(found["words"])
    assert (found["events"], said) == (["store_unavailable"], "")
    held = int(str(found["held"]))
    assert held > 0
    assert found["counted"] == [0, 10 + held, 0]
    assert (found["after"], found["faults"]) == ([1 + held, 0, 0], [])


async def test_what_a_full_disk_left_open_is_presumed_by_the_next_start(tmp_path: Path) -> None:
    found, said = await run(FILLING, str(tmp_path), "and leave")
    assert (found["events"], said) == (["store_unavailable"], "")
    async with opened(tmp_path) as store:
        spent, held, presumed = await counted(store, CLAIM)
        assert (spent, held) == (0, 0)
        assert [spent, presumed, held] == found["counted"]
        assert await store.examine() == []


READING = """
import asyncio, json, os, sys
from pathlib import Path
from tests.plugins.test_muxer_sqlite_faults import ConfigInvalid, opened
async def main():
    if os.getuid() == 0:
        os.setuid(65534)  # to root everything is writable
    try:
        async with opened(Path(sys.argv[1])):
            print('"opened"')
    except ConfigInvalid as error:
        print(json.dumps(dict(error=str(error))))
asyncio.run(main())
"""


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that another user can reach, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.mark.parametrize("what", ["file", "folder", "nothing"])
async def test_what_cannot_be_written_says_so_at_start(shared_folder: Path, what: str) -> None:
    if what != "nothing":
        async with opened(shared_folder) as store:
            await hold(store, "a")
    for path in shared_folder.iterdir():
        path.chmod(0o444 if path.is_file() else 0o555)
    shared_folder.chmod(0o777 if what == "file" else 0o555)
    found, said = await run(READING, str(shared_folder))
    assert "writable for the proxy's user" in str(found["error"])
    assert said == ""


def damage(folder: Path, table: str) -> None:
    """Writes nonsense over the first page of a table."""
    with closing(sqlite3.connect(folder / "muxer.db")) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with (folder / "muxer.db").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)


async def test_a_damaged_page_ends_all_holding(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(20):
            await hold(store, f"r-{number}")
            await settle(store, f"r-{number}", 7)
    damage(tmp_path, "counters")
    log = Events()
    async with opened(tmp_path, log) as store:
        said = await refused(*(hold(store, f"new-{number}") for number in range(20)))
        said += await refused(*(hold(store, f"later-{number}") for number in range(20)))
        assert all("it is damaged; stop the proxy" in words for words in said)
        assert log.store == ["store_unavailable"]
        assert any("damaged" in fault for fault in await store.examine())
        assert await store.record("r-0") is not None


async def test_damage_that_a_reader_finds_ends_all_holding(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await hold(store, "a")
    damage(tmp_path, "totals")
    log = Events()
    async with opened(tmp_path, log) as store:
        await refused(store.summary(["user"], 0, {}), store.summary([], 0, {}))
        (words,) = await refused(hold(store, "b"))
        assert "damaged" in words
        assert log.store == ["store_unavailable"]


async def test_no_database_at_all_is_a_fault_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "muxer.db").write_bytes(b"these are not the bytes of a database" * 100)
    with pytest.raises(ConfigInvalid, match="damaged, or no database"):
        await AsyncExitStack().enter_async_context(opened(tmp_path))


async def test_a_file_that_was_moved_away_is_not_written_to(tmp_path: Path) -> None:
    log = Events()
    async with opened(tmp_path, log) as store:
        await hold(store, "a")
        (tmp_path / "muxer.db").rename(tmp_path / "elsewhere.db")
        await log.wait_for("store_unavailable")
        (words,) = await refused(hold(store, "b"))
        assert "moved, removed or replaced" in words
        (tmp_path / "elsewhere.db").rename(tmp_path / "muxer.db")
        await log.wait_for("store_unavailable", "store_available")
        await settle(store, "a", 7)
        assert await counted(store, CLAIM) == (7, 0, 0)


async def test_a_hold_repeated_with_fewer_choices_gets_its_first_answer(tmp_path: Path) -> None:
    choices = [a_choice(20_000, CLAIM), a_choice(30_000, CLAIM), a_choice(40, CLAIM)]
    async with opened(tmp_path) as store:
        first = await store.hold(a_record(), choices)
        assert isinstance(first, Granted)
        assert (first.choice, first.granted_nanos) == (2, 40)
        assert await store.hold(a_record(), choices[:1]) == first
        assert await counted(store, CLAIM) == (0, 40, 0)
