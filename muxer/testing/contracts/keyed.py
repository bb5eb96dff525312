"""What a store that remembers requests by their callers' keys must do besides, as tests to inherit."""
# ruff: noqa: D102  # a test's name is its sentence

import asyncio
from pathlib import Path

from msgspec.structs import replace

from muxer import KEYED_S, KeyedRequest, RemembersKeyed, Store
from muxer.testing.builders import START_S, ManualClock
from muxer.testing.contracts.money import StoreTests

FIRST = KeyedRequest(digest="d" * 64, body="b" * 64, id="req_1", at=START_S)
"""A request under a key."""


def remembering(store: Store) -> RemembersKeyed:
    """The store as one that remembers keyed requests."""
    assert isinstance(store, RemembersKeyed), "the store has not all methods of RemembersKeyed"
    return store


class KeyedContract(StoreTests):
    """Inherit it too where your store remembers keyed requests (RemembersKeyed)."""

    async def test_the_first_request_under_a_key_stands(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            assert await remembering(store).first_of(FIRST) == FIRST
            later = replace(FIRST, body="c" * 64, id="req_2", at=START_S + 1)
            assert await remembering(store).first_of(later) == FIRST
            other = replace(later, digest="e" * 64)
            assert await remembering(store).first_of(other) == other
            assert await remembering(store).first_of(FIRST) == FIRST

    async def test_one_is_remembered_in_the_place_of_another(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await remembering(store).first_of(FIRST)
            later = replace(FIRST, id="req_2", at=START_S + 1)
            assert await remembering(store).first_of(later, "req_3") == FIRST
            assert await remembering(store).first_of(later, "req_1") == later
            assert await remembering(store).first_of(later, "req_1") == later
            last = replace(FIRST, id="req_4")
            assert await remembering(store).first_of(last, "req_1") == later

    async def test_of_many_at_once_one_is_the_first(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            asked = [replace(FIRST, id=f"req_{number}") for number in range(20)]
            stand = await asyncio.gather(*(remembering(store).first_of(one) for one in asked))
            assert len({one.id for one in stand}) == 1

    async def test_only_the_request_that_stands_is_forgotten(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await remembering(store).first_of(FIRST)
            later = replace(FIRST, id="req_2")
            await remembering(store).forget_keyed(later)
            assert await remembering(store).first_of(later) == FIRST
            for _ in range(2):
                await remembering(store).forget_keyed(FIRST)
            assert await remembering(store).first_of(later) == later

    async def test_a_request_is_remembered_for_a_day(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await remembering(store).first_of(FIRST)
            soon = replace(FIRST, id="req_2", at=START_S + KEYED_S - 1)
            assert await remembering(store).first_of(soon) == FIRST
            late = replace(FIRST, id="req_3", at=START_S + KEYED_S)
            assert await remembering(store).first_of(late) == late

    async def test_requests_are_remembered_by_who_opens_it_next(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, ManualClock()) as store:
            await remembering(store).first_of(FIRST)
        async with self.open_store(tmp_path, ManualClock()) as store:
            assert await remembering(store).first_of(replace(FIRST, id="req_2")) == FIRST
