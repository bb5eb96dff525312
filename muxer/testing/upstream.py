"""A model vendor under a test's control, on a real socket, that keeps its own bill."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import msgspec
from aiohttp import web
from msgspec import Struct

from muxer import Price, Usage
from muxer.testing.behaviours import Behaviour, Fail, Say
from muxer.testing.calls import Act, Asked, Format, Hears, Step, Wait
from muxer.testing.vendors import FORMATS, OpenAIChat

MAX_BODY_BYTES = 256 * 1024 * 1024
PATIENCE_S = 10.0  # how long a test may wait for something that does not come


class UpstreamCall(Struct, frozen=True, kw_only=True):
    """One call as the upstream saw it. `billed` is what it charges for it, `status` what it answers with."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, object]
    model: str
    status: int
    billed: Usage | None


class ScriptedUpstream:
    """`async with ScriptedUpstream() as upstream:` serves `upstream.url` on a free port of 127.0.0.1.

    Each call takes the next behaviour scripted for its model, else the next scripted for any model, else `default`.
    It is billed in full as it arrives, before a byte is answered: no vendor is stricter, so a proxy whose holds cover
    this bill covers every vendor's. Nothing is served from a script twice.
    """

    def __init__(self, default: Behaviour | None = None, formats: Mapping[str, Format] | None = None) -> None:
        self.default: Behaviour = default or Say()
        self.calls: list[UpstreamCall] = []
        self.abandoned: list[UpstreamCall] = []
        self.gate = asyncio.Event()
        self._formats = {**FORMATS, **(formats or {})}
        self._scripts: defaultdict[str | None, deque[Behaviour]] = defaultdict(deque)
        self._running = 0
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """The address, without a path and the same for life."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Serves; after a `stop`, at the same address again."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Drops every connection; from now on new ones are refused."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def script(self, model: str | None, *behaviours: Behaviour) -> None:
        """Queues behaviours for the next calls of one upstream model, or of any (None)."""
        self._scripts[model].extend(behaviours)

    def bill_nanos(self, prices: Mapping[str, Price]) -> int:
        """The bill so far, at these prices by upstream model: what every other account of it must equal."""
        return sum(prices[call.model].cost_nanos(call.billed) for call in self.calls if call.billed is not None)

    async def arrived(self, count: int) -> None:
        """Waits until so many calls have come in."""
        await self._until(lambda: len(self.calls) >= count)

    async def idle(self) -> None:
        """Waits until no call is being answered: each is complete or its client has left (`abandoned`)."""
        await self._until(lambda: self._running == 0)

    async def _until(self, is_true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not is_true():
                await self._changed.wait()

    def _change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        asked = await self._read(request)
        act = self._behaviour(asked).play(asked)
        call = UpstreamCall(
            path=asked.path,
            headers=asked.headers,
            body=asked.body,
            model=asked.model,
            status=act.status,
            billed=act.billed,
        )
        self.calls.append(call)
        self._running += 1
        self._change()
        try:
            return await self._perform(request, act)
        except (asyncio.CancelledError, ConnectionError):
            self.abandoned.append(call)
            raise
        finally:
            self._running -= 1
            self._change()

    async def _read(self, request: web.Request) -> Asked:
        try:
            body = msgspec.json.decode(await request.read(), type=dict[str, object])
        except (msgspec.DecodeError, UnicodeDecodeError):
            body = {}
        format = self._format(request.path) or OpenAIChat()
        heard = format.heard(request.path, body) if isinstance(format, Hears) else None
        return Asked(
            number=len(self.calls) + 1,
            path=request.path,
            headers=request.headers,
            body=body,
            format=format,
            heard=heard,
        )

    def _format(self, path: str) -> Format | None:
        found = self._formats.get(path)
        if found is not None:
            return found
        begun = (
            format for start, format in self._formats.items() if start.endswith("*") and path.startswith(start[:-1])
        )
        return next(begun, None)

    def _behaviour(self, asked: Asked) -> Behaviour:
        if self._format(asked.path) is None:
            return Fail(404)
        if not asked.model:
            return Fail(400)
        script = self._scripts[asked.model] or self._scripts[None]
        return script.popleft() if script else self.default

    async def _perform(self, request: web.Request, act: Act) -> web.StreamResponse:
        response = web.StreamResponse(status=act.status, headers=act.headers)
        for step in act.before:
            if await self._ends(request, step):
                return response
        await response.prepare(request)
        for step in act.body:
            if isinstance(step, bytes):
                await response.write(step)
            elif await self._ends(request, step):
                return response
        await response.write_eof()
        return response

    async def _ends(self, request: web.Request, step: Step) -> bool:
        """Waits as the step says; true when it ends the connection instead."""
        if isinstance(step, Wait):
            await (self.gate.wait() if step.seconds is None else asyncio.sleep(step.seconds))
            return False
        if request.transport is not None:
            request.transport.close()  # flushes what was written, so that a cut falls on the very byte
        return True
