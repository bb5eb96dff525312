"""One request, from who asks to what it cost. Read this file first: the steps stand in the order they happen.

guard       who looks at requests sees it: may change it, refuse it, or have the answer     (guards)
decide      measure the prompt once, find the rule, judge the candidates                    (signals, routing)
hold        one round trip to the store: every limit checked and taken, the record opened   (ledger)
dispatch    the first candidate that answers, in a cascade the first that is sure enough;
            each further attempt is held first                                              (legs, dispatch)
answer      chunks or the whole answer go through the guards to the caller, their usage is read before that
settle      the hold becomes the real cost and the record is completed, however it ended    (ledger, records)
report      the record is measured, logged, and copied to the sinks                         (reports, sinks)

Between steps requests wait for each other, so that those that came together go on together                (turns)
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from muxer import measurements
from muxer.answers import each, pieces
from muxer.attempts import bytes_to_count
from muxer.catalog import Model
from muxer.conversations import Conversations
from muxer.counting import Count
from muxer.dispatch import Dispatch, Dispatcher
from muxer.errors import MuxerError
from muxer.explanation import Explanation, explain, for_caller
from muxer.gates import TOO_DEAR, Excluded
from muxer.guards import Guards, Watch
from muxer.inbound import Inbound
from muxer.inflight import InFlight, ended_by
from muxer.interfaces import Log, Meter, Signal
from muxer.learner import Learner
from muxer.ledger import Ledger
from muxer.legs import Begun, Legs
from muxer.money import NANOS_PER_USD
from muxer.plans import Candidate, Plan, Question, Rules
from muxer.records import Ending, attempt_fields, complete, conversation_of, new_id, opening
from muxer.repeats import KeyedRequest, Repeats
from muxer.reports import report
from muxer.routing import plan
from muxer.sending import Sent, sent_to
from muxer.signals import measure
from muxer.sinks import Outlets
from muxer.standings import limit_headers
from muxer.stores import Granted
from muxer.turns import turn
from muxer.types import Answer, Attempt, Caller, Chunk, Record
from muxer.wire import openai_chat, openai_text


class Parts(Struct, frozen=True, kw_only=True):
    """What serves requests: the rules and components of one configuration, and what outlives it."""

    rules: Rules
    signals: Mapping[str, Signal]
    guards: Guards
    dispatcher: Dispatcher
    ledger: Ledger
    repeats: Repeats
    sinks: Outlets
    meter: Meter
    log: Log
    clock: Callable[[], float]
    in_flight: InFlight
    conversations: Conversations
    learner: Learner


class Decision(Struct, frozen=True, kw_only=True):
    """What was asked and what was decided, before anything is held or sent."""

    inbound: Inbound
    question: Question
    plan: Plan


async def decide(parts: Parts, caller: Caller, inbound: Inbound, id: str, before: Decision | None = None) -> Decision:
    """The one way to a decision; nothing is held, nobody called. Raises the error that tells why nobody can serve.

    `before` is the decision whose route stands, when a guard of that route has changed the request.
    """
    begun = time.perf_counter()
    asked = question(parts, caller, inbound, id, before)
    spent = time.perf_counter() - begun
    await turn()
    begun = time.perf_counter()
    planned = plan(parts.rules, asked)
    parts.meter.observe(measurements.DECISION_SECONDS, spent + time.perf_counter() - begun)
    return Decision(inbound=inbound, question=asked, plan=planned)


def question(parts: Parts, caller: Caller, inbound: Inbound, id: str, before: Decision | None = None) -> Question:
    """What there is to decide: the request measured, who asks, and the state of the models."""
    if before is None:
        conversation, estimates = conversation_of(inbound, caller), parts.learner.estimates
        affinity = parts.conversations.affinity(caller.key, caller.user, conversation)
    else:
        earlier = before.question
        conversation, estimates, affinity = earlier.conversation, earlier.estimates, earlier.affinity
    if inbound.tags and (picked := tuple(tag for tag in caller.tags if tag in inbound.tags)):
        caller = replace(caller, tags=picked)
    return Question(
        id=id,
        now=parts.clock(),
        caller=caller,
        requested=inbound.request.model or "auto",
        measured=measure(inbound.request, inbound.raw, parts.signals, is_priced=inbound.is_priced),
        is_cooling=parts.dispatcher.breakers.reason,
        conversation=conversation,
        affinity=affinity,
        estimates=estimates,
        decided=before.plan if before else None,
    )


async def explained(parts: Parts, caller: Caller, inbound: Inbound, decided: Question | None = None) -> Explanation:
    """Why a request is, or would be, decided as it is: by the question it was decided on, or a new one."""
    asked = decided or question(parts, caller, inbound, new_id(parts.clock))
    return await explain(parts.rules, asked, inbound.request, parts.signals, parts.ledger.stand)


@asynccontextmanager
async def serve(parts: Parts, caller: Caller, inbound: Inbound) -> AsyncIterator["Exchange"]:
    """Serves one request. Inside the context an answer has begun; leaving it settles, however it is left.

    Raises MuxerError before the context is entered when no answer begins.
    """
    begun, id = time.perf_counter(), new_id(parts.clock)
    async with parts.in_flight.serving(id):
        watch = Watch(id, caller, parts.meter)
        decision, ready = await _decided(parts, caller, inbound, watch, id)
        await turn()
        async with parts.dispatcher.begin(decision.question.measured.estimate_tokens) as dispatch:
            exchange = Exchange(parts, decision, dispatch, watch, begun)
            try:
                await exchange.begin(ready)
                yield exchange
            except BaseException as error:
                exchange.failed(error)
                raise
            finally:
                await exchange.settle()


async def _decided(
    parts: Parts, caller: Caller, inbound: Inbound, watch: Watch, id: str
) -> tuple[Decision, Answer | None]:
    """The decision on the request as the guards leave it: the file's look before it, those of the route after it.
    With it the answer, where a guard has one."""
    try:
        inbound, ready = await watch.look(parts.guards.everywhere, inbound)
        await turn()
        decision = await decide(parts, caller, inbound, id)
        if ready is None and (of_route := parts.guards.by_route.get(decision.plan.route)):
            seen, ready = await watch.look(of_route, inbound, decision.plan.route)
            if seen is not inbound:
                decision = await decide(parts, caller, seen, id, decision)
    except MuxerError as error:
        parts.meter.add(measurements.REQUESTS, 1, "none", "none", "none", str(error.status))
        raise
    return decision, ready


class Exchange:
    """One request under way: what has been answered so far, and what it has cost."""

    def __init__(self, parts: Parts, decision: Decision, dispatch: Dispatch, watch: Watch, begun: float) -> None:
        self._parts = parts
        self._decision = decision
        self._dispatch = dispatch
        self._watch = watch
        self._begun = begun
        self._sent_at = begun
        self._first_byte_ms = 0.0
        self._error: MuxerError | None = None
        self._count = Count(parts.meter)
        self._chunks: AsyncIterator[Chunk] | None = None
        self._ready: Answer | None = None
        self._given: Begun | None = None
        self.record = opening(decision.inbound, decision.question, decision.plan, parts.rules, parts.signals)
        parts.log("debug", "decision", id=self.record.id, reason=self.record.reason, signals=self.record.signals)
        self.answer: Answer | None = None
        self.dropped: tuple[str, ...] = ()
        self.limit_headers: dict[str, str] = {}
        self.client_gone = False
        self._debug: dict[str, Any] | None = None
        self._keyed: KeyedRequest | None = None

    async def begin(self, ready: Answer | None) -> None:
        """Holds, and finds the first candidate that answers, or gives the answer a guard has ready."""
        plan = self._decision.plan
        offered = plan.offered
        if self._decision.inbound.wants_debug:
            self._debug = for_caller(await self._explained())
        if sent := self._decision.inbound.idempotency:
            caller = self._decision.question.caller
            self._keyed = await self._parts.repeats.begin(sent, caller, self.record.id)
        choices = [candidate.choice for candidate in offered]
        granted = await self._parts.ledger.hold(self.record, choices if ready is None else [offered[0].unasked])
        await turn()
        self._pass_over(offered[: granted.choice])
        self.limit_headers = limit_headers(granted)
        self._sent_at = time.perf_counter()
        if ready is not None:
            self._ready = ready
            await self._answered(ready)
            return
        self._given = begun = await self._first_answer(plan, granted)
        if isinstance(begun.answer, Answer):
            await self._answered(begun.answer)
        else:
            self._first_byte_ms = self._ms()
            self._chunks, self.dropped = begun.answer, begun.dropped
            self._count = Count(self._parts.meter, begun.sent.most_bytes)

    async def _answered(self, answer: Answer) -> None:
        """A whole answer is there: to be given as one, or in pieces to who asked for a stream."""
        self._first_byte_ms = self._ms()
        if self._decision.inbound.request.stream:
            self._chunks = each(pieces(answer))
            return
        self._dispatch.finish(answer.usage, bytes_to_count(answer))
        if self._decision.inbound.raw_api:
            answer = replace(answer, raw=b"")
        self.answer = await self._watch.whole(answer, self.served.name)
        self.dropped = answer.dropped

    async def _first_answer(self, plan: Plan, granted: Granted) -> Begun:
        """The answer to give, and into the record how it was chosen."""
        rules, question, inbound = self._parts.rules, self._decision.question, self._decision.inbound

        def compose(candidate: Candidate, granted_nanos: int) -> Sent:
            return sent_to(candidate, granted_nanos, rules, question, inbound)

        legs = Legs(self._dispatch, plan, question.measured.needs, self._extend, compose, self._parts.meter)
        try:
            return await legs.begin(plan.candidates[granted.choice :], granted.granted_nanos)
        finally:
            if legs.said:
                self.record = replace(self.record, reason=self.record.reason + legs.said, confidence=legs.confidence)

    async def _explained(self) -> Explanation:
        asked, inbound = self._decision.question, self._decision.inbound
        return await explained(self._parts, asked.caller, inbound, asked)

    def _pass_over(self, too_dear: Sequence[Candidate]) -> None:
        """Records the candidates that did not fit the budget, where the route lets the next one serve."""
        if too_dear:
            passed = tuple(Excluded(one.model.name, "budget", TOO_DEAR) for one in too_dear)
            taken = self._decision.plan.offered[len(too_dear)]
            self.record = replace(
                self.record,
                excluded=self.record.excluded + passed,
                expected_nanos=taken.expected_nanos,
                expected_high_nanos=taken.high_nanos,
            )

    async def _extend(self, leg: int, candidate: Candidate, ended: Attempt | None) -> int | None:
        granted = await self._parts.ledger.extend(self.record.id, leg, candidate.choice, ended)
        return None if granted is None else granted.granted_nanos

    @asynccontextmanager
    async def chunks(self) -> AsyncIterator[AsyncIterator[Chunk]]:
        """The chunks of a streamed answer. Left when they have been read, the request is settled, so what the caller
        writes after it is the last byte of a finished record (I4). Reading raises ProviderFailed when the upstream
        breaks off."""
        assert self._chunks is not None, "only a streamed request has chunks"
        counted = self._counted(self._chunks)
        async with aclosing(counted), aclosing(self._watch.over(counted, self.served.name)) as seen:
            yield seen
            async for _ in counted:
                pass  # a guard may stop early; the usage comes last
        await self.settle()

    async def _counted(self, chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk, None]:
        keeps_raw, count = self._keeps_raw, self._count
        async for chunk in chunks:
            count.take(chunk)
            yield chunk if keeps_raw else replace(chunk, raw=b"")

    @property
    def _keeps_raw(self) -> bool:
        """Whether the upstream's own events are passed on. Those of OpenAI's chats and completions stand each for
        itself; in other formats they are one sequence, in which a guard could not change some."""
        inbound = self._decision.inbound
        stand_alone = inbound.api in (openai_chat.API, openai_text.API)
        return stand_alone or not (inbound.raw_api or self._watch.sees_answers)

    def failed(self, error: BaseException) -> None:
        """Remembers what ended the request early, as an error of ours."""
        self._error = ended_by(error)
        self._error.request_id = self.record.id

    async def settle(self) -> None:
        """Replaces the hold by the cost and completes the record; a second call does nothing (I6)."""
        if self.record.state != "open":
            return
        settling = time.perf_counter()
        self._end_attempt()
        self.record = complete(self.record, self._ending())
        try:
            await self._parts.ledger.settle(self.record)
        finally:  # whoever stops waiting for the store, the record is complete
            own_s = self._sent_at - self._begun + time.perf_counter() - settling
            report(self.record, own_s, self._watch.answered_by, self._parts.meter, self._parts.log)
            self._parts.sinks.put(self.record)
            if self._decision.plan.is_sticky and self.record.state == "done" and self.record.attempts:
                self._parts.conversations.remember(self.record)
        if self._keyed is not None:
            await self._parts.repeats.end(self._keyed, self.record)

    @property
    def served(self) -> Model:
        """The model that answers, or did."""
        models = self._parts.rules.catalog.models
        if self._ready is not None and self._ready.model in models:
            return models[self._ready.model]
        if self._given is not None and self._given.model is not None:
            return self._given.model
        serving = self._dispatch.serving
        return models[self.record.model] if serving is None else serving.candidate.model

    @property
    def so_far(self) -> Record:
        """The record; while it is open, with who serves now and the attempts before."""
        if self.record.state != "open":
            return self.record
        served = self.served
        return replace(self.record, model=served.name, provider=served.provider, attempts=self._dispatch.ended)

    @property
    def output_cap(self) -> int | None:
        """The output cap of the answer, where its grant paid for less than the one we would have inserted (S4)."""
        return self._given.sent.lowered_cap if self._given else None

    @property
    def guard_headers(self) -> dict[str, str]:
        """What the guards want the caller to know."""
        return self._watch.headers

    def metadata(self) -> dict[str, object]:
        """What we add to an answer as `router_metadata`; `estimated_cost` is dollars by the provider's usage."""
        attempts = self._dispatch.attempts(self._count.usage, self._count.written_bytes)
        return {
            "request_id": self.record.id,
            "route": self.record.route,
            "selected_provider": self.served.provider,
            "selected_model": self.served.name,
            "routing_reason": self.record.reason,
            "estimated_cost": sum(attempt.cost_nanos for attempt in attempts) / NANOS_PER_USD,
            "response_time_ms": round(self._ms(), 3),
            "attempts": [attempt_fields(attempt) for attempt in attempts],
            **({} if self._debug is None else {"debug": self._debug}),
        }

    def _ms(self) -> float:
        return (time.perf_counter() - self._begun) * 1000

    def _end_attempt(self) -> None:
        """Closes the account of an attempt that is still running."""
        if self._chunks is None:
            self._dispatch.abandon()
            return
        count, error = self._count, self._error
        usage = count.usage if error is None else count.final_usage(self._decision.question.measured.needs.n)
        self._dispatch.finish(usage, count.written_bytes, error.code if error else "")

    def _ending(self) -> Ending:
        served, error = self.served, self._error
        return Ending(
            state="failed" if error else "done",
            status=error.status if error else 200,
            error=error.code if error else "",
            attempts=self._dispatch.ended,
            model=served.name,
            provider=served.provider,
            usage=self._given.usage if self._given and self._given.model else self._dispatch.usage,
            ms=round(self._ms(), 3),
            first_byte_ms=round(self._first_byte_ms, 3),
            client_gone=self.client_gone,
            notes=self._watch.notes,
            saved_nanos=self._saved_nanos(served),
        )

    def _saved_nanos(self, model: Model) -> int:
        """What an answer that a guard had ready would have cost."""
        usage = self._ready.usage if self._ready else None
        return model.price.cost_nanos(usage) if usage and model.price else 0
