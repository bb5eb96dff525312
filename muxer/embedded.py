"""The proxy without HTTP: `Muxer` takes LiteLLM's call shape and runs the same pipeline."""

import os
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal, overload

import msgspec

from muxer import json_guard
from muxer.access import ANONYMOUS
from muxer.assemble import Assembly, assemble
from muxer.config.load import load
from muxer.errors import InvalidJSON, MuxerError
from muxer.inbound import Inbound
from muxer.pipeline import serve
from muxer.plugins import find_kinds
from muxer.prices import load_prices
from muxer.types import Caller
from muxer.wire import openai_chat, openai_inbound


class Reply(dict[str, Any]):
    """A JSON object whose members are also attributes, None where the answer leaves one out:
    `chunk.choices[0].delta.content`."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # what Python itself looks for is not in JSON
        return self.get(name)


def _reply(value: Any) -> Any:
    if isinstance(value, dict):
        return Reply({name: _reply(member) for name, member in value.items()})
    return [_reply(member) for member in value] if isinstance(value, list) else value


def _silent(level: str, event: str, **fields: object) -> None:
    """A library does not write to its user's terminal."""


class Muxer:
    """The proxy in this process. Use it as an async context."""

    def __init__(self, path: Path, *, demo: bool = False, environ: Mapping[str, str] | None = None) -> None:
        self._path = path
        self._demo = demo
        self._environ = os.environ if environ is None else environ
        self._opened = AsyncExitStack()
        self._assembly: Assembly | None = None

    @classmethod
    def from_yaml(cls, path: str | Path = "routing.yaml", *, demo: bool = False) -> "Muxer":
        """A proxy by a file. It is read when the context is entered, which raises ConfigInvalid. `demo`: as --demo."""
        return cls(Path(path), demo=demo)

    async def __aenter__(self) -> "Muxer":
        table = load_prices()
        configuration = load(self._path, self._environ, find_kinds, table=table, demo=self._demo)
        self._assembly = await self._opened.enter_async_context(assemble(configuration, table, _silent))
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._assembly = None
        await self._opened.__aexit__(*error)

    @overload
    async def acompletion(self, *, messages: list[Any], stream: Literal[False] = False, **fields: Any) -> Reply: ...

    @overload
    async def acompletion(
        self, *, messages: list[Any], stream: Literal[True], **fields: Any
    ) -> AsyncGenerator[Reply, None]: ...

    async def acompletion(
        self, *, messages: list[Any], stream: bool = False, **fields: Any
    ) -> Reply | AsyncGenerator[Reply, None]:
        """Answers like `POST /v1/chat/completions` with the same fields; `model` may be left out. Raises MuxerError.
        Whoever may leave a stream early closes it (`aclosing`): that ends the upstream call.

        The record's user is `anonymous`, or the field `user` when it is given.
        """
        if self._assembly is None:
            raise MuxerError("enter the Muxer first: `async with Muxer.from_yaml(...) as mux:`")
        try:
            body = msgspec.json.encode({"messages": messages, "stream": stream, **fields})
        except (TypeError, UnicodeEncodeError) as error:
            raise InvalidJSON(f"the request is not JSON: {error}") from error
        json_guard.check(body)
        inbound = Inbound(api=openai_chat.API, raw=body, request=openai_inbound.decode_request(body))
        user = inbound.request.user
        caller = Caller(key=ANONYMOUS.key, user=user) if user else ANONYMOUS
        if stream:
            return _stream(self._assembly, caller, inbound)
        async with serve(self._assembly.parts, caller, inbound) as exchange:
            assert exchange.answer is not None, "a request without `stream` has a whole answer"
            metadata = exchange.metadata()
            answer = openai_inbound.encode_answer(exchange.answer, exchange.record.id, int(time.time()), metadata)
        reply: Reply = _reply(msgspec.json.decode(answer))
        return reply


async def _stream(assembly: Assembly, caller: Caller, inbound: Inbound) -> AsyncGenerator[Reply, None]:
    """The events of a streamed answer, decoded."""
    async with serve(assembly.parts, caller, inbound) as exchange:
        writer = openai_inbound.StreamWriter(
            exchange.record.id, int(time.time()), exchange.served.name, wants_usage=inbound.request.wants_usage
        )
        try:
            async with exchange.chunks() as chunks:
                async for chunk in chunks:
                    for event in writer.events(chunk, exchange.metadata() if chunk.usage else {}):
                        yield _reply(msgspec.json.decode(event))
        except GeneratorExit:
            exchange.client_gone = True
            raise
