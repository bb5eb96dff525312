"""Keys of the store: remembered for a while, forgotten in time, never grown by guesses."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from muxer_sqlite import SqliteSettings, open_sqlite

from muxer.access import ANONYMOUS, Callers, Keys, digest
from muxer.errors import InvalidAPIKey, KeyDisabled, StoreUnavailable
from muxer.keyring import TTL_S, Keyring
from muxer.keys import KeepsKeys, StoredKey
from muxer.limits import Amounts
from muxer.measurements import STORE_ERRORS, STORE_SECONDS, Metric
from muxer.testing import ManualClock, a_key, open_context

SECRET = "mux_1_secret"
KEY = a_key(digest=digest(SECRET), name="ci", user="alice", team="build", role="viewer")
SENT = {"x-api-key": SECRET}


class Counting:
    """A meter that counts how often the store was asked, and failed."""

    def __init__(self) -> None:
        self.asked = 0
        self.failed: list[str] = []

    def add(self, metric: Metric, amount: float, *labels: str) -> None:
        assert metric is STORE_ERRORS
        self.failed += labels

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        raise AssertionError("a keyring has no gauge")

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        assert (metric, labels) == (STORE_SECONDS, ("key",))
        self.asked += 1


class Replica:
    """One process's view of the keys, by clocks of its own."""

    def __init__(self, store: KeepsKeys | None, deadline_s: float = 5.0) -> None:
        self.meter, self.monotonic, self.clock = Counting(), ManualClock(0.0), ManualClock()
        self.ring = Keyring(store, self.meter, self.monotonic, deadline_s)
        self.callers = Callers(Keys((), self.ring, self.clock))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[KeepsKeys]:
    async with open_context(tmp_path) as context, open_sqlite(SqliteSettings(), context) as opened:
        assert isinstance(opened, KeepsKeys)
        yield opened


def break_keys(folder: Path) -> None:
    """From here on the store cannot tell who has a key."""
    with closing(sqlite3.connect(folder / "muxer.db")) as db:
        db.execute("ALTER TABLE keys RENAME TO lost")


async def test_a_stored_key_is_its_caller(store: KeepsKeys) -> None:
    await store.add_key(KEY)
    caller = await Replica(store).callers.caller(SENT)
    assert (caller.key, caller.user, caller.team, caller.role) == ("ci", "alice", "build", "viewer")


async def test_limits_of_a_stored_key_count_for_that_key_alone(store: KeepsKeys) -> None:
    await store.add_key(a_key(digest=digest(SECRET), limits=(Amounts(requests_per_minute=6), Amounts(concurrent=2))))
    lines = (await Replica(store).callers.caller(SENT)).limits
    assert [line.id for line in lines] == ["keys.*.limits[0].requests_per_minute", "keys.*.limits[1].concurrent"]
    assert {(line.per, line.account) for line in lines} == {("key", "key_id:1")}


async def test_the_store_is_asked_once_until_the_answer_is_old(store: KeepsKeys) -> None:
    await store.add_key(KEY)
    replica = Replica(store)
    await replica.ring.is_empty()
    for moved_s, asked in ((0.0, 2), (TTL_S - 0.01, 2), (0.01, 3), (0.0, 3)):
        replica.monotonic.now_s += moved_s
        await replica.callers.caller(SENT)
        assert replica.meter.asked == asked


async def test_a_revoked_key_ends_on_every_replica_within_the_time(store: KeepsKeys) -> None:
    await store.add_key(KEY)
    here, there = Replica(store), Replica(store)
    assert (await here.callers.caller(SENT)).key == (await there.callers.caller(SENT)).key == "ci"
    await store.revoke_key("1", 0.0)
    here.ring.forget(KEY.digest)
    with pytest.raises(KeyDisabled, match="revoked"):
        await here.callers.caller(SENT)
    there.monotonic.now_s += TTL_S
    with pytest.raises(KeyDisabled, match="revoked"):
        await there.callers.caller(SENT)


class Late:
    """A store whose answers about a key arrive when the test lets them."""

    def __init__(self, store: KeepsKeys) -> None:
        self._store = store
        self.looked, self.may_arrive = asyncio.Event(), asyncio.Event()

    async def key(self, digest: str) -> StoredKey | None:
        found = await self._store.key(digest)
        self.looked.set()
        await self.may_arrive.wait()
        return found

    async def keys(self) -> list[StoredKey]:
        return await self._store.keys()

    async def has_keys(self) -> bool:
        return await self._store.has_keys()

    async def add_key(self, key: StoredKey) -> bool:
        return await self._store.add_key(key)

    async def revoke_key(self, id: str, at: float) -> StoredKey | None:
        return await self._store.revoke_key(id, at)


