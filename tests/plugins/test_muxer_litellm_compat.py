"""LiteLLM's headers and key addresses as its clients meet them. Names and shapes are those of litellm 1.110."""

from datetime import UTC, datetime
from importlib.metadata import version

import pytest

from muxer.testing import Fail, ManualClock, Say
from tests.plugins.litellm_client import DAY, PLUGINS, ROOT, delete, dollars, generate, info, logs, refused
from tests.proxy import SECTIONS, OpenProxy, Proxy, events


@pytest.fixture
async def compat(proxy: OpenProxy) -> Proxy:
    """A proxy with the plugin, at one in the morning of DAY; its upstream answers ten requests."""
    return await proxy(*[Say()] * 10, clock=ManualClock(), plugins=PLUGINS)


async def test_without_the_plugin_nothing_of_it_is_there(proxy: OpenProxy) -> None:
    opened = await proxy(Say())
    assert not [name for name in (await opened.chat()).headers if name.lower().startswith("x-litellm")]
    for method, path in (("POST", "/key/generate"), ("GET", "/key/info"), ("GET", "/spend/logs")):
        assert (await opened.client.request(method, path, headers=ROOT)).status == 404


async def test_an_answer_has_the_headers_with_its_cost(compat: Proxy) -> None:
    response = await compat.chat()
    record = await compat.record(response)
    said = {name.lower(): value for name, value in response.headers.items() if name.lower().startswith("x-litellm-")}
    assert record.cost_nanos > 0
    assert float(said.pop("x-litellm-response-cost")) == dollars(record)
    assert float(said.pop("x-litellm-response-duration-ms")) == record.ms
    assert said == {
        "x-litellm-call-id": record.id,
        "x-litellm-model-id": "small",
        "x-litellm-model-group": "small",
        "x-litellm-version": f"modelmuxer/{version('modelmuxer')}",
        "x-litellm-attempted-retries": "0",
        "x-litellm-attempted-fallbacks": "0",
    }


@pytest.mark.parametrize("stream", [False, True])
async def test_headers_tell_who_served_after_a_fallback(proxy: OpenProxy, stream: bool) -> None:
    opened = await proxy(Fail(), Say(), plugins=PLUGINS)
    response = await opened.chat(stream=stream)
    assert response.headers["x-litellm-model-group"] == response.headers["x-muxer-model"] == "large"
    assert response.headers["x-litellm-attempted-fallbacks"] == "1"
    await response.read()
    (row,) = await logs(opened)
    assert (row["model_group"], row["metadata"]["attempted_fallbacks"]) == ("large", 1)


@pytest.mark.parametrize(
    ("asked", "group"), [("both", "both"), ("auto", "large"), ("auto:default", "large"), ("small", "large")]
)
async def test_the_group_is_what_was_named_if_it_is_one(proxy: OpenProxy, asked: str, group: str) -> None:
    models = SECTIONS["models"].replace("name: small-1,", "name: small-1, fallbacks: [large],")
    opened = await proxy(Fail(), Say(), plugins=PLUGINS, models=f"{models}\n  both: {{use: [small, large]}}")
    headers = (await opened.chat(model=asked)).headers
    assert (headers["x-litellm-model-id"], headers["x-litellm-model-group"]) == ("large", group)
    assert [row["model_group"] for row in await logs(opened)] == [group]


async def test_a_model_that_was_passed_over_is_no_group(proxy: OpenProxy) -> None:
    models = SECTIONS["models"].replace("name: small-1,", "name: small-1, context_tokens: 1, fallbacks: [large],")
    opened = await proxy(Say(), plugins=PLUGINS, models=models)
    response = await opened.chat(model="small")
    assert (response.status, response.headers["x-litellm-model-group"]) == (200, "large")


async def test_a_stream_has_no_cost_when_it_begins(compat: Proxy) -> None:
    response = await compat.chat(stream=True)
    assert (await events(response)).is_done
    assert response.headers["x-litellm-call-id"] == (await compat.last_record()).id
    assert {"x-litellm-response-cost", "x-litellm-response-duration-ms"}.isdisjoint(response.headers)


