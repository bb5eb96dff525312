"""The first candidate that answers: attempt after attempt, each held before it is sent, until an answer has begun."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager
from types import MappingProxyType

from muxer import measurements
from muxer.asking import streamed, whole
from muxer.attempts import Running
from muxer.catalog import Model
from muxer.errors import InvalidRequest, MuxerError
from muxer.failures import ProviderBroke, ProviderFailed, UpstreamAuth, UpstreamBadResponse, UpstreamRateLimited
from muxer.interfaces import Log, Meter, Provider
from muxer.log import frames
from muxer.routing import Candidate
from muxer.types import Answer, Attempt, Call, Chunk, Usage

MAX_ATTEMPTS = 3  # the first and two more, fallbacks included (RELIABILITY 2)
MAX_PAUSE_S = 120.0  # F1
AUTH_PAUSE_S = 30.0
FAILURES_BEFORE_PAUSE = 5  # F2
FAILURE_PAUSE_S = 10.0

Hold = Callable[[int, Candidate], Awaitable[int | None]]
"""Takes money for attempt number N at a candidate; None when it does not fit."""
MakeCall = Callable[[Candidate, int], Call]
"""The call for a candidate under a grant of that many nano-dollars."""


class Cooldowns:
    """Which models are set aside for a while: after a 429, a refused credential, or several failures in a row."""

    def __init__(self, clock: Callable[[], float], meter: Meter) -> None:
        self._clock = clock
        self._meter = meter
        self._until: dict[tuple[str, str], tuple[float, str]] = {}
        self._failures: dict[tuple[str, str], int] = {}

    def reason(self, model: Model) -> str:
        """Why a model is set aside just now, or ''."""
        key = (model.name, model.provider)
        found = self._until.get(key)
        if found is None:
            return ""
        if found[0] <= self._clock():
            del self._until[key]
            self._meter.set(measurements.PROVIDER_UP, 1, *key)
            return ""
        return f"set aside for {found[0] - self._clock():.0f} s more after {found[1]}"

    def succeeded(self, model: Model) -> None:
        """Forgets the failures of a model."""
        key = (model.name, model.provider)
        if self._failures.pop(key, None) is not None:
            self._until.pop(key, None)
            self._meter.set(measurements.PROVIDER_UP, 1, *key)

    def failed(self, model: Model, error: ProviderFailed) -> None:
        """Counts a failure, and sets the model aside when it is time to."""
        if not error.falls_back:
            return
        key = (model.name, model.provider)
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause_s = 0.0
        if isinstance(error, UpstreamRateLimited):
            pause_s = min(MAX_PAUSE_S, 1.0 if error.retry_after_s is None else error.retry_after_s)
        elif isinstance(error, UpstreamAuth):
            pause_s = AUTH_PAUSE_S
        elif failures >= FAILURES_BEFORE_PAUSE:
            pause_s = FAILURE_PAUSE_S
        if pause_s:
            self._until[key] = (self._clock() + pause_s, error.code)
            self._meter.set(measurements.PROVIDER_UP, 0, *key)


_NONE: Mapping[str, Sequence[str]] = MappingProxyType({})


class Dispatcher:
    """Knows the providers and who is set aside. `secrets` are the texts, by provider, that no error may quote."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        cooldowns: Cooldowns,
        meter: Meter,
        log: Log,
        secrets: Mapping[str, Sequence[str]] = _NONE,
    ) -> None:
        self._secrets = secrets
        self.providers = providers
        self.cooldowns = cooldowns
        self.meter = meter
        self._log = log
        self._told: set[str] = set()

    def begin(self, estimate_tokens: int) -> "Dispatch":
        """A dispatch for one request."""
        return Dispatch(self, estimate_tokens)

    @contextmanager
    def foreign(self, provider: str) -> Iterator[None]:
        """Around a provider's code: what it raises that is not ours is counted, told once, and a failure of it."""
        try:
            yield
        except MuxerError as error:
            for secret in self._secrets.get(provider, ()):
                error.hide(secret)
            raise
        except (Exception, SystemExit) as error:
            self.meter.add(measurements.PLUGIN_FAILURES, 1, f"provider {provider}", "raised")
            if provider not in self._told:
                self._told.add(provider)
                what = type(error).__name__
                self._log("error", "plugin_failed", component=f"provider {provider}", error=what, trace=frames(error))
            raise ProviderBroke(f"provider {provider!r} raised {type(error).__name__}") from error


