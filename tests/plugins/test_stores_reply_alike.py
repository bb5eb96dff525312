"""The three stores asked the same give the same replies, word for word (RELIABILITY T2)."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from muxer_memory import MemorySettings, open_memory
from muxer_redis import RedisSettings, open_at
from muxer_sqlite import SqliteSettings, open_sqlite

from muxer import (
    Attempt,
    BudgetClaim,
    Granted,
    HoldChoice,
    Quota,
    QuotaStanding,
    Refused,
    Resolves,
    Secret,
    Store,
    Usage,
)
from muxer.testing import ManualClock, a_record, open_context
from muxer.testing.contracts.money import a_choice, a_claim, an_attempt
from tests.plugins.redis_server import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


Reply = Granted | Refused | bool | None
CLAIMS = (
    a_claim("all:", 400),
    a_claim("user:alice", 250),
    a_claim("user:alice", 300),
    a_claim("team:red", 150, soft=True),
    a_claim("model:m-1", None),
)
_OF: dict[str, Any] = {"limit": "limits[0]", "per": "user", "subject": "alice", "account": "user:alice"}
QUOTAS = (
    Quota(**_OF, unit="requests", capacity=5, per_minute=60),
    Quota(**_OF, unit="tokens", capacity=300, per_minute=600, amount=40),
    Quota(**_OF, unit="slots", capacity=4),
)


class Step:
    """One thing that happens, drawn once and done to every store."""

    def __init__(self, chance: random.Random, ids: list[str]) -> None:
        self.kind = chance.choice(["hold", "hold", "hold", "extend", "settle", "settle", "resolve", "repeat"])
        self.id = chance.choice(ids)
        self.leg = chance.randint(1, 2)
        # The same id asks the same again.
        self.choices = [_choice(random.Random(f"{self.id} {number}")) for number in range(3)]
        self.ended = _attempt(chance)
        self.attempts = (self.ended, *(_attempt(chance) for _ in range(chance.randint(0, 2))))
        self.later_s = chance.choice([0.0, 0.0, 0.4, 3.0, 4_000.0])

    async def do(self, store: Store) -> Reply:
        """The reply of a store."""
        assert isinstance(store, Resolves)
        if self.kind == "settle":
            cost = sum(attempt.cost_nanos for attempt in self.attempts)
            presumed = sum(attempt.presumed_nanos for attempt in self.attempts)
            usage = Usage(input_tokens=10, output_tokens=self.leg * 20)
            changes = {"state": "done", "cost_nanos": cost, "presumed_nanos": presumed, "attempts": self.attempts}
            await store.settle(a_record(id=self.id, usage=usage, **changes))
            return None
        if self.kind == "resolve":
            return await store.resolve(self.id, self.ended.cost_nanos)
        if self.kind == "extend":
            return _plain(await store.extend(self.id, self.leg, self.choices[0], self.ended))
        return _plain(await store.hold(a_record(id=self.id), self.choices))


def _choice(chance: random.Random) -> HoldChoice:
    claims: list[BudgetClaim] = chance.sample(CLAIMS, chance.randint(0, len(CLAIMS)))
    bound = chance.choice([0, 10, 60, 90])
    floor = chance.choice([0, bound // 2, bound])
    quotas = tuple(chance.sample(QUOTAS, chance.randint(0, len(QUOTAS))))
    model = f"m-{chance.randint(1, 3)}"
    choice = a_choice(bound, floor_nanos=floor, expected_nanos=bound // 3, model=model, quotas=quotas)
    return replace(choice, claims=tuple(claims))


def _attempt(chance: random.Random) -> Attempt:
    return an_attempt(cost_nanos=chance.choice([0, 5, 40]), presumed_nanos=chance.choice([0, 0, 20]))


def _plain(reply: Granted | Refused) -> Granted | Refused:
    """Without the millionths of a second in which roundings differ."""
    if isinstance(reply, Granted):
        return replace(reply, quotas=tuple(_rounded(quota) for quota in reply.quotas))
    refusals = [
        replace(one, standing=_rounded(one.standing)) if isinstance(one.standing, QuotaStanding) else one
        for one in reply.refusals
    ]
    return Refused(refusals=tuple(refusals))


def _rounded(quota: QuotaStanding) -> QuotaStanding:
    return replace(quota, retry_after_s=round(quota.retry_after_s, 4), resets_s=round(quota.resets_s, 4))


async def _everything(store: Store) -> tuple[object, ...]:
    records = sorted([record async for record in store.records(0, {}, 1_000)], key=lambda record: record.id)
    summary = await store.summary(["state"], 0, {})
    quotas = [_rounded(quota) for quota in await store.quotas(QUOTAS)]
    return list(await store.standings(CLAIMS)), quotas, await store.held(), records, summary


@pytest.mark.parametrize("seed", range(12))
async def test_the_stores_reply_alike(server: Server, tmp_path: Path, seed: int) -> None:
    chance, clock = random.Random(seed), ManualClock()
    settings = RedisSettings(url=Secret(server.url), timeout_s=5.0, domain=f"parity-{seed}")
    async with (
        open_context(tmp_path, clock=clock) as context,
        open_sqlite(SqliteSettings(), context) as embedded,
        open_at(settings, context, lambda: repr(clock())) as shared,
        open_memory(MemorySettings(), context) as passing,
    ):
        ids: list[str] = []
        for number in range(150):
            ids = [*ids[-5:], f"r-{number}"] if number % 2 else ids or ["r-0"]
            step = Step(chance, ids)
            if step.kind == "settle" and await embedded.record(step.id) is None:
                continue  # leaves a tombstone in the shared one, where a late hold may still be on its way
            clock.now_s += step.later_s
            expected = await step.do(embedded)
            for store in (shared, passing):
                assert await step.do(store) == expected, f"step {number}: {step.kind} {step.id} by {store}"
        found = [await _everything(store) for store in (embedded, shared, passing)]
        assert found == [found[0]] * 3
