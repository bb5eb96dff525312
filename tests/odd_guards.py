"""Guards, a signal, a sink and an authenticator that do as they are told: also what plugins should not."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from muxer import (
    Answer,
    Authenticator,
    Caller,
    ChatRequest,
    Choice,
    Chunk,
    Context,
    Guard,
    Guarded,
    GuardRefused,
    InvalidAPIKey,
    Kind,
    Message,
    Record,
    Signal,
    SignalValue,
    Sink,
    Usage,
    hookimpl,
)
from muxer.lessons import MOST_FEATURES

Does = Literal[
    "nothing",
    "raises",
    "exits",
    "hangs",
    "blocks",
    "returns junk",
    "asks junk",
    "asks half",
    "refuses",
    "has it",
    "says",
]
After = Literal["passes", "shouts", "raises", "raises late", "hangs", "gives junk", "returns junk", "stops", "refuses"]


class GuardSettings(Struct, frozen=True, forbid_unknown_fields=True):
    before: Does = "nothing"
    after: After = "passes"
    word: str = "odd"


class Odd:
    def __init__(self, settings: GuardSettings) -> None:
        self._settings = settings

    async def before(self, asked: Guarded) -> Any:
        asked.record["odd"] = self._settings.word
        asked.headers["odd"] = self._settings.word
        match self._settings.before:
            case "raises":
                raise KeyError(f"sk-a-secret {asked.request.question}")
            case "exits":
                raise SystemExit(3)
            case "hangs":
                await asyncio.Event().wait()
            case "blocks":
                time.sleep(0.05)
            case "returns junk":
                return "junk"
            case "asks junk":
                return replace(asked.request, messages=())
            case "asks half":
                return _with(asked.request, "half of a surrogate pair: \ud83d")
            case "refuses":
                raise GuardRefused("not about this")
            case "has it":
                return Answer(choices=(Choice(text="ready"),), usage=Usage(1_000_000, 0), model="large")
            case "says":
                return _with(asked.request, f"{self._settings.word}: {asked.request.question}")
        return None

    def after(self, asked: Guarded, chunks: AsyncIterator[Chunk]) -> Any:
        if self._settings.after == "returns junk":
            return ["junk"]
        return self._after(chunks)

    async def _after(self, chunks: AsyncIterator[Chunk]) -> AsyncIterator[Any]:
        match self._settings.after:
            case "raises":
                raise KeyError("sk-a-secret")
            case "gives junk":
                yield "junk"
            case "refuses":
                raise GuardRefused("not this answer")
        count = 0
        async for chunk in chunks:
            count += 1
            if self._settings.after == "hangs":
                await asyncio.Event().wait()
            if self._settings.after == "raises late" and count == 2:
                raise KeyError("sk-a-secret")
            if self._settings.after == "stops":
                return
            yield replace(chunk, text=chunk.text.upper()) if self._settings.after == "shouts" else chunk


class Onlooker:
    """A guard without `after`: answers keep their bytes."""

    async def before(self, asked: Guarded) -> ChatRequest | None:
        return None


def _with(request: ChatRequest, text: str) -> ChatRequest:
    return replace(request, messages=(*request.messages[:-1], Message(role="user", content=text)))


class SignalSettings(Struct, frozen=True):
    pass


class Moody:
    def measure(self, request: ChatRequest) -> Any:
        match request.question:
            case "raise":
                raise KeyError("sk-a-secret")
            case "exit":
                raise SystemExit(3)
            case "junk":
                return [1]
            case "nan":
                return {"mood": float("nan"), "tongue": "en"}
            case "text":
                return {"mood": "bad", "tongue": "en"}
            case "long":
                return {"mood": 1, "tongue": "x" * 10_000}
        values: Mapping[str, SignalValue] = {"mood": 0.5, "tongue": "en"}
        return values

    def features(self, request: ChatRequest) -> Any:
        found = {"junk": 7, "text": "", "long": "x" * (MOST_FEATURES + 1), "most": "x" * MOST_FEATURES}
        return found[request.question]


class SinkSettings(Struct, frozen=True):
    opens: bool = True
    fails: int = 0


WRITTEN: list[Record] = []


class Listener:
    def __init__(self, fails: int) -> None:
        self._fails = fails

    async def write(self, records: Sequence[Record]) -> None:
        if self._fails:
            self._fails -= 1
            raise OSError("no room")
        WRITTEN.extend(records)


class PortalSettings(Struct, frozen=True):
    does: Literal["knows", "raises", "returns junk"] = "knows"


class Portal:
    def __init__(self, does: str) -> None:
        self._does = does

    async def caller(self, headers: Mapping[str, str]) -> Any:
        if self._does == "raises":
            raise KeyError("sk-a-secret")
        if self._does == "returns junk":
            return "root"
        name = headers.get("x-portal", "")
        if name == "forged":
            raise InvalidAPIKey("the portal did not sign this")
        return Caller(key="portal", user=name) if name else None


@asynccontextmanager
async def _given(component: Any) -> AsyncIterator[Any]:
    yield component


def _open_sink(settings: SinkSettings, context: Context) -> AbstractAsyncContextManager[Sink]:
    if not settings.opens:
        raise OSError("nobody there")
    return _given(Listener(settings.fails))


@hookimpl
def register_guards() -> list[Kind[Guard]]:
    return [
        Kind("odd", GuardSettings, lambda settings, _: _given(Odd(settings))),
        Kind("onlooker", SignalSettings, lambda *_: _given(Onlooker())),
    ]


@hookimpl
def register_signals() -> list[Kind[Signal]]:
    return [Kind("moody", SignalSettings, lambda *_: _given(Moody()), {"mood": float, "tongue": str})]


@hookimpl
def register_sinks() -> list[Kind[Sink]]:
    return [Kind("listener", SinkSettings, _open_sink)]


@hookimpl
def register_authenticators() -> list[Kind[Authenticator]]:
    return [Kind("portal", PortalSettings, lambda settings, _: _given(Portal(settings.does)))]
