"""A plugin that does what plugins should not: a provider that breaks as its settings say, and a route for admins."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Literal

from aiohttp import web
from msgspec import Struct

from muxer import Call, Chunk, Context, Kind, Provider, Record, Route, Unsupported, Usage, hookimpl

Does = Literal["raises", "raises midway", "refuses", "refuses midway", "drops", "says nothing", "times out midway"]


class OddSettings(Struct, frozen=True, forbid_unknown_fields=True):
    does: Does


class Odd:
    def __init__(self, does: Does) -> None:
        self._does = does

    async def astreaming(self, call: Call) -> AsyncIterator[Chunk]:
        if self._does == "raises":
            raise KeyError("sk-a-secret")
        if self._does == "refuses":
            raise Unsupported("cannot say that", param="messages")
        if self._does == "says nothing":
            return
        yield Chunk(text="Hello", dropped=("seed",) if self._does == "drops" else ())
        if self._does == "raises midway":
            raise KeyError("sk-a-secret")
        if self._does == "refuses midway":
            raise Unsupported("cannot go on")
        if self._does == "times out midway":
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        yield Chunk(finish_reason="stop", usage=Usage(input_tokens=10, output_tokens=1))


@asynccontextmanager
async def open_odd(settings: OddSettings, context: Context) -> AsyncIterator[Provider]:
    yield Odd(settings.does)


@hookimpl
def register_providers() -> list[Kind[Provider]]:
    return [Kind("odd", OddSettings, open_odd)]


class Nothing(Struct, frozen=True):
    pass


class Secrets:
    def routes(self) -> Sequence[Route]:
        return [
            Route("GET", "/secrets", self._show),
            Route("GET", "/broken", self._break, "user"),
            Route("GET", "/nothing", self._give_nothing, "user"),
            Route("GET", "/unheard", self._show, "everybody"),  # there is no such role
        ]

    def headers(self, _: Record) -> Mapping[str, str]:
        return {"Content-Length": "1", "transfer-encoding": "gzip", "x-odd\r\nx-split": "a", "": "b", "x-odd": "c\r\nd"}

    async def _show(self, _: web.Request) -> web.Response:
        return web.json_response({})

    async def _give_nothing(self, _: web.Request) -> None:
        pass

    async def _break(self, _: web.Request) -> web.Response:
        return web.json_response(1 / 0)


@asynccontextmanager
async def open_secrets(settings: Nothing, context: Context) -> AsyncIterator[Secrets]:
    yield Secrets()


@hookimpl
def register_extensions() -> list[Kind[object]]:
    return [Kind("secrets", Nothing, open_secrets)]
