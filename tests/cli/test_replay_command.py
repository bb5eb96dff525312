import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from muxer_memory import MemorySettings, open_memory

from muxer.cli.archive import NewestFirst
from muxer.testing import a_choice, a_record, open_context
from tests.cli.running import ROUTING, Ran

Run = Callable[..., Ran]
CHANGED = ROUTING.replace("use: [big]}", "use: [small]}")


@pytest.fixture
def changed(recorded: Path) -> str:
    """A file that sends code to the small model, beside the one that recorded."""
    path = recorded.with_name("new.yaml")
    path.write_text(CHANGED)
    return str(path)


def found(ran: Ran) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(ran.out)
    return value


def test_the_same_file_costs_what_was_recorded(recorded: Path, muxer: Run) -> None:
    spent = sum(Decimal(row["spent_usd"]) for row in json.loads(muxer("usage", "--json").out))
    for words in ([], ["--against", "routing.yaml"]):
        ran = muxer("replay", "routing.yaml", *words, "--json", "--max-cost-increase", "0%", "--max-moved", "0%")
        same = found(ran)
        assert (ran.code, same["requests"], same["moved"], same["exceeded"]) == (0, 2, 0, [])
        assert Decimal(same["before_usd"]) == Decimal(same["after_usd"]) == spent > 0


def test_what_moves_is_told(changed: str, muxer: Run) -> None:
    ran = muxer("replay", changed)
    assert ran.code == 0
    assert "moved: 1 (50.0 %) to a cheaper model\n" in ran.out
    assert "1 for token counts" in ran.out
    assert ["big", "small", "1"] in [line[:3] for line in ran.lines]


def test_json_has_the_shape_of_the_contract(changed: str, muxer: Run) -> None:
    value = found(muxer("replay", changed, "--json"))
    of_contract = {"requests", "moved", "before_usd", "after_usd", "routes", "moves", "refused", "unknown"}
    assert of_contract <= set(value)
    (move,) = value["moves"]
    assert set(move) == {"from", "to", "requests", "moved", "before_usd", "after_usd"}
    assert (move["from"], move["to"], move["requests"]) == ("big", "small", 1)


def test_a_change_past_a_bound_is_no(changed: str, muxer: Run) -> None:
    ran = muxer("replay", "routing.yaml", "--against", changed, "--max-cost-increase", "5%", "--max-moved", "60%")
    assert ran.code == 1
    assert "more; --max-cost-increase allows 5 %" in ran.err
    assert "--max-moved" not in ran.err


def test_one_request_is_explained(changed: str, muxer: Run) -> None:
    id = found(muxer("replay", changed, "--json"))["largest"][0]["id"]
    ran = muxer("replay", changed, "--against", "routing.yaml", "--explain", id)
    assert ran.code == 0
    assert ran.out.count("rule code: code >= 0.2") == 2
    assert "-> big: $" in ran.out
    assert "-> small: $" in ran.out
    assert muxer("replay", changed, "--explain", "req_none").code == 1


def test_a_page_is_written_beside_the_table(changed: str, muxer: Run) -> None:
    ran = muxer("replay", changed, "--html", "report.html")
    assert "by route" in ran.out
    assert Path("report.html").read_text().startswith("<!doctype html>")
    assert muxer("replay", changed, "--html", "nowhere/report.html").code == 2


def test_a_route_or_a_sample_is_replayed_alone(changed: str, muxer: Run) -> None:
    ran = muxer("replay", changed, "--route", "code")
    assert ran.lines[0][0] == "1"
    assert "limits are not simulated" in ran.out
    assert found(muxer("replay", changed, "--sample", "3", "--json"))["limits_simulated"] is True  # that is all of them


@contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    folder.chmod(0o555)
    try:
        yield
    finally:
        folder.chmod(0o755)


def content(log: Path) -> str:
    with closing(sqlite3.connect(f"{log.as_uri()}?mode=ro", uri=True)) as db:
        return "\n".join(db.iterdump())


def test_the_log_is_not_changed(changed: str, muxer: Run, tmp_path: Path) -> None:
    log = tmp_path / "kept" / "old.db"
    log.parent.mkdir()
    with closing(sqlite3.connect("muxer.db")) as db:
        db.execute("VACUUM INTO ?", (str(log),))
    before, bytes_before = content(log), log.read_bytes()
    with unwritable(log.parent):
        assert found(muxer("replay", changed, "--log", str(log), "--json"))["requests"] == 2
    assert (content(log), log.read_bytes()) == (before, bytes_before)
    assert list(log.parent.iterdir()) == [log]


def test_a_log_of_an_older_version_is_read_as_it_is(changed: str, muxer: Run) -> None:
    with closing(sqlite3.connect("muxer.db", isolation_level=None)) as db:
        db.execute("ALTER TABLE requests DROP COLUMN notes")
        db.execute("ALTER TABLE requests DROP COLUMN cache_write_tokens")
    assert found(muxer("replay", changed, "--json"))["requests"] == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["new.yaml", "--log", "gone.db"], "no requests are recorded in gone.db: no such file"),
        (["gone.yaml"], "no such file"),
        (["new.yaml", "--since", "0s"], "nothing to replay: no finished request in muxer.db matches"),
        (["new.yaml", "--log", "new.yaml"], "cannot be read"),
        (["new.yaml", "--max-moved", "many"], "'many' is no share: write a number and %, such as 5%"),
        (["new.yaml", "--sample", "0"], "'0' is no number from 1"),
        (["new.yaml", "--since", "soon"], "is no duration"),
        ([], "required: NEW"),
    ],
)
def test_what_cannot_be_told_is_wrong_usage(changed: str, muxer: Run, words: list[str], says: str) -> None:
    ran = muxer("replay", *words)
    assert ran.code == 2
    assert says in ran.err
    assert not Path("gone.db").exists()


def test_a_file_of_another_kind_has_no_requests(changed: str, muxer: Run) -> None:
    with closing(sqlite3.connect("other.db")) as db:
        db.execute("CREATE TABLE t (a)")
    ran = muxer("replay", changed, "--log", "other.db")
    assert (ran.code, "it is no file of a store" in ran.err) == (2, True)


async def test_a_store_that_tells_the_newest_first_is_read_backwards(tmp_path: Path) -> None:
    async with open_context(tmp_path) as context, open_memory(MemorySettings(), context) as store:
        archive, ids = NewestFirst(store), [f"{number:05}" for number in range(1_500)]
        for number, id in enumerate(ids):
            await store.hold(a_record(id=id, at=float(number)), [a_choice(1)])
            await store.settle(a_record(id=id, at=float(number), state="done"))
        await store.hold(a_record(id="open", at=9.0), [a_choice(1)])
        batches = [[one.id for one in batch] async for batch in archive.history(10.0, {}, None)]
        assert [id for batch in batches for id in batch] == ids[10:]
        assert len(batches) == 2
        kept = [one.id async for batch in archive.history(0.0, {}, lambda id: id < "00003") for one in batch]
        assert kept == ids[:3]
        assert await archive.keys() == []
