"""The first candidate that answers: attempt after attempt, each held before it is sent, until an answer has begun."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager, nullcontext

from msgspec import Struct
from msgspec.structs import replace

from muxer import measurements
from muxer.asking import Resumed, streamed, whole
from muxer.attempts import Running
from muxer.breakers import Breakers, Entry
from muxer.errors import InvalidRequest, MuxerError
from muxer.failures import (
    ProviderBroke,
    ProviderFailed,
    SetAside,
    UpstreamBadResponse,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from muxer.hedging import Piped, Race
from muxer.interfaces import Log, Meter, Provider
from muxer.log import frames
from muxer.plans import Candidate, Terms
from muxer.retries import MAX_ATTEMPTS, Repeatable, RetryBudget, Untried, may_repeat, pause_s
from muxer.types import Answer, Attempt, Call, Chunk, Usage

Hold = Callable[[int, Candidate, Attempt | None], Awaitable[int | None]]
"""Takes money for attempt number N at a candidate; None when it does not fit. With it goes the attempt before, unless
that is still under way."""
MakeCall = Callable[[Candidate, int], Call]
"""The call for a candidate under a grant of that many nano-dollars."""


class _Asking(Struct, frozen=True):
    """How candidates of one request are asked."""

    hold: Hold
    make_call: MakeCall
    terms: Terms


_PLAIN = Terms()


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


class _Leg(Struct, eq=False):
    """One attempt: how it got to its model, and once it has ended what it cost. `whole` is its answer in one piece,
    `stream` one of several attempts that run side by side, `dropped` what the provider left out of the request."""

    running: Running
    entry: Entry
    ended: Attempt | None = None
    whole: Answer | None = None
    stream: Piped | None = None
    dropped: tuple[str, ...] = ()


class _Begun(Struct, frozen=True):
    """An answer that has begun, and the attempt that gave it."""

    leg: _Leg
    answer: Answer | AsyncIterator[Chunk]


class Dispatch:
    """The attempts of one request. Entered as a context, whose end closes the upstream call."""

    def __init__(self, dispatcher: Dispatcher, estimate_tokens: int) -> None:
        self._dispatcher = dispatcher
        self._breakers = dispatcher.breakers
        self._budget = dispatcher.retries
        self._meter = dispatcher.meter
        self._estimate_tokens = estimate_tokens
        self._streams: AsyncExitStack | None = None
        self._waiting: deque[Candidate] = deque()
        self._repeatable: deque[Repeatable] = deque()
        self._errors: list[ProviderFailed | InvalidRequest] = []
        self._legs: list[_Leg] = []
        self._answering: _Leg | None = None
        self._has_hedged = False
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
        if self._streams is not None:
            await self._streams.aclose()

    @property
    def serving(self) -> Running | None:
        """The attempt that answers or did, else the last one."""
        leg = self._answering or (self._legs[-1] if self._legs else None)
        return leg.running if leg is not None else None

    @property
    def ended(self) -> tuple[Attempt, ...]:
        """The attempts that are over, in the order in which they were held."""
        return tuple(leg.ended for leg in self._legs if leg.ended is not None)

    @property
    def count(self) -> int:
        """How many attempts were held so far: the number of the next."""
        return len(self._legs)

    @property
    def number(self) -> int:
        """The number of the attempt that answers or did."""
        return next(number for number, leg in enumerate(self._legs) if leg is self._answering)

    def note(self, number: int, *, confidence: float | None = None, is_check: bool = False) -> None:
        """Adds to an attempt that is over how sure its answer was, or that it asked how sure one was."""
        leg = self._legs[number]
        if leg.ended is not None:
            leg.ended = replace(leg.ended, confidence=confidence, is_check=is_check)

    def attempts(self, usage: Usage | None, written_bytes: int) -> list[Attempt]:
        """All attempts, as they would be if the answer were over with this usage."""
        now = time.perf_counter()
        return [leg.ended or leg.running.answered(usage, written_bytes, now) for leg in self._legs]

    async def first_answer(
        self,
        candidates: Sequence[Candidate],
        granted_nanos: int,
        hold: Hold,
        make_call: MakeCall,
        terms: Terms = _PLAIN,
    ) -> Answer | AsyncIterator[Chunk]:
        """The whole answer, or the chunks of the first stream that began; `granted_nanos` is held for the first.

        Every candidate has its turn before one is asked again. Raises, when nobody answers, the last failure; what only
        some candidates cannot express tells less than that. Asked once more, it begins anew with other candidates.
        """
        self._waiting, self._repeatable, self._errors = deque(candidates[1:]), deque(), []
        asking = _Asking(hold, make_call, terms)
        begun = await self._turn(candidates[0], granted_nanos, asking)
        while begun is None and len(self._legs) < MAX_ATTEMPTS:
            following = self._following()
            if following is None:
                break
            with self._budget.retry() if isinstance(following, Repeatable) else nullcontext():
                if isinstance(following, Repeatable):
                    await asyncio.sleep(following.pause_s)
                before = self._legs[-1]
                granted = await hold(len(self._legs), following.candidate, before.ended)
                if granted is None and isinstance(following, Untried):
                    continue  # the next model may have limits of its own
                if granted is None:
                    break
                name, reason = following.candidate.model.name, self._errors[-1].code
                self._meter.add(measurements.FALLBACKS, 1, before.running.candidate.model.name, name, reason)
                begun = await self._turn(following.candidate, granted, asking)
        if begun is None:
            raise _most_telling(self._errors)
        await self._serve(begun.leg)
        return begun.answer

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

    async def _turn(self, candidate: Candidate, granted_nanos: int, asking: "_Asking") -> _Begun | None:
        """The answer of one candidate, or of the one that is asked beside it when it keeps its caller waiting for long;
        None when all failed so that another may be asked."""
        after_s = asking.terms.hedge_after_s
        if after_s is None or self._has_hedged or len(self._legs) + 1 >= MAX_ATTEMPTS:
            return await self._try(candidate, granted_nanos, asking)
        async with Race[_Begun]() as race:
            race.enter(self._try(candidate, granted_nanos, asking, is_alone=False))
            is_over = await race.wait(after_s)
            other = None if is_over else self._beside(candidate)
            if other is None:
                return await race.first()
            with self._budget.retry():
                return await self._hedged(race, candidate, other, asking)

    def _beside(self, slow: Candidate) -> Candidate | None:
        """Who may be asked beside one that is slow: a candidate that had no turn yet; the same model only where the
        file takes the risk of its being billed twice; nobody while too many requests retry or hedge."""
        if self._budget.is_spent:
            return None
        while self._waiting:
            candidate = self._waiting.popleft()
            if not self._breakers.reason(candidate.model):
                return candidate
        return slow if slow.model.retry_uncertain else None

    async def _hedged(self, race: Race[_Begun], slow: Candidate, other: Candidate, asking: "_Asking") -> _Begun | None:
        """Sends the second attempt, if it fits the budget beside the first, and gives what answers first."""
        granted = await asking.hold(len(self._legs), other, None)
        if granted is None:
            if other is not slow:
                self._waiting.appendleft(other)  # it may fit once the first has ended
            return await race.first()
        if race.is_decided:
            leg = self._held(other, granted)
            self._breakers.left(other.model, leg.entry)
            self._end(leg, leg.running.unsent(time.perf_counter()))
            return await race.first()
        self._has_hedged = True
        number = len(self._legs)
        race.enter(self._try(other, granted, asking, is_alone=False))
        begun: _Begun | None = None
        try:
            begun = await race.first()
            return begun
        finally:
            result = "won" if begun is not None and begun.leg is self._legs[number] else "lost"
            self._meter.add(measurements.HEDGES, 1, slow.model.name, other.model.name, result)

    async def _try(
        self, candidate: Candidate, granted_nanos: int, asking: "_Asking", *, is_alone: bool = True
    ) -> _Begun | None:
        """The answer of one candidate; None when it failed so that another may be asked, else raises."""
        leg = self._held(candidate, granted_nanos)
        try:
            return _Begun(leg, await self._attempt(leg, asking.make_call, is_alone=is_alone))
        except ProviderFailed as error:
            self._failed(leg, error)
            if not error.falls_back and error.fallback_cause not in asking.terms.fallback_on:
                raise
            if may_repeat(candidate.model, error):
                self._repeatable.append(Repeatable(candidate, pause_s(len(self._legs) - 1, error)))
            self._errors.append(error)
        except InvalidRequest as error:
            self._refused(leg, error)
            self._errors.append(error)
        return None

    def _held(self, candidate: Candidate, granted_nanos: int) -> _Leg:
        """The next attempt: each that is held has the number by which the store knows it, sent or not."""
        begun_at, estimate = time.perf_counter(), self._estimate_tokens
        running = Running(candidate=candidate, granted_nanos=granted_nanos, begun_at=begun_at, estimate_tokens=estimate)
        self._legs.append(leg := _Leg(running, self._breakers.enter(candidate.model)))
        return leg

    async def _attempt(self, leg: _Leg, make_call: MakeCall, *, is_alone: bool) -> Answer | AsyncIterator[Chunk]:
        candidate = leg.running.candidate
        provider = self._dispatcher.providers[candidate.model.provider]
        call = make_call(candidate, leg.running.granted_nanos)
        if leg.entry == "closed":
            raise SetAside(f"{candidate.model.name} is {self._breakers.reason(candidate.model)}")
        foreign = self._dispatcher.foreign(candidate.model.provider)
        if not call.request.stream:
            with foreign:
                leg.whole = await whole(provider, call, candidate.model.mode)
            return leg.whole
        chunks = streamed(provider, call, candidate.model.mode, foreign)
        if is_alone:
            return await self._first_chunk(leg, chunks)
        leg.stream = Piped(chunks)
        return await self._first_chunk(leg, leg.stream)

    async def _first_chunk(self, leg: _Leg, chunks: AsyncGenerator[Chunk, None] | Piped) -> AsyncIterator[Chunk]:
        self._streams = self._streams or AsyncExitStack()
        await self._streams.enter_async_context(aclosing(chunks))
        try:
            first = await anext(chunks)
        except StopAsyncIteration:
            raise UpstreamBadResponse("the upstream ended its stream before a first chunk") from None
        except asyncio.CancelledError:
            await chunks.aclose()
            raise
        leg.dropped = first.dropped
        return Resumed(first, chunks)

    async def _serve(self, leg: _Leg) -> None:
        """This attempt answers. What was sent beside it is given up: it may be billed, unless it has said what it
        costs."""
        self._answering, self.dropped = leg, leg.dropped
        for number, other in enumerate(self._legs):
            if other.ended is not None or other is leg:
                continue
            if other.stream is not None:
                await other.stream.aclose()
            model = other.running.candidate.model
            if number < self._legs.index(leg) and other.whole is None:
                # It never comes to its own deadline, so that without this nobody would ever notice that it is gone.
                self._breakers.failed(model, other.entry, UpstreamTimeout("another attempt answered first"))
            else:
                self._breakers.left(model, other.entry)
            self._end(other, other.running.outrun(other.whole, time.perf_counter()))

    def _failed(self, leg: _Leg, error: ProviderFailed) -> None:
        if leg.entry != "closed":
            self._breakers.failed(leg.running.candidate.model, leg.entry, error)
        self.usage = error.usage or self.usage
        self._end(leg, leg.running.failed(error, time.perf_counter()))

    def _refused(self, leg: _Leg, error: InvalidRequest) -> None:
        self._breakers.left(leg.running.candidate.model, leg.entry)
        self._end(leg, leg.running.refused(error, time.perf_counter()))

    def finish(self, usage: Usage | None, written_bytes: int, error: str = "") -> None:
        """The answer that had begun is over; `usage` is the provider's, if it said."""
        leg = self._answering
        if leg is None or leg.ended is not None:
            return
        running, model = leg.running, leg.running.candidate.model
        self.usage = running.counted(written_bytes) if usage is None else usage
        if error:
            self._breakers.left(model, leg.entry)
        else:
            self._breakers.succeeded(model, leg.entry)
        attempt = running.answered(usage, written_bytes, time.perf_counter(), error)
        if attempt.cost_nanos > running.granted_nanos and running.is_hard:
            self._meter.add(measurements.BUDGET_OVERRUN, 1)
        self._end(leg, attempt)

    def abandon(self) -> None:
        """Nobody waits for what is under way any more."""
        for leg in self._legs:
            if leg.ended is None:
                self._breakers.left(leg.running.candidate.model, leg.entry)
                self._end(leg, leg.running.abandoned(time.perf_counter()))

    def _end(self, leg: _Leg, attempt: Attempt) -> None:
        leg.ended = attempt
        self._meter.add(measurements.ATTEMPTS, 1, attempt.model, attempt.provider, attempt.outcome)


def _most_telling(errors: Sequence[ProviderFailed | InvalidRequest]) -> ProviderFailed | InvalidRequest:
    """The last failure; of upstreams that all ask for a pause the one that asks for the shortest (F1)."""
    failures = [error for error in errors if isinstance(error, ProviderFailed) and not isinstance(error, SetAside)]
    limited = [error for error in failures if isinstance(error, UpstreamRateLimited)]
    if limited and len(limited) == len(failures):
        return min(limited, key=lambda error: error.retry_after_s or 0.0)
    return (failures or errors)[-1]
