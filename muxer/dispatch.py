"""The first candidate that answers: attempt after attempt, each held before it is sent, until an answer has begun."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager, nullcontext

from muxer import measurements
from muxer.asking import streamed, whole
from muxer.attempts import Running
from muxer.breakers import Breakers, Entry
from muxer.errors import InvalidRequest, MuxerError
from muxer.failures import ProviderBroke, ProviderFailed, SetAside, UpstreamBadResponse, UpstreamRateLimited
from muxer.interfaces import Log, Meter, Provider
from muxer.log import frames
from muxer.plans import Candidate
from muxer.retries import MAX_ATTEMPTS, Repeatable, RetryBudget, Untried, may_repeat, pause_s
from muxer.types import Answer, Attempt, Call, Chunk, FallbackCause, Usage

Hold = Callable[[int, Candidate], Awaitable[int | None]]
"""Takes money for attempt number N at a candidate; None when it does not fit."""
MakeCall = Callable[[Candidate, int], Call]
"""The call for a candidate under a grant of that many nano-dollars."""


class Dispatcher:
    """Knows the providers and who is set aside. `scrub` takes out of an error what it may not quote; `refuse_logprobs`
    are models that were found to refuse requests for log-probabilities."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        breakers: Breakers,
        meter: Meter,
        log: Log,
        scrub: Callable[[str], str] = str,
        retries: RetryBudget | None = None,
    ) -> None:
        self._scrub = scrub
        self.providers = providers
        self.breakers = breakers
        self.retries = retries or RetryBudget()
        self.meter = meter
        self._log = log
        self._told: set[str] = set()
        self.refuse_logprobs: set[str] = set()

    def begin(self, estimate_tokens: int) -> "Dispatch":
        """A dispatch for one request."""
        return Dispatch(self, estimate_tokens)

    @contextmanager
    def foreign(self, provider: str) -> Iterator[None]:
        """Around a provider's code: what it raises that is not ours is counted, told once, and a failure of it."""
        try:
            yield
        except MuxerError as error:
            error.reword(self._scrub)
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
        self._breakers = dispatcher.breakers
        self._budget = dispatcher.retries
        self._meter = dispatcher.meter
        self._estimate_tokens = estimate_tokens
        self._streams = AsyncExitStack()
        self._entry: Entry = "free"
        self._waiting: deque[Candidate] = deque()
        self._repeatable: deque[Repeatable] = deque()
        self._errors: list[ProviderFailed | InvalidRequest] = []
        self.ended: list[Attempt] = []
        self.running: Running | None = None
        self.usage = Usage()
        self.dropped: tuple[str, ...] = ()

    @property
    def refuse_logprobs(self) -> set[str]:
        """The models found to refuse requests for log-probabilities, of all requests."""
        return self._dispatcher.refuse_logprobs

    async def __aenter__(self) -> "Dispatch":
        self._budget.in_flight += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._budget.in_flight -= 1
        await self._streams.aclose()

    async def first_answer(
        self,
        candidates: Sequence[Candidate],
        granted_nanos: int,
        hold: Hold,
        make_call: MakeCall,
        fallback_on: Sequence[FallbackCause] = (),
    ) -> Answer | AsyncIterator[Chunk]:
        """The whole answer, or the chunks of the first stream that began; `granted_nanos` is held for the first.

        Every candidate has its turn before one is asked again. Raises, when nobody answers, the last failure; what only
        some candidates cannot express tells less than that. Asked once more, it begins anew with other candidates.
        """
        self._waiting, self._repeatable, self._errors = deque(candidates[1:]), deque(), []
        answer = await self._try(candidates[0], granted_nanos, make_call, fallback_on)
        while answer is None and len(self.ended) < MAX_ATTEMPTS:
            following = self._following()
            if following is None:
                break
            with self._budget.retry() if isinstance(following, Repeatable) else nullcontext():
                if isinstance(following, Repeatable):
                    await asyncio.sleep(following.pause_s)
                granted = await hold(len(self.ended), following.candidate)
                if granted is None:
                    break
                before, now = self.ended[-1].model, following.candidate.model.name
                self._meter.add(measurements.FALLBACKS, 1, before, now, self._errors[-1].code)
                answer = await self._try(following.candidate, granted, make_call, fallback_on)
        if answer is None:
            raise _most_telling(self._errors)
        return answer

    def _following(self) -> "Repeatable | Untried | None":
        """Who is asked next: a candidate that had no turn yet, else one that failed in passing."""
        while self._waiting:
            candidate = self._waiting.popleft()
            if not self._breakers.reason(candidate.model):
                return Untried(candidate)
        while self._repeatable and not self._budget.is_spent:
            again = self._repeatable.popleft()
            if not self._breakers.reason(again.candidate.model):
                return again
        return None

    async def _try(
        self, candidate: Candidate, granted_nanos: int, make_call: MakeCall, fallback_on: Sequence[FallbackCause]
    ) -> Answer | AsyncIterator[Chunk] | None:
        """The answer of one candidate; None when it failed so that another may be asked, else raises."""
        try:
            return await self._attempt(candidate, granted_nanos, make_call)
        except ProviderFailed as error:
            self._failed(error)
            if not error.falls_back and error.fallback_cause not in fallback_on:
                raise
            if may_repeat(candidate.model, error):
                self._repeatable.append(Repeatable(candidate, pause_s(len(self.ended) - 1, error)))
            self._errors.append(error)
        except InvalidRequest as error:
            self._refused(error)
            self._errors.append(error)
        return None

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
        self._entry = self._breakers.enter(candidate.model)
        if self._entry == "closed":
            raise SetAside(f"{candidate.model.name} is {self._breakers.reason(candidate.model)}")
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
        if self._entry != "closed":
            self._breakers.failed(self.running.candidate.model, self._entry, error)
        self.usage = error.usage or self.usage
        self._end(self.running.failed(error, time.perf_counter()))

    def _refused(self, error: InvalidRequest) -> None:
        assert self.running is not None, "only a running attempt is refused"
        self._breakers.left(self.running.candidate.model, self._entry)
        self._end(self.running.refused(error, time.perf_counter()))

    def finish(self, usage: Usage | None, written_bytes: int, error: str = "") -> None:
        """The answer that had begun is over; `usage` is the provider's, if it said."""
        if self.running is None:
            return
        self.usage = self.running.counted(written_bytes) if usage is None else usage
        if error:
            self._breakers.left(self.running.candidate.model, self._entry)
        else:
            self._breakers.succeeded(self.running.candidate.model, self._entry)
        attempt = self.running.answered(usage, written_bytes, time.perf_counter(), error)
        if attempt.cost_nanos > self.running.granted_nanos and self.running.is_hard:
            self._meter.add(measurements.BUDGET_OVERRUN, 1)
        self._end(attempt)

    def abandon(self) -> None:
        """Nobody waits for the attempt any more."""
        if self.running is not None:
            self._breakers.left(self.running.candidate.model, self._entry)
            self._end(self.running.abandoned(time.perf_counter()))

    def _end(self, attempt: Attempt) -> None:
        self.running = None
        self.ended.append(attempt)
        self._meter.add(measurements.ATTEMPTS, 1, attempt.model, attempt.provider, attempt.outcome)


def _most_telling(errors: Sequence[ProviderFailed | InvalidRequest]) -> ProviderFailed | InvalidRequest:
    """The last failure; of upstreams that all ask for a pause the one that asks for the shortest (F1)."""
    failures = [error for error in errors if isinstance(error, ProviderFailed) and not isinstance(error, SetAside)]
    limited = [error for error in failures if isinstance(error, UpstreamRateLimited)]
    if limited and len(limited) == len(failures):
        return min(limited, key=lambda error: error.retry_after_s or 0.0)
    return (failures or errors)[-1]


async def _chained(first: Chunk, rest: AsyncIterator[Chunk]) -> AsyncIterator[Chunk]:
    yield first
    async for chunk in rest:
        yield chunk
