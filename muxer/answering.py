"""One request over HTTP: its body in, the answer or its stream out, in whichever format the caller speaks."""

import asyncio
import math
import re
import time
from collections.abc import Mapping
from contextlib import suppress

from aiohttp import web
from msgspec.structs import replace

from muxer.assemble import Assembly
from muxer.drains import Drain
from muxer.edge import Patience, Request, json_body, ours
from muxer.errors import ClientGone, MuxerError, ShuttingDown
from muxer.fence import ComponentFailed, Fence
from muxer.inbound import Inbound
from muxer.inflight import STOPPED
from muxer.interfaces import AddsHeaders
from muxer.log import frames
from muxer.outgoing import FRAMING, Stream, Whole
from muxer.pipeline import Exchange, serve
from muxer.repeats import idempotency_key
from muxer.turns import turn
from muxer.wire.bodies import without_debug
from muxer.wire.inbound import InboundFormat, StreamWriter

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_FORWARDED = ("anthropic-beta",)
"""Headers that a provider of the caller's own format may send on: they say which fields of the body it may read."""


class Answering:
    """Answers requests in one format."""

    def __init__(self, assembly: Assembly, format: InboundFormat, patience: Patience) -> None:
        self._assembly = assembly
        self._format = format
        self._patience = patience
        self._adding = [
            (one, Fence(f"extension {type(one).__name__}", assembly.parts.meter, assembly.parts.log))
            for one in assembly.extensions
            if isinstance(one, AddsHeaders)
        ]

    async def respond(self, asked: web.Request) -> Whole | Stream:
        """The answer to one request, whole or streamed. Raises MuxerError when no answer begins."""
        request = ours(asked)
        await turn()
        inbound = await inbound_of(request, self._format)
        async with serve(self._assembly.parts, request.caller, inbound) as exchange:
            if exchange.answer is None:
                return await self._stream(request, exchange, inbound)
            await turn()
            id, now = exchange.record.id, int(time.time())
            answer = self._format.answer(exchange.answer, id, now, exchange.metadata(), inbound)
            exchange.client_gone = request.transport is None or request.transport.is_closing()  # S12
            await exchange.settle()
            await turn()
            return Whole(answer, headers=self._headers(exchange))

    async def _stream(self, request: Request, exchange: Exchange, inbound: Inbound) -> Stream:
        """Writes chunks as they come. When the caller leaves, the answer is read on for its usage (S11).

        The status has been sent by then, so whatever goes wrong can only be told by a last event.
        """
        stream = Stream(request, self._headers(exchange))
        writer = self._format.stream(exchange.record.id, int(time.time()), exchange.served.name, inbound)
        try:
            async with self._assembly.parts.in_flight.drains.around(self._patience.drain_s) as drain:
                with _Writing(request, stream, exchange, drain, self._patience.write_s) as writing:
                    await self._relay(exchange, writer, writing, request)
        except ClientGone as gone:
            exchange.failed(gone)
        return stream

    async def _relay(self, exchange: Exchange, writer: StreamWriter, writing: "_Writing", request: Request) -> None:
        """All chunks and what ends them, or one error event in its place."""
        try:
            async with exchange.chunks() as chunks:
                async for chunk in chunks:
                    await writing.write(writer.write(chunk, exchange.metadata() if chunk.usage else {}))
            await writing.write(writer.end())
        except asyncio.CancelledError as error:
            if not self._assembly.parts.in_flight.is_over:
                raise
            await self._broken(exchange, writer, writing, error, ShuttingDown(STOPPED))
        except Exception as error:  # noqa: BLE001  # the process must live on, and the caller gets an event
            told = error if isinstance(error, MuxerError) else unforeseen(self._assembly, request, error)
            await self._broken(exchange, writer, writing, error, told)

    async def _broken(
        self,
        exchange: Exchange,
        writer: StreamWriter,
        writing: "_Writing",
        error: BaseException,
        told: MuxerError,
    ) -> None:
        """What `error` ended is settled, and its last event tells why."""
        exchange.failed(error)
        await exchange.settle()
        await writing.write(writer.error(error_fields(told)))

    def _headers(self, exchange: Exchange) -> dict[str, str]:
        """Ours, and under them those of extensions; one that fails has none."""
        added: dict[str, str] = {}
        for extension, fence in self._adding:
            with suppress(ComponentFailed), fence.around():
                added |= _added(extension.headers(exchange.so_far))
        return added | {name: _header_safe(value) for name, value in _exchange_headers(exchange).items()}


