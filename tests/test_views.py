"""What can be read over HTTP: health, models, providers, spend and records."""

from datetime import datetime

from muxer.testing import Say
from tests.proxy import OpenProxy

SAID = Say(text="It is Paris.")


async def test_health_names_each_component_and_needs_no_key(proxy: OpenProxy) -> None:
    opened = await proxy()
    health = await opened.get("/health", key="")
    assert health.keys() == {"status", "version", "uptime_s", "config", "components"}
    assert (health["status"], health["components"]) == ("ok", {"main": "ok", "store": "ok"})


async def test_health_is_degraded_without_a_provider(proxy: OpenProxy) -> None:
    opened = await proxy(providers='{main: {kind: openai, api_key: "${ABSENT}"}}')
    assert (await opened.get("/health"))["status"] == "degraded"
    assert (await opened.get("/health"))["components"]["main"] == "unavailable"


async def test_alive_and_ready_are_said_without_a_key(proxy: OpenProxy) -> None:
    opened = await proxy()
    assert await opened.get("/livez", key="") == {"status": "ok"}
    components = {"main": "ok", "store": "ok"}
    assert await opened.get("/readyz", key="") == {"status": "ok", "components": components, "configuration": "ok"}


async def test_a_proxy_that_stops_is_not_ready(proxy: OpenProxy) -> None:
    opened = await proxy()
    opened.live.drain()
    response = await opened.client.get("/readyz")
    assert (response.status, (await response.json())["status"]) == (503, "draining")


async def test_models_list_auto_first_and_only_what_the_key_may_use(proxy: OpenProxy) -> None:
    opened = await proxy(keys="[{name: a, secret: sk-alice, models: [small]}, {name: b, secret: sk-bob}]")
    assert [one["id"] for one in (await opened.get("/v1/models"))["data"]] == ["auto", "small"]
    assert [one["id"] for one in (await opened.get("/models", "sk-bob"))["data"]] == ["auto", "small", "large"]
    assert (await opened.get("/v1/models/small"))["owned_by"] == "main"
    assert (await opened.get("/v1/models/large"))["error"]["code"] == "model_not_found"


async def test_models_are_a_page_of_anthropics_too(proxy: OpenProxy) -> None:
    opened = await proxy()
    page = await opened.get("/v1/models")
    assert (page["object"], page["has_more"], page["first_id"], page["last_id"]) == ("list", False, "auto", "large")
    small = await opened.get("/v1/models/small")
    assert (small["object"], small["type"], small["display_name"], small["lifecycle"]) == (
        "model",
        "model",
        "small",
        "active",
    )
    assert datetime.fromisoformat(small["created_at"]).timestamp() == small["created"]
    assert (small["max_input_tokens"], small["max_tokens"]) == (small["context_tokens"], small["max_output_tokens"])


async def test_providers_list_their_models_prices_and_state(proxy: OpenProxy) -> None:
    opened = await proxy()
    (main,) = (await opened.get("/providers"))["providers"]
    assert (main["name"], main["kind"], main["available"], main["reason"]) == ("main", "openai", True, None)
    assert main["models"][0] == {
        "name": "small",
        "upstream": "small-1",
        "price_usd_per_million": {"input": "1", "output": "2", "cached_input": "0.1", "cache_write": "1"},
        "context_tokens": None,
        "state": "available",
    }


async def test_user_stats_show_spend_and_limits_to_the_nano_dollar(proxy: OpenProxy) -> None:
    opened = await proxy(SAID, clock=lambda: 1_790_035_200.0)
    await opened.chat()
    stats = await opened.get("/user/stats")
    assert (stats["user"], stats["requests"], stats["spent_usd"]) == ("alice", 1, "0.000016")
    assert stats["tokens"] == {"input": 10, "cached_input": 0, "output": 3}
    assert [(one["model"], one["spent_usd"]) for one in stats["by_model"]] == [("small", "0.000016")]
    (limit,) = stats["limits"]
    assert limit == {
        "per": "user",
        "subject": "alice",
        "window": "day",
        "limit_usd": "1",
        "spent_usd": "0.000016",
        "held_usd": "0",
        "presumed_usd": "0",
        "remaining_usd": "0.999984",
        "resets_at": "2026-09-23T00:00:00Z",
    }


async def test_stats_show_everybody_to_an_admin_and_oneself_to_others(proxy: OpenProxy) -> None:
    opened = await proxy(SAID, SAID)
    for key in ("sk-alice", "sk-bob"):
        await opened.chat(key)
    everybody = await opened.get("/stats", "sk-root")
    assert (everybody["requests"], everybody["spent_usd"]) == (2, "0.000032")
    assert {one["user"]: one["requests"] for one in everybody["by_user"]} == {"alice": 1, "bob": 1}
    assert (await opened.get("/stats"))["requests"] == 1


async def test_a_record_can_be_read_by_who_asked_and_by_admins(proxy: OpenProxy) -> None:
    opened = await proxy()
    id = (await opened.chat()).headers["x-muxer-request-id"]
    assert (await opened.get(f"/v1/requests/{id}"))["id"] == id
    assert (await opened.get(f"/v1/requests/{id}", "sk-root"))["id"] == id
    assert (await opened.get(f"/v1/requests/{id}", "sk-bob"))["error"]["code"] == "not_found"
    assert (await opened.get("/v1/requests/req_0"))["error"]["code"] == "not_found"


async def test_models_that_a_key_may_not_use_are_told_to_viewers_alone(proxy: OpenProxy) -> None:
    """B25: neither by the list of providers nor by a record of the key's own."""
    keys = """
  - {name: alice-key, secret: sk-alice, user: alice, models: [small]}
  - {name: alice-views, secret: sk-views, user: alice, models: [small], role: viewer}"""
    opened = await proxy(keys=keys, routes="[{name: r, use: [large, small]}]")
    id = (await opened.chat()).headers["x-muxer-request-id"]
    told = [f"{await opened.get(path)}" for path in ("/providers", f"/v1/requests/{id}")]
    assert all("small" in text and "large" not in text for text in told)
    told = [f"{await opened.get(path, 'sk-views')}" for path in ("/providers", f"/v1/requests/{id}")]
    assert all("large" in text for text in told)


async def test_without_keys_everybody_is_anonymous(proxy: OpenProxy) -> None:
    opened = await proxy(keys="[]")
    assert (await opened.chat(key="whatever")).status == 200
    assert (await opened.get("/user/stats", key=""))["user"] == "anonymous"
    assert (await opened.last_record()).user == "anonymous"
