"""The guards of a request: each looks at it before it is sent, and some at what comes back."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from muxer import measurements
from muxer.answers import collect, each, pieces
from muxer.errors import GuardRefused, InvalidRequest, MuxerError, PluginFailed, Unsupported
from muxer.fence import ComponentFailed, Fence
from muxer.inbound import Inbound
from muxer.inputs import EmbeddingRequest, InputsRequest
from muxer.interfaces import Guard, Guarded, GuardsAnswers, Meter
from muxer.types import Answer, Caller, ChatRequest, Chunk
from muxer.wire import openai_chat, openai_embeddings, openai_inbound, openai_inputs, openai_text_inbound
from muxer.wire.foreign import translated

_LONGEST_NOTE = 256


class Armed(Struct, frozen=True, kw_only=True):
    """One guard of the file. A `required` one that fails refuses the request; `timeout_s` is what it may take."""

    name: str
    guard: Guard
    required: bool
    timeout_s: float
    fence: Fence

    def passed_over(self) -> None:
        """The request goes on without this guard. Raises PluginFailed where the file requires it."""
        if self.required:
            raise PluginFailed(
                f"the guard {self.name!r} failed, and nothing passes without it; see the log of the proxy"
            )


class Guards(Struct, frozen=True, kw_only=True):
    """The guards of a configuration, in its order: those of every request, and those of a route alone."""

    everywhere: tuple[Armed, ...] = ()
    by_route: Mapping[str, tuple[Armed, ...]] = field(default_factory=dict)


class Watch:
    """The guards that have looked at one request, and what they said about it."""

    def __init__(self, id: str, caller: Caller, meter: Meter) -> None:
        self._id = id
        self._caller = caller
        self._meter = meter
        self._seen: list[tuple[Armed, Guarded]] = []
        self.answered_by = ""

    @property
    def notes(self) -> dict[str, str]:
        """What goes into the record."""
        return {_short(name): _short(text) for _, asked in self._seen for name, text in asked.record.items()}

    @property
    def headers(self) -> dict[str, str]:
        """What goes into the headers of the answer."""
        said = {name: text for _, asked in self._seen for name, text in asked.headers.items()}
        return {f"x-muxer-{_short(name)}": _short(text) for name, text in said.items()}

    @property
    def sees_answers(self) -> bool:
        """Whether one of the guards looks at what comes back."""
        return any(isinstance(armed.guard, GuardsAnswers) for armed, _ in self._seen)

    async def look(self, guards: Sequence[Armed], inbound: Inbound, route: str = "") -> tuple[Inbound, Answer | None]:
        """Asks the guards in order. Returns the request as they leave it, and the answer if one of them has it.

        Raises GuardRefused, PluginFailed when a required guard fails, and Unsupported for what no guard can read.
        """
        if guards and isinstance(inbound.request, InputsRequest) and inbound.request.token_counts:
            names = ", ".join(armed.name for armed in guards)
            field = inbound.request.field
            raise Unsupported(f"{field}: send text, not tokens: what they say is hidden from {names}", param=field)
        for armed in guards:
            asked = Guarded(
                id=self._id,
                caller=self._caller,
                api=inbound.sent_api,
                raw=inbound.raw,
                request=inbound.request,
                route=route,
            )
            try:
                found = await self._ask(armed, asked)
                if isinstance(found, ChatRequest):
                    inbound = _changed(armed, inbound, found)
            except ComponentFailed:
                armed.passed_over()
                continue
            armed.fence.succeeded()
            self._seen.append((armed, asked))
            if isinstance(found, Answer):
                self.answered_by = armed.name
                return inbound, found
        return inbound, None

    async def _ask(self, armed: Armed, asked: Guarded) -> ChatRequest | Answer | None:
        if armed.fence.is_closed:
            raise ComponentFailed
        begun = time.perf_counter()
        try:
            with armed.fence.around(GuardRefused):
                async with asyncio.timeout(armed.timeout_s):
                    found: object = await armed.guard.before(asked)
        except GuardRefused:
            self._meter.add(measurements.GUARD_REFUSALS, 1, armed.name)
            raise
        if time.perf_counter() - begun > armed.timeout_s:  # it blocked the loop, and with it its deadline
            armed.fence.failed("timeout", detail=f"it blocked for longer than its timeout_s of {armed.timeout_s:g}")
            raise ComponentFailed
        has_vectors = isinstance(asked.request, EmbeddingRequest)  # which no guard can make
        if found is None or isinstance(found, ChatRequest):
            return found
        if isinstance(found, Answer) and found.choices and not has_vectors:
            return found
        armed.fence.failed("junk", detail=f"`before` returned a {type(found).__name__}")
        raise ComponentFailed

    async def whole(self, answer: Answer, model: str) -> Answer:
        """A whole answer as the guards leave it. Raises GuardRefused, and PluginFailed as above."""
        if not answer.choices or not self.sees_answers:
            return answer  # vectors are read by no guard
        given = list(pieces(answer))
        taken = [chunk async for chunk in self.over(each(given), model)]
        if len(given) == len(taken) and all(one is other for one, other in zip(given, taken, strict=True)):
            return answer
        again = await collect(each(taken))
        return replace(answer, choices=again.choices, raw=b"")

    def over(self, chunks: AsyncGenerator[Chunk, None], model: str) -> AsyncGenerator[Chunk, None]:
        """The chunks as the guards leave them. Who looked at the request last sees them first: so each guard sees the
        answer to the request as it left it."""
        for armed, asked in reversed(self._seen):
            if isinstance(armed.guard, GuardsAnswers) and armed.name != self.answered_by:
                asked.model = model
                chunks = _Relay(armed, chunks).run(armed.guard, asked)
        return chunks


def _changed(armed: Armed, inbound: Inbound, request: ChatRequest) -> Inbound:
    """The request as a guard wants it, its bytes changed where its fields are; those of another conversation
    than chat become chat. Raises Unsupported for what only the other format can say."""
    if request == inbound.request:
        return inbound
    becomes_chat = inbound.sent_api != openai_chat.API and not isinstance(inbound.request, InputsRequest)
    canonical = translated(request) if becomes_chat else request
    try:
        if not becomes_chat:
            raw, decoded = _rewritten(inbound, request)
            return replace(inbound, raw=raw, request=decoded)
        raw = openai_chat.encode(canonical)
        decoded = openai_inbound.decode_request(raw)
    except (InvalidRequest, UnicodeEncodeError) as error:  # half of a surrogate pair cannot be sent
        armed.fence.failed("junk", error, "`before` returned a request that is none")
        raise ComponentFailed from error
    return replace(inbound, raw=raw, request=decoded, raw_api=openai_chat.API, is_priced=True)


def _rewritten(inbound: Inbound, request: ChatRequest) -> tuple[bytes, ChatRequest]:
    """A changed request in its own format, and what its bytes say. Raises InvalidRequest when that is no request."""
    before = inbound.request
    if not isinstance(before, InputsRequest):
        raw = openai_inbound.patched(inbound.raw, before, request)
        return raw, openai_inbound.decode_request(raw)
    raw = openai_inputs.patched(inbound.raw, before, request)
    if isinstance(before, EmbeddingRequest):
        return raw, openai_embeddings.decode_request(raw)
    return raw, openai_text_inbound.decode_request(raw)


class _UpstreamFailed(Exception):
    """Told to a guard in place of the upstream's own failure."""


