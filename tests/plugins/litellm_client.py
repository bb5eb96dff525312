"""What a client of LiteLLM's proxy asks, for the tests of the plugin."""

from typing import Any

from aiohttp import ClientResponse

from muxer.types import Record
from tests.proxy import Proxy

PLUGINS = "[openai, sqlite, litellm_compat]"
ROOT = {"Authorization": "Bearer sk-root"}
DAY = "2026-09-22"


async def generate(opened: Proxy, **fields: object) -> dict[str, Any]:
    response = await opened.client.post("/key/generate", json=fields, headers=ROOT)
    assert response.status == 200, await response.text()
    answer: dict[str, Any] = await response.json()
    return answer


async def delete(opened: Proxy, **fields: object) -> ClientResponse:
    return await opened.client.post("/key/delete", json=fields, headers=ROOT)


async def info(opened: Proxy, caller: str, **query: str) -> dict[str, Any]:
    response = await opened.client.get("/key/info", params=query, headers={"x-api-key": caller})
    assert response.status == 200, await response.text()
    answer: dict[str, Any] = await response.json()
    return answer


async def logs(opened: Proxy, key: str = "sk-root", **query: str) -> list[dict[str, Any]]:
    response = await opened.client.get("/spend/logs", params=query, headers={"x-api-key": key})
    assert response.status == 200, await response.text()
    rows: list[dict[str, Any]] = await response.json()
    return rows


async def refused(response: ClientResponse) -> tuple[int, str, str | None]:
    error = (await response.json())["error"]
    return response.status, error["code"], error["param"]


def dollars(*records: Record) -> float:
    return sum(record.cost_nanos for record in records) / 1e9