class Dispatch:
    """The attempts of one request. Entered as a context, whose end closes the upstream call."""

    def __init__(self, dispatcher: Dispatcher, estimate_tokens: int) -> None:
        self._dispatcher = dispatcher
        self._cooldowns = dispatcher.cooldowns
        self._meter = dispatcher.meter
        self._estimate_tokens = estimate_tokens
        self._streams = AsyncExitStack()
        self.ended: list[Attempt] = []
        self.running: Running | None = None
        self.usage = Usage()
        self.dropped: tuple[str, ...] = ()

    async def __aenter__(self) -> "Dispatch":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._streams.aclose()

    async def first_answer(
        self, candidates: Sequence[Candidate], granted_nanos: int, hold: Hold, make_call: MakeCall
    ) -> Answer | AsyncIterator[Chunk]:
        """The whole answer, or the chunks of the first stream that began; `granted_nanos` is held for the first.

        Raises, when nobody answers, the last failure; what only some candidates cannot express tells less than that.
        """
        granted: int | None = granted_nanos
        errors: list[ProviderFailed | InvalidRequest] = []
        for leg, candidate in enumerate(candidates[:MAX_ATTEMPTS]):
            if errors:
                granted = await hold(leg, candidate)
                if granted is None:
                    break
                before = candidates[leg - 1].model.name
                self._meter.add(measurements.FALLBACKS, 1, before, candidate.model.name, errors[-1].code)
            try:
                return await self._attempt(candidate, granted or 0, make_call)
            except ProviderFailed as error:
                self._failed(error)
                if not error.falls_back:
                    raise
                errors.append(error)
            except InvalidRequest as error:
                self._refused(error)
                errors.append(error)
        failures = [error for error in errors if isinstance(error, ProviderFailed)]
        raise (failures or errors)[-1]

    async def _attempt(
        self, candidate: Candidate, granted_nanos: int, make_call: MakeCall
    ) -> Answer | AsyncIterator[Chunk]:
        provider = self._dispatcher.providers[candidate.model.provider]
        call = make_call(candidate, granted_nanos)
        self.running = Running(
            candidate=candidate,
            granted_nanos=granted_nanos,
            begun_at=time.perf_counter(),
            estimate_tokens=self._estimate_tokens,
        )
        foreign = self._dispatcher.foreign(candidate.model.provider)
        if call.request.stream:
            return await self._first_chunk(streamed(provider, call, candidate.model.mode, foreign))
        with foreign:
            return await whole(provider, call, candidate.model.mode)

    async def _first_chunk(self, chunks: AsyncGenerator[Chunk, None]) -> AsyncIterator[Chunk]:
        await self._streams.enter_async_context(aclosing(chunks))
        try:
            first = await anext(chunks)
        except StopAsyncIteration:
            raise UpstreamBadResponse("the upstream ended its stream before a first chunk") from None
        self.dropped = first.dropped
        return _chained(first, chunks)

    def _failed(self, error: ProviderFailed) -> None:
        assert self.running is not None, "only a running attempt fails"
        self._cooldowns.failed(self.running.candidate.model, error)
        self.usage = error.usage or self.usage
        self._end(self.running.failed(error, time.perf_counter()))

    def _refused(self, error: InvalidRequest) -> None:
        assert self.running is not None, "only a running attempt is refused"
        self._end(self.running.refused(error, time.perf_counter()))

    def finish(self, usage: Usage | None, written_bytes: int, error: str = "") -> None:
        """The answer that had begun is over; `usage` is the provider's, if it said."""
        if self.running is None:
            return
        self.usage = self.running.counted(written_bytes) if usage is None else usage
        if not error:
            self._cooldowns.succeeded(self.running.candidate.model)
        attempt = self.running.answered(usage, written_bytes, time.perf_counter(), error)
        if attempt.cost_nanos > self.running.granted_nanos and self.running.is_hard:
            self._meter.add(measurements.BUDGET_OVERRUN, 1)
        self._end(attempt)

    def abandon(self) -> None:
        """Nobody waits for the attempt any more."""
        if self.running is not None:
            self._end(self.running.abandoned(time.perf_counter()))

    def _end(self, attempt: Attempt) -> None:
        self.running = None
        self.ended.append(attempt)
        self._meter.add(measurements.ATTEMPTS, 1, attempt.model, attempt.provider, attempt.outcome)


async def _chained(first: Chunk, rest: AsyncIterator[Chunk]) -> AsyncIterator[Chunk]:
    yield first
    async for chunk in rest:
        yield chunk
