"""LiteLLM's `/spend/logs` as its clients meet it. Names and shapes are those of litellm 1.110."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from muxer_litellm_compat.spend import Digests, Logs, Query
from muxer_sqlite import SqliteSettings, open_sqlite

from muxer.testing import Fail, ManualClock, Say, a_choice, a_key, a_record, an_attempt, open_context
from tests.plugins.litellm_client import DAY, PLUGINS, ROOT, dollars, generate, info, logs, refused
from tests.plugins.redis_server import Server
from tests.proxy import OpenProxy, Proxy


@pytest.fixture
async def compat(proxy: OpenProxy) -> Proxy:
    """A proxy with the plugin, at one in the morning of DAY; its upstream answers ten requests."""
    return await proxy(*[Say()] * 10, clock=ManualClock(), plugins=PLUGINS)


async def test_a_row_has_what_litellm_has(compat: Proxy) -> None:
    key = await generate(compat, key_alias="ci", user_id="carol", team_id="build", tags=["night"])
    record = await compat.record(await compat.chat(key["key"], user="someone"))
    (row,) = await logs(compat)
    assert datetime.fromisoformat(row.pop("startTime")).timestamp() == record.at
    assert row.pop("endTime") >= row.pop("completionStartTime") >= f"{DAY}T01:00:00.000Z"
    assert row.pop("request_duration_ms") == round(record.ms)
    expected = {
        "request_id": record.id,
        "litellm_call_id": record.id,
        "call_type": "acompletion",
        "api_key": key["token"],
        "spend": dollars(record),
        "total_tokens": record.usage.input_tokens + record.usage.output_tokens,
        "prompt_tokens": record.usage.input_tokens,
        "completion_tokens": record.usage.output_tokens,
        "model": "small-1",
        "model_id": "small",
        "model_group": "small",
        "custom_llm_provider": "main",
        "user": "carol",
        "team_id": "build",
        "end_user": "someone",
        "cache_hit": "False",
        "request_tags": ["night"],
        "status": "success",
    }
    assert {name: row[name] for name in expected} == expected
    assert row["metadata"]["user_api_key_alias"] == "ci"
    assert row["metadata"]["error_information"] is None


async def test_a_failure_is_a_row_too(proxy: OpenProxy) -> None:
    opened = await proxy(*[Fail()] * 3, plugins=PLUGINS)
    await opened.chat()
    (row,) = await logs(opened)
    assert (row["status"], row["completionStartTime"], row["spend"]) == ("failure", None, 0)
    assert row["metadata"]["error_information"] == {"error_code": "502", "error_class": "upstream_error"}


async def test_an_answer_that_was_ready_is_a_cache_hit(proxy: OpenProxy) -> None:
    opened = await proxy(Say(), plugins="[openai, sqlite, litellm_compat, cache]", guards="[{kind: cache}]")
    for _ in range(2):
        response = await opened.chat(temperature=0)
    assert response.headers["x-litellm-response-cost"] == "0"
    assert [row["cache_hit"] for row in await logs(opened)] == ["True", "False"]


async def test_a_user_sees_their_own_rows_and_readers_all(compat: Proxy) -> None:
    ids = [(await compat.record(await compat.chat(key))).id for key in ("sk-alice", "sk-bob")]
    assert {row["request_id"] for row in await logs(compat)} == set(ids)
    assert [row["request_id"] for row in await logs(compat, "sk-alice")] == ids[:1]
    assert await logs(compat, "sk-alice", user_id="bob") == await logs(compat, "sk-alice", request_id=ids[1]) == []
    days = {"start_date": DAY, "end_date": "2026-09-23"}
    assert [list(one["users"]) for one in await logs(compat, "sk-alice", **days)] == [["alice"], []]
    assert await logs(compat, "sk-alice", user_id="bob", **days) == []


async def test_rows_are_filtered(compat: Proxy) -> None:
    key = await generate(compat, key_alias="ci", user_id="carol")
    mine, other = [await compat.record(await compat.chat(word)) for word in (key["key"], "sk-alice")]
    for query in (
        {"request_id": mine.id},
        {"user_id": "carol"},
        {"api_key": key["key"]},
        {"api_key": key["token"]},
        {"api_key": key["token"], "request_id": mine.id, "user_id": "carol"},
    ):
        assert [row["request_id"] for row in await logs(compat, **query)] == [mine.id], query
    assert [row["api_key"] for row in await logs(compat, api_key="alice-key")] == ["alice-key"]
    for query in ({"request_id": "nobody"}, {"api_key": "0" * 64}, {"request_id": other.id, "user_id": "carol"}):
        assert await logs(compat, **query) == [], query


async def test_rows_of_a_span_of_days(proxy: OpenProxy) -> None:
    clock = ManualClock()
    opened = await proxy(Say(), Say(), Say(), clock=clock, plugins=PLUGINS)
    ids = []
    for _ in range(3):
        ids.append((await opened.record(await opened.chat())).id)
        clock.now_s += 86_400
    span = {"start_date": "2026-09-22", "end_date": "2026-09-24", "summarize": "false"}
    assert [row["request_id"] for row in await logs(opened, **span)] == [ids[1], ids[0]]
    assert [row["request_id"] for row in await logs(opened, start_date="2026-09-23")] == [ids[2], ids[1]]
    assert [row["request_id"] for row in await logs(opened, end_date="2026-09-23")] == [ids[0]]


async def test_sums_are_by_day_with_empty_days_to_the_end(proxy: OpenProxy) -> None:
    clock = ManualClock()
    opened = await proxy(*[Say()] * 4, clock=clock, plugins=PLUGINS)
    key = await generate(opened, key_alias="ci", user_id="carol")
    records = [await opened.record(await opened.chat(word)) for word in (key["key"], "sk-alice", "sk-alice")]
    clock.now_s += 86_400
    later = await opened.record(await opened.chat(key["key"], model="large"))
    days = {"start_date": "2026-09-01", "end_date": "2026-09-25"}
    assert await logs(opened, **days) == [
        {
            key["token"]: dollars(records[0]),
            "alice-key": dollars(*records[1:]),
            "startTime": "2026-09-22",
            "spend": dollars(*records),
            "users": {"carol": dollars(records[0]), "alice": dollars(*records[1:])},
            "models": {"small": dollars(*records)},
        },
        {
            key["token"]: dollars(later),
            "startTime": "2026-09-23",
            "spend": dollars(later),
            "users": {"carol": dollars(later)},
            "models": {"large": dollars(later)},
        },
        {"startTime": "2026-09-24", "spend": 0, "users": {}, "models": {}},
        {"startTime": "2026-09-25", "spend": 0, "users": {}, "models": {}},
    ]
    own = await logs(opened, api_key=key["token"], **days)
    assert [one["spend"] for one in own] == [dollars(records[0]), dollars(later), 0, 0]
    one = await logs(opened, request_id=later.id, **days)
    assert [day["spend"] for day in one] == [dollars(later), 0, 0]
    assert await logs(opened, start_date="2026-09-01", end_date="2026-09-22") == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"start_date": "yesterday"}, "start_date"),
        ({"end_date": "2026-02-30"}, "end_date"),
        ({"start_date": "1970-01-01", "end_date": "9999-12-31"}, "end_date"),
        ({"summarize": "perhaps"}, "summarize"),
        ({"page": "2"}, "page"),
    ],
)
async def test_a_query_that_says_nothing_is_refused(compat: Proxy, query: dict[str, str], param: str) -> None:
    response = await compat.client.get("/spend/logs", params=query, headers=ROOT)
    assert await refused(response) == (400, "invalid_value", param)


async def test_a_store_that_keeps_no_keys_still_has_logs(proxy: OpenProxy) -> None:
    plugins = "[openai, tests.odd_store, litellm_compat]"
    opened = await proxy(Say(), plugins=plugins, store="{kind: keyless}")
    record = await opened.record(await opened.chat())
    assert [row["request_id"] for row in await logs(opened, api_key="alice-key")] == [record.id]
    assert await refused(await opened.client.get("/key/info", headers=ROOT)) == (400, "unsupported", None)
    response = await opened.client.post("/key/generate", json={}, headers=ROOT)
    assert await refused(response) == (400, "unsupported", None)


async def test_without_keys_everybody_is_one_user(proxy: OpenProxy) -> None:
    opened = await proxy(Say(), plugins=PLUGINS, keys="[]")
    await opened.chat("any")
    assert [row["api_key"] for row in await logs(opened, "any")] == ["anonymous"]
    assert (await opened.client.post("/key/generate", json={})).status == 403


@asynccontextmanager
async def recorded(folder: Path, count: int) -> AsyncIterator[Logs]:
    """So many requests that are over, a second apart, and one that is not."""
    clock = ManualClock()
    async with open_context(folder, clock=clock) as context, open_sqlite(SqliteSettings(), context) as store:
        for number in range(count + 1):
            record = a_record(id=f"request-{number}", at=clock.now_s + number)
            await store.hold(record, [a_choice(1)])
            if number < count:
                await store.settle(a_record(id=record.id, at=record.at, state="done", attempts=(an_attempt(1),)))
        yield Logs(store, [], "")


async def test_rows_are_bounded_and_leave_out_what_is_under_way(tmp_path: Path) -> None:
    async with recorded(tmp_path, 3) as all_logs:
        assert [row["request_id"] for row in await all_logs.rows(Query(), 2)] == ["request-2", "request-1"]
        assert len(await all_logs.rows(Query(), 10)) == 3


def test_a_request_belongs_to_the_key_that_had_the_name_then() -> None:
    first = a_key("1", name="ci", created_at=10.0, revoked_at=20.0)
    second = a_key("2", name="ci", created_at=30.0)
    digests = Digests([first, second])
    at = {moment: digests.of("ci", moment, moment) for moment in (5.0, 15.0, 25.0, 35.0)}
    assert at == {5.0: "ci", 15.0: first.digest, 25.0: "ci", 35.0: second.digest}


async def test_the_shared_store_has_the_same(proxy: OpenProxy) -> None:
    with Server() as server:
        store = f'{{kind: redis, url: "{server.url}"}}'
        opened = await proxy(Say(), Say(), plugins="[openai, redis, litellm_compat]", store=store)
        key = await generate(opened, key_alias="ci", user_id="carol")
        record = await opened.record(await opened.chat(key["key"]))
        await opened.chat()
        assert [row["spend"] for row in await logs(opened, api_key=key["token"], user_id="carol")] == [dollars(record)]
        day = datetime.fromtimestamp(record.at, UTC).date()
        span = {"start_date": str(day), "end_date": str(day + timedelta(days=1))}
        assert [one["spend"] for one in await logs(opened, user_id="carol", **span)] == [dollars(record), 0]
        assert (await info(opened, key["key"]))["info"]["total_spend"] == dollars(record) > 0