async def inbound_of(request: web.Request, format: InboundFormat) -> Inbound:
    """A request with what its headers say. Raises InvalidRequest."""
    body = await json_body(request)
    told, wants_debug = without_debug(body)
    return replace(
        format.read(told),
        wants_debug=wants_debug,
        tags=tuple(tag.strip() for tag in request.headers.get("x-muxer-tags", "").split(",") if tag.strip()),
        conversation=_as_text(request.headers.get("x-muxer-conversation", "")),
        idempotency=idempotency_key(request.headers, body),
        headers={name: value for name in _FORWARDED if (value := _header_safe(request.headers.get(name, "")))},
    )


class _Writing:
    """Where a stream is written; once the caller is gone it swallows the rest, and the drain begins.

    One timer looks after all writes of a stream: a deadline of its own for each was a tenth of what a chunk costs.
    """

    def __init__(
        self,
        request: Request,
        stream: Stream,
        exchange: Exchange,
        drain: Drain,
        write_s: float,
    ) -> None:
        self._write_s = write_s
        self._request = request
        self._stream = stream
        self._exchange = exchange
        self._drain = drain
        self._loop = asyncio.get_running_loop()
        self._waiting_since = math.inf

    def __enter__(self) -> "_Writing":
        self._timer = self._loop.call_later(self._write_s, self._look)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    async def write(self, data: bytes) -> None:
        if self._exchange.client_gone or not data:
            return
        try:
            if self._stream.write(data):
                self._waiting_since = self._loop.time()
                await self._stream.drained()
        except ConnectionError:
            self._leave()
        finally:
            self._waiting_since = math.inf

    def _look(self) -> None:
        """Ends a write that has taken too long, by which it returns; else looks again when this one would have."""
        now = self._loop.time()
        if now - self._waiting_since >= self._write_s:
            self._leave()
            return
        self._timer = self._loop.call_at(min(now, self._waiting_since) + self._write_s, self._look)

    def _leave(self) -> None:
        """The caller is gone, or as good as that."""
        if self._exchange.client_gone:
            return
        self._exchange.client_gone = True
        if self._request.transport is not None:
            self._request.transport.abort()
        self._drain.begin()


def _exchange_headers(exchange: Exchange) -> dict[str, str]:
    """The `x-muxer-*` headers of an answer."""
    record, served = exchange.record, exchange.served
    headers = {
        **_ids(record.id),
        "x-muxer-route": record.route,
        "x-muxer-provider": served.provider,
        "x-muxer-model": served.name,
        "x-muxer-reason": record.reason,
        **exchange.guard_headers,
        **exchange.limit_headers,
    }
    if exchange.dropped:
        headers["x-muxer-dropped"] = ", ".join(exchange.dropped)
    if exchange.output_cap is not None:
        headers["x-muxer-output-cap"] = str(exchange.output_cap)
    return headers


def _ids(id: str) -> dict[str, str]:
    """The id of a request, also where OpenAI's and Anthropic's SDKs look for it."""
    return dict.fromkeys(("x-muxer-request-id", "x-request-id", "request-id"), id)


def _as_text(value: str) -> str:
    """A header's value; bytes in it that are no UTF-8 come as lone surrogates, which nothing can store or send."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _added(headers: Mapping[str, str]) -> dict[str, str]:
    """Of an extension's headers those that may stand in an answer: the others would break it, when it has been paid."""
    return {
        name: _header_safe(value)
        for name, value in headers.items()
        if _NAME.fullmatch(name) and name.lower() not in FRAMING
    }


def _header_safe(value: str) -> str:
    """Names come from the configuration and may hold anything; headers take visible ASCII."""
    if value.isascii() and value.isprintable():
        return value
    return "".join(c if " " <= c <= "~" else "?" for c in value)


def unforeseen(assembly: Assembly, request: Request, error: Exception) -> MuxerError:
    """The error a caller is told when something went wrong that nobody foresaw; the log has its place."""
    assembly.parts.log("error", "unforeseen", trace=frames(error), path=request.path[:256])
    return MuxerError("an unforeseen error; it is in the log of the proxy")


def error_fields(error: MuxerError) -> dict[str, object]:
    """OpenAI's error object, all four keys."""
    return {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
        **error.details,
    }


def error_response(error: MuxerError, format: InboundFormat) -> Whole:
    """An error as an HTTP answer, as a format writes it."""
    ids = _ids(error.request_id) if error.request_id else {}
    body = format.error(error_fields(error), error.request_id)
    return Whole(body, error.status, error.headers | ids, closes=error.closes)
