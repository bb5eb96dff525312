"""Keys over HTTP: made, used, listed, revoked, and refused to all but admins."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse

from muxer.testing import ManualClock, Say, Stall
from tests.proxy import SECTIONS, OpenProxy, Proxy

ROOT = {"x-api-key": "sk-root"}


async def made(opened: Proxy, **fields: object) -> dict[str, Any]:
    """A new key, as its maker gets it."""
    response = await opened.client.post("/admin/keys", json={"name": "ci", **fields}, headers=ROOT)
    assert response.status == 201, await response.text()
    answer: dict[str, Any] = await response.json()
    return answer


async def listed(opened: Proxy) -> list[dict[str, Any]]:
    keys: list[dict[str, Any]] = (await opened.get("/admin/keys", "sk-root"))["keys"]
    return keys


async def refused(response: ClientResponse) -> tuple[int, str, str | None]:
    error = (await response.json())["error"]
    return response.status, error["code"], error["param"]


async def test_a_key_is_shown_once_and_works_at_once(proxy: OpenProxy) -> None:
    opened = await proxy(clock=ManualClock())
    response = await opened.client.post("/admin/keys", json={"name": "ci", "user": "carol"}, headers=ROOT)
    answer = await response.json()
    assert response.headers["Cache-Control"] == "no-store"
    assert answer["key"].startswith(f"mux_{answer['id']}_") and len(answer["key"]) == 60
    chat = await opened.chat(answer["key"])
    record = await opened.record(chat)
    assert (chat.status, record.user, record.key) == (200, "carol", "ci")


async def test_a_list_has_all_but_the_secret(proxy: OpenProxy) -> None:
    opened = await proxy(clock=ManualClock())
    limits = [{"daily_usd": 0.50, "hold": "expected"}, {"requests_per_minute": 6, "burst": 2}]
    fields = {
        "team": "build",
        "tags": ["a"],
        "models": ["s*"],
        "role": "viewer",
        "expires": "2026-09-23T02:00:00+02:00",
    }
    key = await made(opened, limits=limits, metadata={"mail": ["a@b.c", 1]}, **fields)
    assert await listed(opened) == [
        {
            "id": key["id"],
            "name": "ci",
            "state": "active",
            "user": "ci",
            **fields,
            "limits": [
                {"daily_usd": "0.5", "hold": "expected", "on_store_error": "refuse"},
                {"requests_per_minute": 6, "burst": 2, "hold": "bound", "on_store_error": "refuse"},
            ],
            "metadata": {"mail": ["a@b.c", 1]},
            "created": "2026-09-22T01:00:00Z",
            "expires": "2026-09-23T00:00:00Z",
            "revoked": None,
        }
    ]


async def test_a_revoked_key_is_refused_at_once_and_for_good(proxy: OpenProxy) -> None:
    opened = await proxy(Say(), clock=ManualClock())
    key = await made(opened)
    assert (await opened.chat(key["key"])).status == 200
    for _ in range(2):
        async with opened.client.delete(f"/admin/keys/{key['id']}", headers=ROOT) as response:
            assert (response.status, (await response.json())["revoked"]) == (200, "2026-09-22T01:00:00Z")
    response = await opened.chat(key["key"])
    assert await refused(response) == (401, "key_disabled", None)
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert [one["state"] for one in await listed(opened)] == ["revoked"]


async def test_an_answer_under_way_outlives_its_key(proxy: OpenProxy) -> None:
    opened = await proxy(Stall())
    key = await made(opened)
    chat = asyncio.create_task(opened.chat(key["key"]))
    await opened.upstream.arrived(1)
    await opened.client.delete(f"/admin/keys/{key['id']}", headers=ROOT)
    opened.upstream.gate.set()
    assert (await chat).status == 200


async def test_a_key_ends_when_it_expires(proxy: OpenProxy) -> None:
    clock = ManualClock()
    opened = await proxy(Say(), clock=clock)
    key = await made(opened, expires="2026-09-22T01:00:01Z")
    assert (await opened.chat(key["key"])).status == 200
    clock.now_s += 1
    assert await refused(await opened.chat(key["key"])) == (401, "key_disabled", None)
    assert [one["state"] for one in await listed(opened)] == ["expired"]


async def test_an_unknown_id_is_404(proxy: OpenProxy) -> None:
    opened = await proxy()
    for id in ("nobody", "%27--", "a" * 300):
        response = await opened.client.delete(f"/admin/keys/{id}", headers=ROOT)
        assert await refused(response) == (404, "not_found", None)


@pytest.mark.parametrize("role", ["user", "metrics", "viewer", "admin"])
@pytest.mark.parametrize(("method", "path"), [("POST", ""), ("GET", ""), ("DELETE", "/nobody")])
async def test_only_admins_reach_the_keys(proxy: OpenProxy, role: str, method: str, path: str) -> None:
    opened = await proxy()
    headers = {"x-api-key": (await made(opened, role=role))["key"]}
    body = {"name": "mine", "role": "admin"} if method == "POST" else None
    response = await opened.client.request(method, f"/admin/keys{path}", json=body, headers=headers)
    expected = {"POST": 201, "GET": 200, "DELETE": 404}[method] if role == "admin" else 403
    assert response.status == expected
    if role != "admin":
        assert (await refused(response))[1] == "permission_denied"
        assert [one["name"] for one in await listed(opened)] == ["ci"]


@pytest.mark.parametrize(("keys", "status"), [(SECTIONS["keys"], 401), ("[]", 403)])
async def test_without_a_key_nobody_reaches_the_keys(proxy: OpenProxy, keys: str, status: int) -> None:
    opened = await proxy(keys=keys)
    for method in ("POST", "GET"):
        assert (await opened.client.request(method, "/admin/keys", json={"name": "mine"})).status == status


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": "ci", "digest": "0" * 64}, "digest"),
        ({"name": "ci", "secret": "mine"}, "secret"),
        ({"name": "ci", "limits": [{"per": "user", "daily_usd": 1}]}, "limits[0].per"),
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a" * 101}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": " a"}, "name"),
        ({"name": "ci", "user": "\u2028"}, "user"),
        ({"name": "ci", "tags": ["a\0"]}, "tags"),
        ({"name": "ci", "tags": ["a"] * 101}, "tags"),
        ({"name": "ci", "models": [""]}, "models[0]"),
        ({"name": "ci", "role": "root"}, "role"),
        ({"name": "ci", "expires": "tomorrow"}, "expires"),
        ({"name": "ci", "expires": "2027-01-31"}, "expires"),
        ({"name": "ci", "expires": "2026-09-22T00:00:00Z"}, "expires"),
        ({"name": "ci", "expires": "2026-09-22T01:00:00Z"}, "expires"),
        ({"name": "ci", "expires": "9999-12-31T23:59:59-23:59"}, "expires"),
        ({"name": "ci", "expires": "0001-01-01T00:00:00+23:59"}, "expires"),
        ({"name": "ci", "limits": [{"daily_usd": "1e-999999"}]}, "limits[0].daily_usd"),
        ({"name": "ci", "limits": [{"daily_usd": "0e-999999"}]}, "limits[0].daily_usd"),
        ({"name": "ci", "limits": [{}]}, "limits[0]"),
        ({"name": "ci", "limits": [{"hold": "expected"}]}, "limits[0]"),
        ({"name": "ci", "limits": [{"daily_usd": -1}]}, "limits[0].daily_usd"),
        ({"name": "ci", "limits": [{"daily_usd": "NaN"}]}, "limits[0].daily_usd"),
        ({"name": "ci", "limits": [{"total_usd": "sNaN"}]}, "limits[0].total_usd"),
        ({"name": "ci", "limits": [{"daily_usd": "Infinity"}]}, "limits[0].daily_usd"),
        ({"name": "ci", "limits": [{"monthly_usd": 9_007_200}]}, "limits[0].monthly_usd"),
        ({"name": "ci", "limits": [{"concurrent": 0}]}, "limits[0].concurrent"),
        ({"name": "ci", "limits": [{"tokens_per_minute": 10**30}]}, "limits[0].tokens_per_minute"),
        ({"name": "ci", "limits": [{"concurrent": 1, "burst": 5}]}, "limits[0].burst"),
        ({"name": "ci", "limits": [{"requests_per_minute": 1, "burst": 10**30}]}, "limits[0].burst"),
        ({"name": "ci", "metadata": [1]}, "metadata"),
        ({"name": "ci", "metadata": {"a": "x" * 16_384}}, "metadata"),
        ({"name": "root-key"}, "name"),
        ({"name": "taken"}, "name"),
        ([], None),
    ],
)
async def test_what_is_no_key_is_refused_with_the_field(proxy: OpenProxy, body: object, param: str | None) -> None:
    opened = await proxy(clock=ManualClock())
    await made(opened, name="taken")
    response = await opened.client.post("/admin/keys", json=body, headers=ROOT)
    assert await refused(response) == (400, "invalid_value", param)
    assert len(await listed(opened)) == 1


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"name":"\\ud800"}', b"[" * 100_000])
async def test_what_is_no_json_is_refused(proxy: OpenProxy, body: bytes) -> None:
    opened = await proxy()
    headers = {**ROOT, "Content-Type": "application/json"}
    response = await opened.client.post("/admin/keys", data=body, headers=headers)
    assert response.status == 400
    assert await listed(opened) == []


async def test_amounts_as_small_as_can_be_written_are_taken(proxy: OpenProxy) -> None:
    opened = await proxy()
    key = await made(opened, limits=[{"daily_usd": "1e-99"}])
    assert (await opened.chat(key["key"])).status == 402


async def test_limits_of_a_key_hold_for_it_alone(proxy: OpenProxy) -> None:
    opened = await proxy(Say(), Say(), Say(), clock=ManualClock(), limits="[]")
    tight = await made(opened, user="alice", limits=[{"daily_usd": 0.01}, {"requests_per_minute": 6}])
    chats = [await opened.chat(tight["key"], model="small", max_tokens=100) for _ in range(7)]
    assert [chat.status for chat in chats] == [200] * 6 + [429]
    assert chats[0].headers["x-ratelimit-limit-requests"] == "6"
    assert float(chats[0].headers["x-muxer-budget-remaining-usd"]) < 0.01
    assert (await opened.chat("sk-alice")).status == 200
    limits = (await opened.get("/user/stats", tight["key"]))["limits"]
    assert [(one["per"], one["subject"], one["window"]) for one in limits] == [
        ("key", "ci", "day"),
        ("key", "ci", "requests_per_minute"),
    ]
    assert limits[0]["limit_usd"] == "0.01" and float(limits[0]["spent_usd"]) > 0 == limits[1]["remaining"]


async def test_a_key_over_its_budget_is_told_what_stands_and_what_to_do(proxy: OpenProxy) -> None:
    opened = await proxy(limits="[]")
    key = await made(opened, limits=[{"total_usd": 0}])
    response = await opened.chat(key["key"])
    error = (await response.json())["error"]
    assert (response.status, error["code"]) == (402, "budget_exceeded")
    assert [error["budget"][name] for name in ("per", "subject", "window", "limit_usd")] == ["key", "ci", "total", "0"]
    assert "Ask for a key with higher limits, set a lower max_tokens" in error["message"]


async def test_a_new_key_of_an_old_name_begins_at_nothing(proxy: OpenProxy) -> None:
    opened = await proxy(Say(), Say(), clock=ManualClock(), limits="[]")
    limits = [{"requests_per_minute": 1}]
    first = await made(opened, limits=limits)
    assert [(await opened.chat(first["key"])).status for _ in range(2)] == [200, 429]
    await opened.client.delete(f"/admin/keys/{first['id']}", headers=ROOT)
    second = await made(opened, limits=limits)
    assert (await opened.chat(second["key"])).status == 200


async def test_a_key_may_name_only_its_models(proxy: OpenProxy) -> None:
    opened = await proxy(Say())
    key = await made(opened, models=["sm*"])
    assert [one["id"] for one in (await opened.get("/v1/models", key["key"]))["data"]] == ["auto", "small"]
    assert (await opened.chat(key["key"], model="large")).status == 404


async def test_a_proxy_without_keys_in_its_file_asks_for_those_of_its_store(proxy: OpenProxy) -> None:
    key = await made(await proxy())
    opened = await proxy(keys="[]")
    assert (await opened.client.get("/user/stats")).status == 401
    assert (await opened.client.get("/user/stats", headers={"x-api-key": key["key"]})).status == 200


async def test_while_the_store_cannot_tell_a_key_of_the_file_is_known_all_the_same(
    proxy: OpenProxy, tmp_path: Path
) -> None:
    opened = await proxy()
    with closing(sqlite3.connect(tmp_path / "muxer.db")) as db:
        db.execute("ALTER TABLE keys RENAME TO lost")
    response = await opened.client.get("/v1/models", headers={"x-api-key": "mux_1_unknown"})
    assert await refused(response) == (503, "budget_store_unavailable", None)
    assert response.headers["Retry-After"] == "1"
    assert (await opened.client.get("/v1/models", headers={"x-api-key": "sk-alice"})).status == 200
    assert (await opened.client.get("/v1/models", headers={"x-api-key": "sk-wrong"})).status == 401


async def test_the_secret_is_nowhere_but_in_the_answer_that_made_it(proxy: OpenProxy, tmp_path: Path) -> None:
    opened = await proxy(Say())
    key = await made(opened, role="viewer")
    secret = key["key"].split("_", 2)[2]
    chat = await opened.chat(key["key"])
    await opened.record(chat)
    await opened.chat(key["key"] + "x")
    await opened.client.delete(f"/admin/keys/{key['id']}", headers=ROOT)
    told = [await (await opened.chat(key["key"])).text(), repr(await listed(opened)), repr(opened.log.lines)]
    stored = [repr(one) for one in await opened.store.keys()]  # type: ignore[attr-defined]  # SQLite keeps keys
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 2 and not [text for text in (*told, *stored) if secret in text]
    assert not [data for data in files if secret.encode() in data]
    assert not [call for call in opened.upstream.calls if secret in repr((call.headers, call.body))]


@pytest.mark.parametrize(("method", "path"), [("POST", ""), ("GET", ""), ("DELETE", "/nobody")])
async def test_a_store_that_keeps_no_keys_says_so(proxy: OpenProxy, method: str, path: str) -> None:
    opened = await proxy(plugins="[openai, tests.odd_store]", store="{kind: keyless}")
    response = await opened.client.request(method, f"/admin/keys{path}", json={"name": "ci"}, headers=ROOT)
    assert await refused(response) == (400, "unsupported", None)
    assert (await opened.client.get("/v1/models", headers={"x-api-key": "mux_1_unknown"})).status == 401
    assert (await opened.chat()).status == 200


async def test_without_any_key_a_store_that_keeps_none_leaves_the_door_open(proxy: OpenProxy) -> None:
    opened = await proxy(plugins="[openai, tests.odd_store]", store="{kind: keyless}", keys="[]")
    assert (await opened.chat("mux_1_any")).status == 200


async def test_who_made_and_who_revoked_a_key_is_logged(proxy: OpenProxy) -> None:
    opened = await proxy()
    key = await made(opened, role="viewer")
    await opened.client.delete(f"/admin/keys/{key['id']}", headers=ROOT)
    lines = [line for line in opened.log.lines if str(line["event"]).startswith("key_")]
    said = {"level": "info", "id": key["id"], "name": "ci", "role": "viewer", "by": "root-key"}
    assert lines == [{**said, "event": "key_created"}, {**said, "event": "key_revoked"}]