async def test_an_answer_from_before_the_revocation_is_not_remembered(store: KeepsKeys) -> None:
    await store.add_key(KEY)
    late = Late(store)
    replica = Replica(late)
    early = asyncio.create_task(replica.callers.caller(SENT))
    await late.looked.wait()
    await store.revoke_key("1", 0.0)
    replica.ring.forget(KEY.digest)
    late.may_arrive.set()
    await early
    with pytest.raises(KeyDisabled):
        await replica.callers.caller(SENT)


async def test_expiry_is_looked_at_per_request(store: KeepsKeys) -> None:
    replica = Replica(store)
    await store.add_key(a_key(digest=digest(SECRET), expires_at=replica.clock.now_s + 1))
    await replica.callers.caller(SENT)
    replica.clock.now_s += 1
    with pytest.raises(KeyDisabled, match="expired"):
        await replica.callers.caller(SENT)


async def test_the_first_key_ever_made_ends_anonymous_access_for_good(store: KeepsKeys) -> None:
    replica = Replica(store)
    assert await replica.callers.caller({}) is ANONYMOUS
    await store.add_key(KEY)
    replica.monotonic.now_s += TTL_S
    with pytest.raises(InvalidAPIKey, match="no API key"):
        await replica.callers.caller({})
    await store.revoke_key("1", 0.0)
    for one in (replica, Replica(store)):
        one.monotonic.now_s += TTL_S
        assert not await one.callers.is_open()
        with pytest.raises(InvalidAPIKey, match="not known"):
            await one.callers.caller({"x-api-key": "sk-anything"})


async def test_a_key_that_was_just_made_works_although_it_was_tried_before(store: KeepsKeys) -> None:
    await store.add_key(a_key("2"))
    replica = Replica(store)
    with pytest.raises(InvalidAPIKey):
        await replica.callers.caller(SENT)
    await store.add_key(KEY)
    replica.ring.forget(KEY.digest)
    assert (await replica.callers.caller(SENT)).key == "ci"


async def test_a_wrong_key_is_asked_for_once_and_guesses_push_no_key_out(store: KeepsKeys) -> None:
    await store.add_key(KEY)
    replica = Replica(store)
    await replica.callers.caller(SENT)
    for _ in range(3):
        assert await replica.ring.find("guess 0") is None
    asked = replica.meter.asked
    for number in range(1, 1_001):
        await replica.ring.find(f"guess {number}")
    assert replica.meter.asked == asked + 1_000
    await replica.ring.find("guess 0")  # forgotten: only so many are kept
    await replica.callers.caller(SENT)
    assert replica.meter.asked == asked + 1_001


async def test_what_cannot_be_a_stored_key_is_not_asked_for(store: KeepsKeys) -> None:
    await store.add_key(KEY)
    replica = Replica(store)
    await replica.ring.is_empty()
    for secret in ("sk-alice", "mux", " ", "MUX_1_secret"):
        with pytest.raises(InvalidAPIKey):
            await replica.callers.caller({"x-api-key": secret})
    assert replica.meter.asked == 1


async def test_without_the_store_a_key_is_neither_right_nor_wrong(store: KeepsKeys, tmp_path: Path) -> None:
    await store.add_key(KEY)
    replica, fresh = Replica(store), Replica(store)
    await replica.callers.caller(SENT)
    break_keys(tmp_path)
    assert (await replica.callers.caller(SENT)).key == "ci"
    replica.monotonic.now_s += TTL_S
    for one in (replica, fresh):
        with pytest.raises(StoreUnavailable):
            await one.callers.caller(SENT)
    with pytest.raises(StoreUnavailable):
        await fresh.callers.caller({})  # whether the door is open cannot be known either
    assert fresh.meter.failed == ["unavailable"] * 2


class NeverAnswers:
    """A store whose server hangs."""

    async def add_key(self, key: StoredKey) -> bool:
        return await asyncio.Future[bool]()

    async def key(self, digest: str) -> StoredKey | None:
        return await asyncio.Future[StoredKey]()

    async def keys(self) -> list[StoredKey]:
        return await asyncio.Future[list[StoredKey]]()

    async def has_keys(self) -> bool:
        return await asyncio.Future[bool]()

    async def revoke_key(self, id: str, at: float) -> StoredKey | None:
        return await asyncio.Future[StoredKey]()


async def test_a_store_that_hangs_is_given_up() -> None:
    replica = Replica(NeverAnswers(), deadline_s=0.01)
    with pytest.raises(StoreUnavailable, match="API keys cannot be checked"):
        await replica.ring.find(KEY.digest)
    assert replica.meter.failed == ["timeout"]


async def test_a_store_that_keeps_no_keys_has_none() -> None:
    replica = Replica(None)
    assert await replica.callers.is_open()
    assert await replica.ring.find(KEY.digest) is None
