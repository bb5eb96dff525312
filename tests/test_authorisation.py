"""Who may reach what: every route that is served, asked by everybody. A route that is not in the table fails."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from muxer.server import Server
from tests.proxy import OpenProxy, Proxy

ROLE: Mapping[tuple[str, str], str] = {
    ("POST", "/v1/chat/completions"): "user",
    ("POST", "/v1/completions"): "user",
    ("POST", "/v1/embeddings"): "user",
    ("POST", "/v1/messages"): "user",
    ("POST", "/v1/messages/count_tokens"): "user",
    ("POST", "/v1/responses"): "user",
    ("POST", "/v1/route"): "user",
    ("GET", "/v1/models"): "user",
    ("GET", "/v1/models/{name}"): "user",
    ("GET", "/v1/requests/{id}"): "user",
    ("POST", "/v1/feedback"): "user",
    ("GET", "/user/stats"): "user",
    ("GET", "/stats"): "user",
    ("GET", "/providers"): "user",
    ("GET", "/key/info"): "user",
    ("GET", "/spend/logs"): "user",
    ("GET", "/broken"): "user",
    ("GET", "/nothing"): "user",
    ("GET", "/metrics"): "metrics",
    ("POST", "/admin/keys"): "admin",
    ("GET", "/admin/keys"): "admin",
    ("DELETE", "/admin/keys/{id}"): "admin",
    ("POST", "/admin/reload"): "admin",
    ("POST", "/key/generate"): "admin",
    ("POST", "/key/delete"): "admin",
    ("GET", "/secrets"): "admin",
    ("GET", "/unheard"): "admin",
    ("GET", "/health"): "public",
    ("GET", "/livez"): "public",
    ("GET", "/readyz"): "public",
    ("GET", "/openapi.json"): "public",
    ("GET", "/docs"): "public",
}
RANKS = {"public": -1, "user": 0, "metrics": 1, "viewer": 2, "admin": 3}
CALLERS = {"": -1, "sk-wrong": -1, "sk-user": 0, "sk-other": 0, "sk-metrics": 1, "sk-viewer": 2, "sk-admin": 3}
KEYS = """
  - {name: user-key, secret: sk-user, user: alice}
  - {name: other-key, secret: sk-other, user: bob}
  - {name: metrics-key, secret: sk-metrics, user: carol, role: metrics}
  - {name: viewer-key, secret: sk-viewer, user: dave, role: viewer}
  - {name: admin-key, secret: sk-admin, user: erin, role: admin}"""
PLUGINS = "[openai, sqlite, prometheus, litellm_compat, tests.odd_plugin]"


@asynccontextmanager
async def elsewhere(opened: Proxy) -> AsyncIterator[tuple[Server, str]]:
    """The same proxy, listening where others reach it too: there, metrics need a key."""
    server = Server(opened.assembly, is_loopback=False, reloads=opened.live)
    listener = server.listener()
    try:
        yield server, f"http://127.0.0.1:{await listener.listen('127.0.0.1', 0)}"
    finally:
        await listener.close(10)


def routes(server: Server) -> list[tuple[str, str]]:
    """Every method and path that is served, however it is spelt."""
    found = [(route.method, route.resource.canonical) for route in server.router.routes() if route.resource]
    return [(method, path) for method, path in found if method != "HEAD"]


def known_as(path: str) -> str:
    """The path as the table has it."""
    bare = re.sub(r"^(/v1)+", "", path)
    return next((one for one in (f"/v1{bare}", bare) if any(one == path for _, path in ROLE)), path)


async def test_every_route_has_a_place_in_the_table_and_no_other(proxy: OpenProxy) -> None:
    async with elsewhere(await proxy(keys=KEYS, plugins=PLUGINS)) as (server, _):
        assert {(method, known_as(path)) for method, path in routes(server)} == ROLE.keys()


@pytest.mark.parametrize("key", CALLERS)
async def test_who_reaches_which_route(proxy: OpenProxy, key: str) -> None:
    opened = await proxy(keys=KEYS, plugins=PLUGINS)
    wrong = {}
    async with elsewhere(opened) as (server, url):
        for method, path in routes(server):
            role = ROLE[method, known_as(path)]
            headers = {"x-api-key": key} if key else {}
            address = url + re.sub(r"{\w+}", "x", path)
            async with opened.client.request(method, address, json={}, headers=headers) as response:
                expected = 0
                if role != "public" and CALLERS[key] < RANKS[role]:
                    expected = 401 if CALLERS[key] < 0 else 403
                if (response.status if response.status in (401, 403) else 0) != expected:
                    wrong[method, path] = response.status
    assert not wrong and not opened.upstream.calls


async def test_what_is_somebody_s_own_only_they_and_readers_see(proxy: OpenProxy) -> None:
    opened = await proxy(keys=KEYS, plugins=PLUGINS)
    id = (await opened.chat("sk-user")).headers["x-muxer-request-id"]
    seen = {}
    for key in CALLERS:
        async with opened.client.get(f"/v1/requests/{id}", headers={"x-api-key": key}) as response:
            seen[key] = response.status
    assert seen == {
        "": 401,
        "sk-wrong": 401,
        "sk-user": 200,
        "sk-other": 404,
        "sk-metrics": 404,
        "sk-viewer": 200,
        "sk-admin": 200,
    }
    spent = {key: (await opened.get("/stats", key))["requests"] for key in CALLERS if CALLERS[key] >= 0}
    assert spent == {"sk-user": 1, "sk-other": 0, "sk-metrics": 0, "sk-viewer": 1, "sk-admin": 1}
    logs = {key: len(await opened.get("/spend/logs", key)) for key in ("sk-user", "sk-other", "sk-admin")}
    assert logs == {"sk-user": 1, "sk-other": 0, "sk-admin": 1}
