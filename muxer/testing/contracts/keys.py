"""What a store that keeps keys must do besides, as tests to inherit beside StoreContract."""
# ruff: noqa: D102  # a test's name is its sentence

import asyncio
from decimal import Decimal
from pathlib import Path

from msgspec.structs import replace

from muxer import Amounts, KeepsKeys, Store, StoredKey
from muxer.testing.builders import START_S, ManualClock, a_record
from muxer.testing.contracts.money import StoreTests, a_choice


def a_key(id: str = "1", **changes: object) -> StoredKey:
    """A key with no more than a key must have, each of another name and age, with fields changed."""
    key = StoredKey(id=id, digest=id * 64, name=f"key-{id}", user="alice", created_at=START_S + float(id))
    return replace(key, **changes)


def keeping(store: Store) -> KeepsKeys:
    """The store as one that keeps keys."""
    assert isinstance(store, KeepsKeys), "the store has not all methods of KeepsKeys"
    return store


class KeysContract(StoreTests):
    """Inherit it too where your store keeps keys (KeepsKeys)."""

    async def test_a_key_comes_back_as_it_was_made(self, tmp_path: Path) -> None:
        key = a_key(
            name="Zoë’s \\ \"'key'",
            team="research",
            tags=("a", "b"),
            models=("gpt-*",),
            role="admin",
            limits=(Amounts(daily_usd=Decimal("0.1"), hold="expected"), Amounts(requests_per_minute=60, burst=5)),
            metadata={"mail": ["Zoë", None, 0.5]},
            expires_at=START_S + 0.25,
        )
        async with self.open_store(tmp_path, ManualClock()) as store:
            assert await keeping(store).add_key(key)
        async with self.open_store(tmp_path, ManualClock()) as store:
            assert await keeping(store).key(key.digest) == key
            assert await keeping(store).keys() == [key]

    async def test_a_digest_nobody_has_is_nobody(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            assert await keeping(store).keys() == []
            await keeping(store).add_key(a_key())
            for digest in ("2" * 64, "1" * 63, "", "' OR 1=1 --", "*"):
                assert await keeping(store).key(digest) is None

    async def test_keys_are_listed_from_the_oldest(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            for id in "3142":
                await keeping(store).add_key(a_key(id))
            assert [key.id for key in await keeping(store).keys()] == ["1", "2", "3", "4"]

    async def test_whether_there_are_keys_is_known_and_never_changes_back(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            assert not await keeping(store).has_keys()
            await keeping(store).add_key(a_key())
            assert await keeping(store).has_keys()
            await keeping(store).revoke_key("1", START_S)
            assert await keeping(store).has_keys()

    async def test_many_keys_are_listed_each_once(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            for number in range(1, 1_001):
                await keeping(store).add_key(a_key(str(number), digest=f"{number:064}"))
            assert [key.id for key in await keeping(store).keys()] == [str(number) for number in range(1, 1_001)]

    async def test_a_revoked_key_stays_and_says_since_when(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await keeping(store).add_key(a_key())
            revoked = a_key(revoked_at=START_S + 0.5)
            assert await keeping(store).revoke_key("1", START_S + 0.5) == revoked
            assert await keeping(store).revoke_key("1", START_S + 9.0) == revoked
            assert await keeping(store).key(revoked.digest) == revoked
        async with self.open_store(tmp_path, ManualClock()) as store:
            assert await keeping(store).keys() == [revoked]

    async def test_only_keys_that_exist_can_be_revoked(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await keeping(store).add_key(a_key())
            for id in ("2", "key-1", "1" * 64, ""):
                assert await keeping(store).revoke_key(id, START_S) is None
            assert await keeping(store).keys() == [a_key()]

    async def test_a_name_is_free_again_once_its_key_is_revoked(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            first, second = a_key("1", name="ci"), a_key("2", name="ci")
            assert await keeping(store).add_key(first)
            assert not await keeping(store).add_key(second)
            assert await keeping(store).key(second.digest) is None
            await keeping(store).revoke_key("1", START_S)
            assert await keeping(store).add_key(second)
            assert not await keeping(store).add_key(a_key("3", name="ci"))
            assert [key.revoked_at for key in await keeping(store).keys()] == [START_S, None]

    async def test_the_same_key_again_is_no_change(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            assert [await keeping(store).add_key(a_key()) for _ in range(2)] == [True, True]
            revoked = await keeping(store).revoke_key("1", START_S)
            assert await keeping(store).add_key(a_key())
            assert await keeping(store).keys() == [revoked]

    async def test_of_many_with_one_name_one_is_kept(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            made = await asyncio.gather(*(keeping(store).add_key(a_key(str(id), name="ci")) for id in range(20)))
            assert (made.count(True), len(await keeping(store).keys())) == (1, 1)

    async def test_keys_and_money_do_not_meet(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await keeping(store).add_key(a_key())
            await store.hold(a_record(), [a_choice(60)])
            await keeping(store).revoke_key("1", START_S)
            assert (await store.held(), len(await keeping(store).keys())) == ((60, 0), 1)
