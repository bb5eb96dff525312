"""Attempt after attempt until there is an answer to give: the first that begins; in a cascade, one that is sure enough.

An answer that a cascade judges is read whole before a byte of it is given. Once there is one, nothing that fails later
takes it away: it is paid for, and given when the next model cannot be held, fails, or takes too long.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import nullcontext

from msgspec import Struct
from msgspec.structs import replace

from muxer import measurements
from muxer.answers import collect, each
from muxer.attempts import bytes_to_count
from muxer.catalog import Model
from muxer.checking import check_call, check_of
from muxer.confidence import confidence, said
from muxer.counting import Count
from muxer.deadlines import Deadline
from muxer.dispatch import Dispatch, Hold
from muxer.errors import InvalidRequest
from muxer.failures import ProviderFailed, UpstreamBadResponse, UpstreamRefused, UpstreamTimeout
from muxer.interfaces import Meter
from muxer.plans import Candidate, Cascade, Plan
from muxer.sending import Sent
from muxer.types import Answer, Call, Chunk, Needs, Usage
from muxer.wire.openai_logprobs import without_logprobs

MOST_KEPT_BYTES = 32 * 2**20
"""Of an answer that is judged, as of one that is not streamed (B55)."""
Compose = Callable[[Candidate, int], Sent]
"""What a candidate is sent under a grant of that many nano-dollars."""


class Begun(Struct, frozen=True, kw_only=True):
    """An answer to give. `usage` and `model` are of one whose attempt is over; while it runs, the dispatch knows."""

    answer: Answer | AsyncIterator[Chunk]
    sent: Sent
    dropped: tuple[str, ...] = ()
    model: Model | None = None
    usage: Usage = Usage()


class _Kept(Struct, frozen=True, kw_only=True):
    """A whole answer whose attempt, the one of that number, is over. `chunks` are those of a stream."""

    candidate: Candidate
    number: int
    sent: Sent
    answer: Answer
    usage: Usage
    chunks: tuple[Chunk, ...] = ()

    @property
    def text(self) -> str:
        """What it says."""
        return (self.answer.choices[0].text or "") if self.answer.choices else ""


class Legs:
    """Asks for one request until there is an answer to give. `said` tells of a cascade what came of it, `confidence`
    how sure its first answer was."""

    def __init__(
        self, dispatch: Dispatch, plan: Plan, needs: Needs, hold: Hold, compose: Compose, meter: Meter
    ) -> None:
        self._dispatch = dispatch
        self._plan = plan
        self._needs = needs
        self._hold = hold
        self._compose = compose
        self._meter = meter
        self._judged: frozenset[str] = frozenset()
        self._refuses_logprobs = ""
        self._sent: dict[tuple[str, int], Sent] = {}
        self._kept: _Kept | None = None
        self._broken: ProviderFailed | None = None
        self.said = ""
        self.confidence: float | None = None

    async def begin(self, candidates: Sequence[Candidate], granted_nanos: int) -> Begun:
        """The answer to give; `granted_nanos` is held for the first candidate. Raises, when nobody answers, the failure
        that tells most."""
        timeout_s, cascade = self._plan.timeout_s, self._plan.cascade
        try:
            with nullcontext() if timeout_s is None else Deadline(timeout_s):
                if cascade is None:
                    return await self._first(candidates, granted_nanos)
                return await self._climb(cascade, candidates, granted_nanos)
        except TimeoutError as error:
            if self._kept is None:
                raise UpstreamTimeout(f"no answer began within the route's timeout_s of {timeout_s}") from error
            self._dispatch.abandon()
            return self._give(", and who is asked next took too long")
        except (ProviderFailed, InvalidRequest) as error:
            if self._kept is None:
                raise
            return self._give(f", and who is asked next failed: {error.code}")

    async def _first(self, candidates: Sequence[Candidate], granted_nanos: int) -> Begun:
        """The first answer that begins."""
        answer = await self._dispatch.first_answer(
            candidates, granted_nanos, self._hold, self._make_call, self._plan.terms
        )
        serving = self._dispatch.serving
        assert serving is not None, "an answer has begun, so somebody was asked"
        sent = self._sent[serving.candidate.model.name, serving.granted_nanos]
        return Begun(answer=answer, sent=sent, dropped=self._dispatch.dropped)

    def _make_call(self, candidate: Candidate, granted_nanos: int) -> Call:
        sent = self._compose(candidate, granted_nanos)
        if candidate.model.name in self._judged and self._may_ask_for_logprobs(candidate.model, sent.call):
            call = replace(sent.call, request=replace(sent.call.request, logprobs=True))
            sent = replace(sent, call=call)
        self._sent[candidate.model.name, granted_nanos] = sent
        return sent.call

    def _may_ask_for_logprobs(self, model: Model, call: Call) -> bool:
        cascade = self._plan.cascade
        if cascade is None or cascade.by == "self_check":
            return False
        if model.name == self._refuses_logprobs or model.name in self._dispatch.refuse_logprobs:
            return False
        if model.can is not None:
            return "logprobs" in model.can
        # Of a model nobody knows: those that reason take none, and with strict_params what we add might be refused.
        return model.takes_sampling and not call.strict

    async def _climb(self, cascade: Cascade, candidates: Sequence[Candidate], granted_nanos: int) -> Begun:
        """The first answer that is sure enough, or the last there is."""
        asked, granted = candidates, granted_nanos
        while True:
            self._judged = frozenset(one.model.name for one in asked if cascade.after(one.model.name, asked))
            begun = await self._begun(asked, granted)
            serving = self._dispatch.serving
            assert serving is not None, "an answer has begun, so somebody was asked"
            name = serving.candidate.model.name
            following = cascade.after(name, asked)
            if not following:
                return begun
            if await self._is_sure_enough(cascade, begun, serving.candidate):
                return self._give("")
            next_nanos = await self._extended(following[0])
            if next_nanos is None:
                return self._give(f", and {following[0].model.name} does not fit the limits")
            self._meter.add(measurements.FALLBACKS, 1, name, following[0].model.name, "unsure")
            asked, granted = following, next_nanos

    async def _begun(self, candidates: Sequence[Candidate], granted_nanos: int) -> Begun:
        """The first answer that begins; a model that refuses to tell log-probabilities is asked again without."""
        try:
            return await self._first(candidates, granted_nanos)
        except UpstreamRefused as error:
            refused = next(one for one in reversed(self._dispatch.ended) if one.error == error.code).model
            again = candidates[[one.model.name for one in candidates].index(refused) :]
            if not self._asked_for_more(refused) or error.fallback_cause is not None:
                raise
            granted = await self._extended(again[0])
            if granted is None:
                raise
            self._refuses_logprobs = refused
            begun = await self._first(again, granted)
            self._dispatch.refuse_logprobs.add(refused)  # it was these, not the request
            return begun

    def _asked_for_more(self, name: str) -> bool:
        """Whether a model was asked for log-probabilities that the caller did not ask for."""
        asked = any(sent.call.request.logprobs for (model, _), sent in self._sent.items() if model == name)
        return asked and not self._needs.logprobs and name != self._refuses_logprobs

    async def _extended(self, candidate: Candidate) -> int | None:
        """What is held for one more attempt; None when that does not fit."""
        ended = self._dispatch.ended
        return await self._hold(self._dispatch.count, candidate, ended[-1] if ended else None)

    async def _is_sure_enough(self, cascade: Cascade, begun: Begun, candidate: Candidate) -> bool:
        """Reads an answer, keeps it, and judges it: whether it is to be given. One that breaks off is not."""
        name = candidate.model.name
        try:
            self._kept = kept = await self._read(begun, candidate)
        except ProviderFailed as error:
            self._broken = error
            self.said += f"; {name} broke off"
            return False
        found = await self._judgement(cascade, kept)
        self._dispatch.note(kept.number, confidence=found)
        if self.confidence is None and not self.said:
            self.confidence = found
        is_sure = found is not None and found >= cascade.threshold
        shown = "how sure is unknown" if found is None else f"{'sure' if is_sure else 'unsure'}, {found:.2f}"
        self.said += f"; {name}: {shown}"
        return is_sure

    async def _read(self, begun: Begun, candidate: Candidate) -> _Kept:
        """The whole of an answer that has begun; its attempt is over then. Raises ProviderFailed when it breaks off."""
        chunks: tuple[Chunk, ...] = ()
        if isinstance(begun.answer, Answer):
            answer = begun.answer
            self._dispatch.finish(answer.usage, bytes_to_count(answer))
        else:
            chunks = await self._drained(begun.answer, begun.sent.most_bytes)
            answer = await collect(each(chunks))
        return _Kept(
            candidate=candidate,
            number=self._dispatch.number,
            sent=begun.sent,
            answer=answer,
            usage=self._dispatch.usage,
            chunks=chunks,
        )

    async def _drained(self, stream: AsyncIterator[Chunk], most_bytes: int | None) -> tuple[Chunk, ...]:
        count, chunks, kept_bytes = Count(self._meter, most_bytes), [], 0
        try:
            async for chunk in stream:
                count.take(chunk)
                chunks.append(chunk)
                kept_bytes += len(chunk.raw)
                if max(kept_bytes, count.written_bytes) > MOST_KEPT_BYTES:
                    raise UpstreamBadResponse("an answer that is to be judged goes on past what is kept of one")
        except ProviderFailed as error:
            self._dispatch.finish(count.final_usage(self._needs.n), count.written_bytes, error.code)
            raise
        self._dispatch.finish(count.usage, count.written_bytes)
        return tuple(chunks)

    async def _judgement(self, cascade: Cascade, kept: _Kept) -> float | None:
        """How sure the answer is: by its tokens, else by the model's own word; None where neither says."""
        if not kept.answer.choices:
            return 0.0
        found = confidence(kept.answer.choices[0], cascade.by, is_json=self._needs.json)
        return await self._self_checked(kept) if found is None else found

    async def _self_checked(self, kept: _Kept) -> float | None:
        """What the model says of its own answer; None where that does not fit the budget, fails, or is no number."""
        first, check = self._dispatch.count, check_of(kept.candidate, kept.text)
        granted = await self._extended(check)
        if granted is None:
            return None
        call = check_call(kept.sent.call, check, kept.text)
        try:
            answer = await self._dispatch.first_answer([check], granted, self._hold, lambda *_: call)
            assert isinstance(answer, Answer), "the check is asked for whole"
            self._dispatch.finish(answer.usage, bytes_to_count(answer))
            return said(answer.choices[0].text or "") if answer.choices else None
        except (ProviderFailed, InvalidRequest):
            return None
        finally:
            for number in range(first, self._dispatch.count):
                self._dispatch.note(number, is_check=True)

    def _give(self, why: str) -> Begun:
        """The answer that is kept, and `why` nobody else is asked. Raises, where none is, what broke off the one there
        was."""
        kept = self._kept
        if kept is None:
            assert self._broken is not None, "an answer was begun, and is neither kept nor broken"
            raise self._broken
        self.said += why
        chunks, answer, dropped = kept.chunks, kept.answer, kept.answer.dropped
        if kept.sent.call.request.logprobs and not self._needs.logprobs:
            chunks, answer = tuple(map(_without_logprobs, chunks)), _whole_without_logprobs(answer)
            dropped = tuple(name for name in dropped if name != "logprobs")
        return Begun(
            answer=each(chunks) if chunks else replace(answer, dropped=dropped),
            sent=kept.sent,
            dropped=dropped,
            model=kept.candidate.model,
            usage=kept.usage,
        )


def _without_logprobs(chunk: Chunk) -> Chunk:
    return replace(chunk, logprobs=(), raw=without_logprobs(chunk.raw))


def _whole_without_logprobs(answer: Answer) -> Answer:
    choices = tuple(replace(choice, logprobs=()) for choice in answer.choices)
    return replace(answer, choices=choices, raw=without_logprobs(answer.raw))
