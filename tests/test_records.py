"""The row about a request: what is in it, and what never is."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxer.records import Ending, as_json, complete, new_id
from muxer.testing import Fail, Say, a_record, an_attempt
from muxer.types import Usage
from tests.proxy import QUESTION, OpenProxy

KEYS = {
    "schema", "id", "at", "api", "state", "user", "team", "key", "tags", "end_user", "conversation", "branch",
    "affinity", "requested_model", "route", "reason", "signals", "needs", "estimate_tokens", "bound_tokens", "excluded",
    "model", "provider", "tokens", "cost_usd", "presumed_usd", "expected_usd", "attempts", "ms", "first_byte_ms",
    "client_gone", "config", "prices",
}  # fmt: skip
TEAM = "[{name: k-1, secret: sk-alice, user: alice, team: red, tags: [night, day]}]"


async def read(proxy: OpenProxy, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    """The record of one answered request, as it is shown."""
    opened = await proxy(Say(usage=Usage(100, 20, cached_input_tokens=64, reasoning_tokens=7)), keys=TEAM)
    response = await opened.post({"messages": QUESTION, **body}, **headers)
    record: dict[str, Any] = await opened.get(f"/v1/requests/{response.headers['x-muxer-request-id']}")
    return record


async def test_a_record_has_all_that_the_design_names(proxy: OpenProxy) -> None:
    record = await read(proxy, {})
    assert record.keys() >= KEYS
    assert record["attempts"][0].keys() >= {"model", "provider", "upstream", "outcome", "status", "cost_usd", "ms"}
    assert record["needs"] == {
        "tools": False, "images": False, "json": False, "logprobs": False, "embeddings": False, "stream": False, "n": 1,
        "cap_tokens": None,
    }  # fmt: skip


async def test_a_record_says_who_asked_for_what_and_who_answered(proxy: OpenProxy) -> None:
    record = await read(proxy, {"model": "large", "user": "end-user-1"}, x_muxer_tags="day, other")
    assert (record["user"], record["team"], record["key"], record["tags"]) == ("alice", "red", "k-1", ["day"])
    assert (record["end_user"], record["requested_model"], record["route"]) == ("end-user-1", "large", "pinned")
    assert (record["model"], record["provider"], record["attempts"][0]["upstream"]) == ("large", "main", "large-1")
    assert (record["state"], record["api"]) == ("done", "openai.chat")


@pytest.mark.parametrize(("header", "tags"), [("day", ["day"]), ("day,night", ["night", "day"]), ("x, day", ["day"])])
async def test_a_request_may_pick_from_the_tags_of_its_key(proxy: OpenProxy, header: str, tags: list[str]) -> None:
    assert (await read(proxy, {}, x_muxer_tags=header))["tags"] == tags


async def test_a_tag_nobody_has_does_not_take_the_key_s_own_off(proxy: OpenProxy) -> None:
    assert (await read(proxy, {}, x_muxer_tags="other"))["tags"] == ["night", "day"]


async def test_a_record_has_tokens_of_each_kind_and_their_exact_cost(proxy: OpenProxy) -> None:
    record = await read(proxy, {"model": "small"})
    assert record["tokens"] == {"input": 100, "cached_input": 64, "cache_write": 0, "output": 20, "reasoning": 7}
    assert record["cost_usd"] == record["attempts"][0]["cost_usd"] == "0.0000824"  # 36 + 6.4 + 40 microdollars
    assert record["presumed_usd"] == "0"


async def test_the_record_the_answer_the_store_and_the_metrics_agree_on_the_cost(proxy: OpenProxy) -> None:
    opened = await proxy(Fail(500), Say(usage=Usage(123, 45)), plugins="[openai, sqlite, prometheus]")
    response = await opened.chat()
    metadata = (await response.json())["router_metadata"]
    record = await opened.record(response)
    assert metadata["estimated_cost"] == record.cost_nanos / 10**9 == 0.00213
    assert (await opened.accounts()).spent == record.cost_nanos == sum(one.cost_nanos for one in record.attempts)
    metrics = await (await opened.client.get("/metrics")).text()
    assert 'muxer_cost_usd_total{model="large",provider="main",route="default"} 0.00213' in metrics


async def test_no_prompt_and_no_answer_is_kept_or_logged(proxy: OpenProxy) -> None:
    opened = await proxy(Say(text="canary-answer"), Say(text="canary-answer"))
    canary = {"messages": [{"role": "user", "content": "canary-prompt"}], "metadata": {"a": "canary-metadata"}}
    for stream in (False, True):
        await (await opened.post({**canary, "stream": stream})).read()
    await opened.log.wait_for("request", 2)
    files = [path.read_bytes() for path in opened.assembly.configuration.folder.glob("muxer.db*") if path.is_file()]
    assert files and not [data for data in files if b"canary" in data]
    assert "canary" not in repr(opened.log.lines)


async def test_no_secret_of_a_key_is_kept_or_logged(proxy: OpenProxy) -> None:
    opened = await proxy()
    await opened.chat()
    await opened.chat(key="sk-wrong")
    files = [path.read_bytes() for path in opened.assembly.configuration.folder.glob("muxer.db*") if path.is_file()]
    assert not [data for data in files if b"sk-" in data]
    assert "sk-" not in repr(opened.log.lines)


async def test_a_request_is_one_line_of_the_log(proxy: OpenProxy) -> None:
    opened = await proxy(Say(usage=Usage(100, 20)))
    response = await opened.chat(model="small")
    (line,) = [line for line in opened.log.lines if line["event"] == "request"]
    assert (line["id"], line["user"], line["model"]) == (response.headers["x-muxer-request-id"], "alice", "small")
    assert (line["status"], line["input_tokens"], line["output_tokens"], line["cost_usd"]) == (200, 100, 20, "0.00014")


def said(*texts: str) -> dict[str, Any]:
    roles = ["system", "user", "assistant", "user"]
    return {"messages": [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]}


async def test_the_turns_of_one_conversation_are_tied_together(proxy: OpenProxy) -> None:
    opened = await proxy()
    talks = [said("Be brief", "Hi"), said("Be brief", "Hi", "Hello", "Bye"), said("Be brief", "Hey"), said("Be", "Hi")]
    found = [(await opened.record(await opened.post(talk))).conversation for talk in talks]
    assert found[0] == found[1] and len(set(found)) == 3
    assert (await opened.record(await opened.post(talks[0], "sk-bob"))).conversation != found[0]


async def test_a_caller_may_name_its_conversation(proxy: OpenProxy) -> None:
    assert (await read(proxy, {}, x_muxer_conversation="c-1"))["conversation"] == "c-1"


async def test_names_that_callers_choose_are_cut(proxy: OpenProxy) -> None:
    record = await read(proxy, {"user": "u" * 5_000}, x_muxer_conversation="c" * 5_000)
    assert (record["end_user"], record["conversation"]) == ("u" * 256, "c" * 256)


@pytest.mark.parametrize("odd", ["\0", "\u202e", "' OR 1=1 --", "\r\nx: y", "😀" * 300])
async def test_odd_names_are_kept_as_they_are(proxy: OpenProxy, odd: str) -> None:
    record = await read(proxy, {"user": odd})
    assert (record["end_user"], record["state"]) == (odd[:256], "done")


def test_ids_sort_by_time_and_cannot_be_guessed() -> None:
    ids = [new_id(iter([at]).__next__) for at in (1.0, 1_790_035_200.0, 1_790_035_200.1, 9_000_000_000.0)]
    assert ids == sorted(ids)
    assert len({new_id(lambda: 1.0) for _ in range(100)}) == 100
    assert re.fullmatch(r"req_[0-9a-f]{31}", ids[0])


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)), max_size=3))
def test_the_cost_of_a_request_is_the_sum_of_its_attempts(amounts: list[tuple[int, int]]) -> None:
    attempts = tuple(an_attempt(cost_nanos=cost, presumed_nanos=presumed) for cost, presumed in amounts)
    ending = Ending(
        state="done", status=200, attempts=attempts, model="m", provider="p", usage=Usage(), ms=1.0, first_byte_ms=1.0
    )
    record = complete(a_record(), ending)
    assert record.cost_nanos == sum(cost for cost, _ in amounts)
    assert record.presumed_nanos == sum(presumed for _, presumed in amounts)


def test_money_is_shown_to_the_last_nano_dollar() -> None:
    shown = as_json(a_record(cost_nanos=123_456_789_012_345_678, presumed_nanos=1, expected_nanos=10**9))
    amounts = [shown["cost_usd"], shown["presumed_usd"], shown["expected_usd"]]
    assert amounts == ["123456789.012345678", "0.000000001", "1"]
    assert shown["at"] == "2026-09-22T01:00:00.000Z"
