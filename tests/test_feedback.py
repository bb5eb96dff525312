"""Scores of answers: whose they may be, when they may come, and how many."""

import pytest

from muxer.testing import Cut, Say, Stall
from tests.plugins.redis_server import Server
from tests.proxy import OpenProxy, Proxy, events

NOBODY = "req_019ac0f6b2c5d1a40c39d2b7f8e65a90"


async def judged(opened: Proxy, id: str, score: object = 1, key: str = "sk-alice") -> int:
    """The status of a score."""
    async with opened.client.post(
        "/v1/feedback", json={"request_id": id, "score": score}, headers={"x-api-key": key}
    ) as response:
        return response.status


async def answered(opened: Proxy, key: str = "sk-alice") -> str:
    """The id of a request that was answered."""
    return (await opened.chat(key)).headers["x-muxer-request-id"]


async def test_a_score_is_in_the_record_and_the_last_one_counts(proxy: OpenProxy) -> None:
    opened = await proxy()
    id = await answered(opened)
    assert (await opened.get(f"/v1/requests/{id}"))["feedback"] is None
    response = await opened.ask("/v1/feedback", {"request_id": id, "score": 0.25})
    assert (response.status, await response.json()) == (200, {"request_id": id, "score": 0.25})
    assert await judged(opened, id, 0.75) == 200
    assert (await opened.get(f"/v1/requests/{id}"))["feedback"] == 0.75


async def test_only_who_asked_and_admins_may_judge_and_others_learn_nothing(proxy: OpenProxy) -> None:
    opened = await proxy()
    id = await answered(opened)
    told = []
    for asked in (id, NOBODY):
        response = await opened.ask("/v1/feedback", {"request_id": asked, "score": 1}, "sk-bob")
        told.append((response.status, await response.json()))
    assert told[0] == told[1] and told[0][0] == 404
    assert (await opened.last_record()).feedback is None
    assert [await judged(opened, id, 0.5, key) for key in ("sk-alice", "sk-root")] == [200, 200]
    assert await judged(opened, NOBODY, 0.5, "sk-root") == 404


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"score": 1.01}, "score"),
        ({"score": -0.1}, "score"),
        ({"score": "1"}, "score"),
        ({"score": True}, "score"),
        ({"score": None}, "score"),
        ({"request_id": 7}, "request_id"),
        ({"request_id": ""}, "request_id"),
        ({"request_id": "x" * 129}, "request_id"),
        ({"user": "bob"}, "user"),
    ],
)
async def test_what_is_no_score_is_refused_by_name(proxy: OpenProxy, fields: dict[str, object], param: str) -> None:
    opened = await proxy()
    id = await answered(opened)
    response = await opened.ask("/v1/feedback", {"request_id": id, "score": 1, **fields})
    assert (response.status, (await response.json())["error"]["param"]) == (400, param)
    assert (await opened.last_record()).feedback is None


async def test_a_score_may_come_while_the_answer_still_runs(proxy: OpenProxy) -> None:
    opened = await proxy(Stall(after_pieces=1, then=Say(text="It is Paris.")))
    response = await opened.chat(stream=True)
    id = response.headers["x-muxer-request-id"]
    assert await judged(opened, id, 0.25) == 200
    assert (await opened.last_record()).state == "open"
    opened.upstream.gate.set()
    assert (await events(response)).is_done
    record = await opened.record(response)
    assert (record.state, record.feedback, record.cost_nanos > 0) == ("done", 0.25, True)


async def test_an_answer_that_broke_off_can_be_judged(proxy: OpenProxy) -> None:
    opened = await proxy(Cut(after_bytes=200))
    response = await opened.chat(stream=True)
    await response.read()
    assert await judged(opened, response.headers["x-muxer-request-id"], 0) == 200
    record = await opened.record(response)
    assert (record.state, record.feedback) == ("failed", 0.0)


async def test_scores_have_the_rate_of_requests_for_themselves(proxy: OpenProxy) -> None:
    limits = "[{per: key, requests_per_minute: 2, concurrent: 1, daily_usd: 1, tokens_per_minute: 5000}]"
    opened = await proxy(limits=limits, clock=lambda: 1_790_035_200.0)
    ids = [await answered(opened) for _ in range(2)]
    assert (await opened.chat()).status == 429
    assert [await judged(opened, id) for id in (ids[0], NOBODY)] == [200, 404]
    refused = await opened.ask("/v1/feedback", {"request_id": ids[1], "score": 1})
    assert (refused.status, (await refused.json())["error"]["code"]) == (429, "rate_limit_exceeded")
    assert (refused.headers["Retry-After"], refused.headers["x-ratelimit-limit-requests"]) == ("30", "2")
    assert await judged(opened, ids[1], 1, "sk-root") == 200  # each key has its own
    limits_now = {one["window"]: one for one in (await opened.get("/user/stats"))["limits"]}
    assert limits_now["tokens_per_minute"]["remaining"] > 4_900 and limits_now["concurrent"]["remaining"] == 1


async def test_a_store_that_keeps_no_feedback_says_so(proxy: OpenProxy) -> None:
    opened = await proxy(plugins="[openai, tests.odd_store]", store="{kind: keyless}")
    response = await opened.ask("/v1/feedback", {"request_id": NOBODY, "score": 1})
    assert (response.status, (await response.json())["error"]["code"]) == (400, "unsupported")


async def test_of_a_request_the_store_does_not_know_yet_is_said_that_it_comes(proxy: OpenProxy) -> None:
    with Server() as server:
        limits = "[{per: user, daily_usd: 1, on_store_error: allow}]"
        opened = await proxy(plugins="[openai, redis]", store=f"{{kind: redis, url: '{server.url}'}}", limits=limits)
        server.kill()
        id = await answered(opened)
        assert [await judged(opened, one) for one in (id, NOBODY)] == [503, 503]
        server.start()
        await opened.log.wait_for("store_outage_over")
        assert await judged(opened, id, 0.5) == 200
        assert (await opened.last_record()).feedback == 0.5
