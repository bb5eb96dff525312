"""The shared store's summaries: totals of days against every record read one by one."""

import random
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from muxer_redis import RedisSettings, RedisStore, open_at
from redis.asyncio import Redis

from muxer import Attempt, Record, Secret, Summary, Usage
from muxer.testing import ManualClock, a_record, open_context
from muxer.testing.builders import START_S
from muxer.testing.contracts.money import DAY_S, a_choice, a_claim, an_attempt
from tests.plugins.redis_server import Server

CLAIM = a_claim(limit_nanos=None)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


class Traffic:
    """Requests of some days in every state, drawn once."""

    def __init__(self, store: RedisStore, seed: str) -> None:
        self._store = store
        self._chance = random.Random(seed)
        self._ids: list[str] = []

    async def go_on(self, steps: int) -> None:
        for _ in range(steps):
            kind = self._chance.choice(["open", "open", "extend", "settle", "settle", "resolve"])
            if kind == "open" or not self._ids:
                await self._open()
                continue
            await self._change(kind, self._chance.choice(self._ids))

    async def _open(self) -> None:
        id, at = f"r-{len(self._ids)}", START_S + self._chance.randrange(-3, 3 * DAY_S)
        self._ids.append(id)
        await self._store.hold(self._record(id, at=float(at), state="open"), [a_choice(60, CLAIM)])

    async def _change(self, kind: str, id: str) -> None:
        if kind == "extend":
            await self._store.extend(id, 1, a_choice(30, CLAIM), self._attempt())
        elif kind == "resolve":
            await self._store.resolve(id, self._chance.randrange(50))
        else:
            found = await self._store.record(id)
            assert found is not None
            attempts = (self._attempt(), self._attempt())
            cost, presumed = (sum(getattr(one, name) for one in attempts) for name in ("cost_nanos", "presumed_nanos"))
            changes = {"cost_nanos": cost, "presumed_nanos": presumed, "attempts": attempts}
            state = self._chance.choice(["done", "failed"])
            await self._store.settle(self._record(id, at=found.at, state=state, **changes))

    def _attempt(self) -> Attempt:
        return an_attempt(cost_nanos=self._chance.randrange(40), presumed_nanos=self._chance.choice([0, 0, 20]))

    def _record(self, id: str, **changes: object) -> Record:
        fields = {name: self._chance.choice(["", "a", "é \x00'"]) for name in ("team", "route", "model", "provider")}
        usage = Usage(input_tokens=self._chance.randrange(9), output_tokens=5, cached_input_tokens=3)
        user = ("alice", "bob")[int(id.removeprefix("r-")) % 2]
        config = self._chance.choice(["c0ffee", "decade"])
        return a_record(**{"id": id, "user": user, "usage": usage, "config": config, **fields, **changes})


def added_up(records: Sequence[Record], by: Sequence[str]) -> list[tuple[object, ...]]:
    """The lines of a summary, from the records themselves; without what is held, which no record says."""
    sums: dict[tuple[str, ...], list[int]] = {}
    for record in records:
        day = datetime.fromtimestamp(record.at, UTC).strftime("%Y-%m-%d")
        group = tuple(day if name == "day" else str(getattr(record, name)) for name in by)
        usage = record.usage
        tokens = usage.input_tokens, usage.cached_input_tokens, usage.output_tokens
        amounts = (1, *tokens, record.cost_nanos, record.presumed_nanos)
        sums[group] = [sum(pair) for pair in zip(sums.get(group, [0] * 6), amounts, strict=True)]
    return sorted((*group, *found) for group, found in sums.items())


def as_lines(found: Sequence[Summary], by: Sequence[str]) -> list[tuple[object, ...]]:
    return sorted(
        (
            *(line.group[name] for name in by),
            *(line.requests, line.input_tokens, line.cached_input_tokens, line.output_tokens),
            *(line.cost_nanos, line.presumed_nanos),
        )
        for line in found
    )


@pytest.fixture
async def clocked(server: Server, tmp_path: Path) -> AsyncIterator[RedisStore]:
    async with open_context(tmp_path) as context, open_at(_settings(server, tmp_path), context, _clock()) as store:
        yield store


def _settings(server: Server, folder: Path) -> RedisSettings:
    return RedisSettings(url=Secret(server.url), timeout_s=5.0, domain=folder.name)


def _clock() -> "ClockText":
    return ClockText(ManualClock(START_S + 3.0 * DAY_S))


class ClockText:
    """A clock as the store takes it."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    def __call__(self) -> str:
        return repr(self._clock())


GROUPS: tuple[tuple[str, ...], ...] = (
    (), ("day",), ("state",), ("user", "team", "key"), ("route", "model", "provider"), ("config", "day", "state"),
)  # fmt: skip
FILTERS: tuple[dict[str, str], ...] = ({}, {"user": "alice"}, {"team": "", "state": "done"}, {"model": "é \x00'"})


@pytest.mark.parametrize("seed", range(4))
async def test_a_summary_is_what_its_records_add_up_to(server: Server, tmp_path: Path, seed: int) -> None:
    settings = _settings(server, tmp_path)
    async with open_context(tmp_path) as context:
        async with open_at(settings, context, _clock()) as store:
            await Traffic(store, f"{seed} first").go_on(120)
        # What was open is now interrupted; some of that is settled late.
        async with open_at(settings, context, _clock()) as store:
            traffic = Traffic(store, f"{seed} first")
            await traffic.go_on(160)
            held, presumed = await store.held()
            (everything,) = await store.summary([], 0, {})
            assert (everything.held_nanos, everything.presumed_nanos) == (held, presumed)
            assert held > 0
            for since_s in (0.0, START_S + 0.0, START_S + 7_000.5, START_S + DAY_S + 1.0):
                for where in FILTERS:
                    rows = [record async for record in store.records(since_s, where, 10_000)]
                    for by in GROUPS:
                        if by or rows:
                            assert as_lines(await store.summary(by, since_s, where), by) == added_up(rows, by)


async def test_totals_outlive_records(clocked: RedisStore, server: Server, tmp_path: Path) -> None:
    await clocked.hold(a_record(id="a"), [a_choice(60, CLAIM)])
    await clocked.settle(a_record(id="a", state="done", cost_nanos=7, attempts=(an_attempt(cost_nanos=7),)))
    async with Redis.from_url(server.url, protocol=2) as redis:
        prefix = f"{{muxer:{tmp_path.name}}}:"
        assert 0 < await redis.ttl(f"{prefix}r:a") <= 30 * DAY_S
        assert 390 * DAY_S < await redis.ttl(f"{prefix}d:{START_S // DAY_S}") < 401 * DAY_S
        await redis.delete(f"{prefix}r:a", f"{prefix}at", f"{prefix}at:alice")  # as their end would
    assert [record async for record in clocked.records(0, {}, 10)] == []
    (line,) = await clocked.summary([], 0, {})
    assert (line.requests, line.cost_nanos) == (1, 7)
    assert await clocked.summary(["user"], START_S + 2.0 * DAY_S, {}) == []