async def test_a_key_is_made_as_it_is_asked_for(compat: Proxy) -> None:
    fields = {
        "key_alias": "ci",
        "user_id": "carol",
        "team_id": "build",
        "models": ["s*"],
        "tags": ["night"],
        "metadata": {"mail": "carol@example.com"},
        "duration": "30d",
        "max_budget": 0.25,
        "budget_duration": "30d",
        "tpm_limit": 50_000,
        "rpm_limit": 60,
        "max_parallel_requests": 3,
    }
    nothing = {"key_type": "llm_api", "rpm_limit_type": "best_effort_throughput", "blocked": False, "aliases": {}}
    answer = await generate(compat, **fields, **nothing, soft_budget=None)
    expected = {
        **fields,
        "metadata": {"mail": "carol@example.com", "tags": ["night"]},
        "expires": "2026-10-22T01:00:00Z",
        "spend": 0,
        "created_by": "root-key",
    }
    assert {name: answer[name] for name in expected} == expected
    assert answer["token"] == answer["token_id"] and len(answer["token"]) == 64
    assert answer["key"].startswith(answer["key_name"].removesuffix("..."))
    chat = await compat.chat(answer["key"])
    record = await compat.record(chat)
    assert (chat.status, record.user, record.team, record.tags) == (200, "carol", "build", ("night",))
    assert chat.headers["x-ratelimit-limit-requests"] == "60"


async def test_a_key_of_which_nothing_is_said_gets_a_name(compat: Proxy) -> None:
    first, second = await generate(compat), await generate(compat)
    assert first["key_alias"].startswith("key-") and first["key_alias"] != second["key_alias"]
    assert (first["user_id"], first["max_budget"], first["expires"]) == (first["key_alias"], None, None)


@pytest.mark.parametrize(
    ("duration", "window"),
    [(None, "total"), ("1d", "day"), ("24h", "day"), ("daily", "day"), ("30d", "month"), ("1mo", "month")],
)
async def test_a_budget_is_by_day_or_month_or_for_ever(compat: Proxy, duration: str | None, window: str) -> None:
    key = await generate(compat, max_budget=0.5, budget_duration=duration)
    limits = (await compat.get("/user/stats", key["key"]))["limits"]
    own = next(limit for limit in limits if limit["per"] == "key")
    assert (own["window"], own["limit_usd"]) == (window, "0.5")


async def test_several_budgets_hold_at_once(compat: Proxy) -> None:
    windows = [{"budget_duration": "1d", "max_budget": 0.0}]
    key = await generate(compat, max_budget=5, budget_limits=windows)
    assert (key["max_budget"], key["budget_duration"]) == (5, None)
    assert key["budget_limits"] == [{"budget_duration": None, "max_budget": 5}, *windows]
    assert await refused(await compat.chat(key["key"])) == (402, "budget_exceeded", None)


@pytest.mark.parametrize(
    ("duration", "expires"),
    [
        ("30s", "2026-09-22T01:00:30Z"),
        ("12h", "2026-09-22T13:00:00Z"),
        ("2w", "2026-10-06T01:00:00Z"),
        ("1mo", "2026-10-22T01:00:00Z"),
        ("5mo", "2027-02-22T01:00:00Z"),
    ],
)
async def test_a_key_ends_after_its_duration(compat: Proxy, duration: str, expires: str) -> None:
    assert (await generate(compat, duration=duration))["expires"] == expires


