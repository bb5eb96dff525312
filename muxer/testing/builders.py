"""Small values and surroundings for tests: a request, a call, a record, a clock, a context."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from msgspec.structs import replace

from muxer import Call, ChatRequest, Context, Message, Metric, Record, open_client

START_S = 1_790_035_200
"""A midnight in UTC (2026-09-22), where the clocks of tests begin."""


def a_request(text: str = "What is the capital of France?", **changes: object) -> ChatRequest:
    """A request of one user message, with fields changed."""
    return replace(ChatRequest(messages=(Message(role="user", content=text),)), **changes)


def a_call(request: ChatRequest | str = "What is the capital of France?", **changes: object) -> Call:
    """A call in OpenAI's format whose `raw` is the request as JSON, with fields changed."""
    request = a_request(request) if isinstance(request, str) else request
    model = request.model or "m-1"
    raw = msgspec.json.encode(_without_none({**msgspec.to_builtins(request), "model": model}))
    call = Call(id="request-1", api="openai.chat", raw=raw, request=request, model=model, output_cap=request.caller_cap)
    return replace(call, **changes)


def a_record(**changes: object) -> Record:
    """The record of alice's open request, with fields changed."""
    record = Record(id="request-1", at=START_S + 3600.0, api="openai.chat", state="open", user="alice", key="k-1")
    return replace(record, **changes)


def _without_none(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_without_none(item) for item in value]
    return value


class ManualClock:
    """A clock that stands until a test moves it."""

    def __init__(self, now_s: float = START_S + 3600) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        """Unix seconds."""
        return self.now_s


class _SilentMeter:
    def add(self, metric: Metric, amount: float, *labels: str) -> None:
        return None

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        return None

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        return None


def _silent_log(level: str, event: str, **fields: object) -> None:
    return None


@asynccontextmanager
async def open_context(folder: Path | None = None, **changes: object) -> AsyncIterator[Context]:
    """A context as the core hands it out, with the real HTTP client, and a log and a meter that keep silent."""
    async with open_client() as http:
        context = Context(http=http, clock=time.time, folder=folder or Path(), log=_silent_log, meter=_SilentMeter())
        yield replace(context, **changes)
