"""The OpenAPI document: all that is served and nothing else, and real answers as it declares them."""

import base64
import hashlib
import re
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from muxer import shapes
from muxer.interfaces import Operation, Route
from muxer.openapi import document, page
from muxer.operations import OPERATIONS
from tests.proxy import QUESTION, OpenProxy, Proxy

ALL: dict[str, Any] = {"plugins": "[openai, prometheus, sqlite]"}


async def served(opened: Proxy) -> dict[tuple[str, str], Any]:
    """Every operation of the document by method and path."""
    described = await opened.get("/openapi.json", key="")
    return {
        (method.upper(), path): operation
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
    }


async def test_it_has_every_route_of_the_router_and_no_other(proxy: OpenProxy) -> None:
    opened = await proxy(**ALL)
    router = opened.live.server.router
    routes = {(route.method, route.resource.canonical) for route in router.routes() if route.resource}
    again = {(method, path) for method, path in routes if method == "HEAD" or path.startswith("/v1/v1/")}
    routes = {(method, path) for method, path in routes - again if (method, f"/v1{path}") not in routes - again}
    assert set(await served(opened)) == routes


async def test_each_route_says_what_it_is_for(proxy: OpenProxy) -> None:
    for (method, path), operation in (await served(await proxy(**ALL))).items():
        assert operation["summary"] != f"{method} {path}"
        error = operation["responses"]["default"]["content"]["application/json"]["schema"]["$ref"]
        assert error.rpartition("/")[2] == ("MessagesError" if path.startswith("/v1/messages") else "Error")


async def test_no_operation_is_left_of_a_route_that_is_gone(proxy: OpenProxy) -> None:
    described = {(method, re.sub(r":[^}]*", "", path)) for method, path in OPERATIONS}
    assert described <= set(await served(await proxy()))


async def test_who_needs_a_key_is_told_as_it_is(proxy: OpenProxy) -> None:
    opened = await proxy(**ALL)
    for (method, path), operation in (await served(opened)).items():
        response = await opened.client.request(method, re.sub(r"{\w+}", "x", path))
        assert (response.status == 401) is bool(operation["security"]), path
        if operation["x-role"] == "admin":
            headers = {"x-api-key": "sk-alice"}
            refused = await opened.client.request(method, re.sub(r"{\w+}", "x", path), headers=headers)
            assert refused.status == 403, path


async def test_every_reference_leads_to_a_type(proxy: OpenProxy) -> None:
    described = await (await proxy(**ALL)).get("/openapi.json")
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', msgspec.json.encode(described).decode()))
    assert named <= set(described["components"]["schemas"])
    assert {"ChatRequest", "TextBody", "EmbeddingBody", "MessagesBody", "ResponsesBody", "NewKey", "Error"} <= named


LOOKS: list[tuple[str, type[Struct]]] = [
    ("/v1/models", shapes.ModelList),
    ("/v1/models/auto", shapes.ListedModel),
    ("/v1/models/small", shapes.ListedModel),
    ("/user/stats", shapes.UserStats),
    ("/stats", shapes.Spend),
    ("/providers", shapes.ProviderList),
    ("/admin/keys", shapes.KeyList),
    ("/health", shapes.Health),
    ("/livez", shapes.Alive),
    ("/readyz", shapes.Ready),
    ("/nowhere", shapes.Error),
]


@pytest.mark.parametrize(("path", "shape"), LOOKS, ids=[path for path, _ in LOOKS])
async def test_answers_have_the_shape_that_is_declared(proxy: OpenProxy, path: str, shape: type[Struct]) -> None:
    opened = await proxy()
    await opened.client.post("/admin/keys", json={"name": "k"}, headers={"x-api-key": "sk-root"})
    response = await opened.client.get(path, headers={"x-api-key": "sk-root"})
    msgspec.json.decode(await response.read(), type=shape)


ASKS: list[tuple[str, dict[str, object], type[Struct]]] = [
    ("/v1/chat/completions", {"messages": QUESTION}, shapes.ChatCompletion),
    ("/v1/completions", {"prompt": "Hi"}, shapes.TextCompletion),
    ("/v1/embeddings", {"input": "Hi", "model": "small"}, shapes.EmbeddingList),
    ("/v1/messages", {"messages": QUESTION, "max_tokens": 9}, shapes.AnthropicMessage),
    ("/v1/messages", {"messages": QUESTION}, shapes.MessagesError),
    ("/v1/messages/count_tokens", {"messages": QUESTION}, shapes.TokenCount),
    ("/v1/messages/count_tokens", {"messages": 1}, shapes.MessagesError),
    ("/v1/responses", {"input": "Hi"}, shapes.Response),
    ("/v1/responses", {}, shapes.Error),
    ("/v1/embeddings", {"input": [], "model": "small"}, shapes.Error),
]


@pytest.mark.parametrize(("path", "body", "shape"), ASKS, ids=[path for path, *_ in ASKS])
async def test_answers_of_models_have_it_too(
    proxy: OpenProxy, path: str, body: dict[str, object], shape: type[Struct]
) -> None:
    opened = await proxy()
    response = await opened.ask(path, body)
    msgspec.json.decode(await response.read(), type=shape)
    if "x-muxer-model" in response.headers:
        record = await opened.client.get(
            f"/v1/requests/{response.headers['x-muxer-request-id']}", headers={"x-api-key": "sk-alice"}
        )
        msgspec.json.decode(await record.read(), type=shapes.RecordShown)


async def test_a_new_key_has_the_shape_that_is_declared(proxy: OpenProxy) -> None:
    opened = await proxy()
    response = await opened.ask("/admin/keys", {"name": "k"}, "sk-root")
    assert response.status == 201
    made = msgspec.json.decode(await response.read(), type=shapes.KeyMade)
    gone = await opened.client.delete(f"/admin/keys/{made.id}", headers={"x-api-key": "sk-root"})
    assert msgspec.json.decode(await gone.read(), type=shapes.KeyShown).state == "revoked"


async def test_the_page_runs_no_script_and_loads_nothing(proxy: OpenProxy) -> None:
    opened = await proxy(**ALL)
    response = await opened.client.get("/docs")
    text = await response.text()
    policy = response.headers["Content-Security-Policy"]
    (style,) = re.findall(r"<style>(.*?)</style>", text)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy and "<script" not in text and "http" not in text.partition("<body>")[0]
    assert all(path in text for _, path in await served(opened))


def test_words_of_a_plugin_stand_as_text() -> None:
    async def handler(request: object) -> None: ...

    route = Route("GET", "/x", handler, "<b>", Operation(summary="<script>alert(1)</script>"))
    text = page(document([route], "<1>", open_scopes=frozenset()))
    assert "<script" not in text and "&lt;script&gt;alert(1)" in text and "<b>" not in text and "<1>" not in text