class _Relay:
    """Hands chunks to one guard and takes what it makes of them.

    The guard's deadline runs only while it works, not while it waits for the upstream. When it fails, what it was
    given since it last gave something is passed on as it came, and so is the rest.
    """

    def __init__(self, armed: Armed, chunks: AsyncIterator[Chunk]) -> None:
        self._armed = armed
        self._chunks = chunks
        self._deadline = asyncio.timeout(None)
        self._given: dict[int, Chunk] = {}
        self._unanswered: list[Chunk] = []
        self._upstream_error: MuxerError | None = None

    async def run(self, guard: GuardsAnswers, asked: Guarded) -> AsyncGenerator[Chunk, None]:
        """The chunks the guard gives."""
        feed = self._feed()
        stream: object = None
        try:
            stream = self._begun(guard, asked, feed)
            while (chunk := await self._next(stream)) is not None:
                self._unanswered.clear()
                yield chunk
        except ComponentFailed:
            self._armed.passed_over()
            for chunk in self._unanswered:
                yield chunk
            async for chunk in self._chunks:
                yield chunk
        else:
            self._armed.fence.succeeded()
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()
            await feed.aclose()

    def _begun(self, guard: GuardsAnswers, asked: Guarded, feed: AsyncIterator[Chunk]) -> AsyncIterator[Chunk]:
        fence = self._armed.fence
        if fence.is_closed:
            raise ComponentFailed
        with fence.around():
            stream: object = guard.after(asked, feed)
        if isinstance(stream, AsyncIterator):
            return stream
        if isinstance(stream, Coroutine):
            stream.close()
        fence.failed("junk", detail=f"`after` returned a {type(stream).__name__}, no iterator of chunks")
        raise ComponentFailed

    async def _next(self, stream: AsyncIterator[Chunk]) -> Chunk | None:
        """The guard's next chunk, None after the last. Raises the upstream's own failures, also those it swallowed."""
        fence = self._armed.fence
        found: object = None
        try:
            with fence.around(GuardRefused, _UpstreamFailed, StopAsyncIteration):
                async with asyncio.timeout(self._armed.timeout_s) as self._deadline:
                    found = await anext(stream)
        except (StopAsyncIteration, _UpstreamFailed):
            pass
        if self._upstream_error is not None:
            raise self._upstream_error
        if found is None or (isinstance(found, Chunk) and not found.raw):
            return found
        if not isinstance(found, Chunk):
            fence.failed("junk", detail=f"`after` gave a {type(found).__name__}, no chunk")
            raise ComponentFailed
        return found if self._given.pop(id(found), None) is found else replace(found, raw=b"")

    async def _feed(self) -> AsyncGenerator[Chunk, None]:
        loop = asyncio.get_running_loop()
        while True:
            self._deadline.reschedule(None)
            try:
                chunk = await anext(self._chunks)
            except StopAsyncIteration:
                return
            except MuxerError as error:
                self._upstream_error = error
                raise _UpstreamFailed from error
            finally:
                self._deadline.reschedule(loop.time() + self._armed.timeout_s)
            self._given[id(chunk)] = chunk
            self._unanswered.append(chunk)
            yield chunk


def _short(text: str) -> str:
    return str(text)[:_LONGEST_NOTE]