async def test_a_month_after_the_last_day_of_one_is_the_last_of_the_next(proxy: OpenProxy) -> None:
    clock = ManualClock(datetime(2027, 1, 31, 12, tzinfo=UTC).timestamp())
    opened = await proxy(clock=clock, plugins=PLUGINS)
    assert (await generate(opened, duration="1mo"))["expires"] == "2027-02-28T12:00:00Z"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"key": "sk-mine"}, "key"),
        ({"soft_budget": 1}, "soft_budget"),
        ({"model_max_budget": {"a": 1}}, "model_max_budget"),
        ({"guardrails": ["pii"]}, "guardrails"),
        ({"blocked": True}, "blocked"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"x" * 100: 1}, "x" * 64),
        ({"metadata": {"model_rpm_limit": {"a": 1}}}, "metadata.model_rpm_limit"),
        ({"metadata": {"a": "x" * 20_000}}, "metadata"),
        ({"metadata": []}, "metadata"),
        ({"key_type": "management"}, "key_type"),
        ({"tpm_limit_type": "dynamic"}, "tpm_limit_type"),
        ({"max_budget": 1, "budget_duration": "7d"}, "budget_duration"),
        ({"budget_duration": "30d"}, "budget_duration"),
        ({"max_budget": -1}, "max_budget"),
        ({"max_budget": "NaN"}, "max_budget"),
        ({"max_budget": 10**9}, "max_budget"),
        ({"max_budget": []}, "max_budget"),
        ({"budget_limits": [{"budget_duration": "1h", "max_budget": 1}]}, "budget_limits[0].budget_duration"),
        (
            {"max_budget": 1, "budget_limits": [{"budget_duration": "1d", "max_budget": -1}]},
            "budget_limits[0].max_budget",
        ),
        ({"budget_limits": [{"budget_duration": "1d", "max_budget": 1, "reset_at": 0}]}, "budget_limits[0].reset_at"),
        ({"tpm_limit": 0}, "tpm_limit"),
        ({"rpm_limit": 10**30}, "rpm_limit"),
        ({"rpm_limit": "many"}, "rpm_limit"),
        ({"max_parallel_requests": 1.5}, "max_parallel_requests"),
        ({"duration": "soon"}, "duration"),
        ({"duration": "0s"}, "duration"),
        ({"duration": "30days"}, "duration"),
        ({"duration": "999999999w"}, "duration"),
        ({"duration": "999999mo"}, "duration"),
        ({"models": ["all-team-models"]}, "models"),
        ({"models": [""]}, "models[0]"),
        ({"key_alias": "a" * 101}, "key_alias"),
        ({"key_alias": "root-key"}, "key_alias"),
        ({"user_id": " a"}, "user_id"),
        ({"team_id": "a\n"}, "team_id"),
        ({"tags": ["\0"]}, "tags"),
        ([], None),
    ],
)
async def test_what_a_key_cannot_have_is_refused_with_the_field(
    compat: Proxy, fields: object, param: str | None
) -> None:
    response = await compat.client.post("/key/generate", json=fields, headers=ROOT)
    error = (await response.json())["error"]
    assert (response.status, error["code"], error["param"]) == (400, "invalid_value", param)
    assert not param or error["message"].startswith(param.partition("[")[0])
    assert (await compat.get("/admin/keys", "sk-root"))["keys"] == []


async def test_all_models_of_the_proxy_are_all(compat: Proxy) -> None:
    assert (await generate(compat, models=["all-proxy-models"]))["models"] == []


@pytest.mark.parametrize("by", ["key", "digest", "alias"])
async def test_a_deleted_key_is_refused_at_once(compat: Proxy, by: str) -> None:
    key = await generate(compat, key_alias="ci")
    assert (await compat.chat(key["key"])).status == 200
    name, word = {"key": ("keys", key["key"]), "digest": ("keys", key["token"]), "alias": ("key_aliases", "ci")}[by]
    for _ in range(2):
        response = await delete(compat, **{name: [word]})
        assert (response.status, await response.json()) == (200, {"deleted_keys": [word]})
    assert await refused(await compat.chat(key["key"])) == (401, "key_disabled", None)
    shown = (await info(compat, "sk-root", key=key["token"]))["info"]
    assert (shown["status"], shown["deleted_at"]) == ("deleted", f"{DAY}T01:00:00Z")


async def test_of_two_keys_of_one_name_the_one_in_force_is_deleted(proxy: OpenProxy) -> None:
    clock = ManualClock()
    opened = await proxy(clock=clock, plugins=PLUGINS)
    await generate(opened, key_alias="ci")
    await delete(opened, key_aliases=["ci"])
    clock.now_s -= 1  # a clock that was set back: the second key looks older
    second = await generate(opened, key_alias="ci")
    await delete(opened, key_aliases=["ci"])
    assert (await opened.chat(second["key"])).status == 401


async def test_nothing_is_deleted_when_one_is_unknown(compat: Proxy) -> None:
    key = await generate(compat, key_alias="ci")
    response = await delete(compat, keys=[key["key"], "mux_1_unknown"])
    assert "unknown" not in await response.text()
    assert await refused(response) == (404, "not_found", "keys[1]")
    assert await refused(await delete(compat, key_aliases=["nobody"])) == (404, "not_found", "key_aliases[0]")
    assert await refused(await delete(compat)) == (400, "invalid_value", "keys")
    assert (await compat.chat(key["key"])).status == 200


