"""What one attempt cost, whichever way it ended (RELIABILITY S8). Pure."""

from msgspec import Struct

from muxer.errors import InvalidRequest
from muxer.failures import ProviderFailed
from muxer.plans import Candidate
from muxer.signals import BYTES_PER_TOKEN
from muxer.types import OUTRUN, Answer, Attempt, Choice, Chunk, Outcome, ToolCallDelta, Usage

MAX_BYTES_PER_TOKEN = 16  # on average over an answer: English has 4 to 5, Hindi 9, a line of dashes more


def written_bytes(said: Chunk | Choice) -> int:
    """The size of what a model wrote: text, reasoning and arguments of tools."""
    size = _size(said.text or "") + _size(said.reasoning)
    for call in said.tool_calls:
        size += _size(call.arguments if isinstance(call, ToolCallDelta) else call.function.arguments)
    return size


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def bytes_to_count(answer: Answer) -> int:
    """The size of what was written in a whole answer, where nothing else tells its cost; 0 where its usage does."""
    return 0 if answer.usage is not None else sum(map(written_bytes, answer.choices))


def most_bytes(tokens: int, asked_bytes: int) -> int:
    """More than so many tokens write, also where they repeat what was asked (`echo`): past it, the upstream ignores
    its cap (B59)."""
    return tokens * MAX_BYTES_PER_TOKEN + asked_bytes


class Running(Struct, frozen=True, kw_only=True):
    """An attempt under way: who was asked, how much is held for it, since when (seconds of a monotonic clock)."""

    candidate: Candidate
    granted_nanos: int
    begun_at: float
    estimate_tokens: int

    @property
    def is_hard(self) -> bool:
        """Whether a budget that must hold pays for it: what is unknown then stays counted in full."""
        return any(not claim.soft for claim in self.candidate.claims)

    def failed(self, error: ProviderFailed, now: float) -> Attempt:
        """It ended before an answer began; the error says whether it may be billed."""
        if error.usage is not None:
            cost = price.cost_nanos(error.usage) if (price := self.candidate.model.price) else 0
            return self._attempt("exact", now, cost=cost, status=error.upstream_status, error=error.code)
        presumed = 0
        if error.outcome == "presumed":
            presumed = self.granted_nanos if self.is_hard else self.candidate.expected_nanos
        return self._attempt(error.outcome, now, presumed=presumed, status=error.upstream_status, error=error.code)

    def refused(self, error: InvalidRequest, now: float) -> Attempt:
        """The provider cannot express the request, so nothing was sent."""
        return self._attempt("none", now, error=error.code)

    def abandoned(self, now: float) -> Attempt:
        """We stopped waiting for it: it may be billed."""
        presumed = self.granted_nanos if self.is_hard else self.candidate.expected_nanos
        return self._attempt("presumed", now, presumed=presumed, error="abandoned")

    def outrun(self, answer: Answer | None, now: float) -> Attempt:
        """Another attempt answered first. It may be billed, unless it has just answered too and said what it costs."""
        if answer is not None:
            return self.answered(answer.usage, bytes_to_count(answer), now, OUTRUN)
        presumed = self.granted_nanos if self.is_hard else self.candidate.expected_nanos
        return self._attempt("presumed", now, presumed=presumed, error=OUTRUN)

    def unsent(self, now: float) -> Attempt:
        """Another attempt answered before this one was sent."""
        return self._attempt("none", now, error=OUTRUN)

    def answered(self, usage: Usage | None, written_bytes: int, now: float, error: str = "") -> Attempt:
        """An answer began. Without the provider's usage its cost is unknown: presumed in full under a hard budget,
        counted from what was written otherwise."""
        price = self.candidate.model.price
        if usage is not None:
            cost = price.cost_nanos(usage) if price else 0
            return self._attempt("exact", now, cost=cost, status=200, error=error)
        if self.is_hard:
            return self._attempt("presumed", now, presumed=self.granted_nanos, status=200, error=error)
        cost = price.cost_nanos(self.counted(written_bytes)) if price else 0
        return self._attempt("counted", now, cost=cost, status=200, error=error)

    def counted(self, written_bytes: int) -> Usage:
        """The usage as we count it where the provider does not say; the record has it in any case (S8)."""
        return Usage(input_tokens=self.estimate_tokens, output_tokens=-(-written_bytes // BYTES_PER_TOKEN))

    def _attempt(
        self, outcome: Outcome, now: float, *, cost: int = 0, presumed: int = 0, status: int = 0, error: str = ""
    ) -> Attempt:
        model = self.candidate.model
        return Attempt(
            model=model.name,
            provider=model.provider,
            upstream=model.upstream,
            outcome=outcome,
            status=status,
            error=error,
            cost_nanos=cost,
            presumed_nanos=presumed,
            ms=round((now - self.begun_at) * 1000, 3),
        )
