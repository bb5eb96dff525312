"""A plugin whose signal holds up the event loop: the word `block` in a question costs everybody half a second."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from msgspec import Struct

from muxer import ChatRequest, Context, Kind, Signal, SignalValue, hookimpl

BLOCK_S = 0.5


class Nothing(Struct, frozen=True):
    pass


class Blocking:
    def measure(self, request: ChatRequest) -> Mapping[str, SignalValue]:
        if "block" in request.messages[-1].text:
            time.sleep(BLOCK_S)
        return {"blocking": 1.0}


@asynccontextmanager
async def open_blocking(settings: Nothing, context: Context) -> AsyncIterator[Signal]:
    yield Blocking()


@hookimpl
def register_signals() -> list[Kind[Signal]]:
    return [Kind("blocking", Nothing, open_blocking, signals={"blocking": float})]