@pytest.mark.parametrize("path", ["/key/generate", "/key/delete"])
async def test_only_admins_make_and_delete_keys(compat: Proxy, path: str) -> None:
    response = await compat.client.post(path, json={}, headers={"x-api-key": "sk-alice"})
    assert await refused(response) == (403, "permission_denied", None)


async def test_making_and_deleting_is_logged_and_never_stored(compat: Proxy) -> None:
    key = await generate(compat, key_alias="ci")
    response = await delete(compat, keys=[key["key"]])
    assert response.headers["Cache-Control"] == "no-store"
    lines = [line for line in compat.log.lines if str(line["event"]).startswith("key_")]
    assert [(line["event"], line["name"], line["by"]) for line in lines] == [
        ("key_created", "ci", "root-key"),
        ("key_revoked", "ci", "root-key"),
    ]
    assert key["key"] not in repr(compat.log.lines)


async def test_a_key_is_told_of_itself(compat: Proxy) -> None:
    key = await generate(compat, key_alias="ci", max_budget=0.5, budget_duration="1d", tags=["night"])
    record = await compat.record(await compat.chat(key["key"]))
    answer = await info(compat, key["key"])
    expected = {
        "key_alias": "ci",
        "status": "active",
        "spend": dollars(record),
        "total_spend": dollars(record),
        "max_budget": 0.5,
        "budget_duration": "1d",
        "budget_reset_at": "2026-09-23T00:00:00Z",
        "metadata": {"tags": ["night"]},
    }
    assert answer["key"] == key["token"] and record.cost_nanos > 0
    assert {name: answer["info"][name] for name in expected} == expected
    assert "token" not in answer["info"] and key["key"] not in repr(answer)


async def test_spend_is_that_of_the_budgets_period(proxy: OpenProxy) -> None:
    clock = ManualClock()
    opened = await proxy(Say(), clock=clock, plugins=PLUGINS)
    key = await generate(opened, max_budget=0.5, budget_duration="1d")
    record = await opened.record(await opened.chat(key["key"]))
    clock.now_s += 86_400
    found = (await info(opened, key["key"]))["info"]
    assert (found["spend"], found["total_spend"]) == (0, dollars(record))
    assert found["budget_reset_at"] == "2026-09-24T00:00:00Z"


async def test_an_admin_looks_up_any_key_by_itself_or_its_digest(compat: Proxy) -> None:
    key = await generate(compat, key_alias="ci")
    for word in (key["key"], key["token"]):
        answer = await info(compat, "sk-root", key=word)
        assert (answer["key"], answer["info"]["key_alias"]) == (word, "ci")


async def test_others_are_told_of_no_key_but_their_own(compat: Proxy) -> None:
    own, other = await generate(compat), await generate(compat)
    assert (await info(compat, own["key"], key=own["token"]))["info"]["key_alias"] == own["key_alias"]
    answers = []
    for key, word in (
        (own["key"], other["token"]),
        (own["key"], other["key"]),
        (own["key"], "nobody"),
        ("sk-alice", ""),
    ):
        response = await compat.client.get("/key/info", params={"key": word}, headers={"x-api-key": key})
        answers.append(await response.text())
        assert await refused(response) == (404, "not_found", "key")
    assert len(set(answers)) == 1


async def test_a_key_that_is_over_shows_as_expired(proxy: OpenProxy) -> None:
    clock = ManualClock()
    opened = await proxy(clock=clock, plugins=PLUGINS)
    key = await generate(opened, duration="1h")
    clock.now_s += 3_600
    assert (await info(opened, "sk-root", key=key["token"]))["info"]["status"] == "expired"


async def test_the_spend_of_a_deleted_key_stays_its_own(proxy: OpenProxy) -> None:
    clock = ManualClock()
    opened = await proxy(Say(), Say(), clock=clock, plugins=PLUGINS)
    first = await generate(opened, key_alias="ci")
    record = await opened.record(await opened.chat(first["key"]))
    await delete(opened, key_aliases=["ci"])
    clock.now_s += 86_400
    second = await generate(opened, key_alias="ci")
    await opened.chat(second["key"])
    assert (await info(opened, "sk-root", key=first["token"]))["info"]["total_spend"] == dollars(record)
