"""What a model likely does with a request of a route, learned from finished ones: frozen tables to decide by.

Input by what was billed for what was estimated, output by the lengths of answers, and what is read from caches, written
to them and lost on tries before the one that answered. Where little is known, an estimate leans on that of the model on
all routes, and where nothing is, on what `docs/routing.md` says of models in general.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from muxer.scores import Scores, ScoreSamples
from muxer.types import Attempt, Record

# What a model likely writes, until its own answers have taught better.
TYPICAL_OUTPUT_TOKENS = 400
_PARTS = 20
_NINE_IN_TEN = _PARTS * 9 // 10
_LEANS = 20
"""An estimate of so many requests leans half on the more general one."""


class Estimate(Struct, frozen=True):
    """The likely tokens of a request: `lengths` are the mean answers of each twentieth, the shortest first,
    `input_ratio` is billed input for estimated, and the shares are parts of the input, `retry_share` of the cost."""

    requests: int = 0
    lengths: tuple[float, ...] = (float(TYPICAL_OUTPUT_TOKENS),) * _PARTS
    mean: float = float(TYPICAL_OUTPUT_TOKENS)
    input_ratio: float = 1.0
    cached_share: float = 0.0
    written_share: float = 0.0
    retry_share: float = 0.0

    def output_tokens(self, cap: int) -> float:
        """What it writes on average when it may write at most `cap`."""
        if cap >= self.lengths[-1]:
            return self.mean
        return sum(min(length, cap) for length in self.lengths) / _PARTS

    def long_output_tokens(self, cap: int) -> float:
        """What nine answers in ten are not longer than."""
        return min(cap, (self.lengths[_NINE_IN_TEN - 1] + self.lengths[_NINE_IN_TEN]) / 2)


PRIOR = Estimate()


class Estimates(Struct, frozen=True):
    """Estimates by model and route; '' is for all routes of a model. `scores` tell how good the answers were."""

    known: Mapping[tuple[str, str], Estimate] = msgspec.field(default_factory=dict)
    scores: Scores = Scores()

    def of(self, model: str, route: str) -> Estimate:
        """The best there is."""
        return self.known.get((model, route)) or self.known.get((model, "")) or PRIOR


class _Sample:
    """What the requests of one model and route add up to."""

    def __init__(self) -> None:
        self.lengths: list[float] = []
        self.estimated = self.billed = self.cached = self.written = 0
        self.tries = self.lost_nanos = self.answered_nanos = 0

    def add_answer(self, record: Record) -> None:
        usage = record.usage
        self.lengths.append(usage.output_tokens / max(1, record.needs.n))
        self.estimated += record.estimate_tokens
        self.billed += usage.input_tokens
        self.cached += usage.cached_input_tokens
        self.written += usage.cache_write_tokens

    def add_tries(self, attempts: Sequence[Attempt], answered: Attempt) -> None:
        self.tries += 1
        self.lost_nanos += sum([one.cost_nanos + one.presumed_nanos for one in attempts]) - answered.cost_nanos
        self.answered_nanos += answered.cost_nanos

    def add_all(self, other: "_Sample") -> None:
        self.lengths += other.lengths
        self.estimated += other.estimated
        self.billed += other.billed
        self.cached += other.cached
        self.written += other.written
        self.tries += other.tries
        self.lost_nanos += other.lost_nanos
        self.answered_nanos += other.answered_nanos

    def estimate(self, general: Estimate) -> Estimate:
        """Its own, leaning on the general one for as much as it is small."""
        count = len(self.lengths)

        def leaning(own: float, other: float, count: int = count) -> float:
            return (count * own + _LEANS * other) / (count + _LEANS)

        own = _twentieths(self.lengths) if count else general.lengths
        lengths = tuple(map(leaning, own, general.lengths))
        return Estimate(
            requests=count,
            lengths=lengths,
            mean=sum(lengths) / _PARTS,
            input_ratio=leaning(_share(self.billed, self.estimated, general.input_ratio), general.input_ratio),
            cached_share=leaning(_share(self.cached, self.billed), general.cached_share),
            written_share=leaning(_share(self.written, self.billed), general.written_share),
            retry_share=leaning(_share(self.lost_nanos, self.answered_nanos), general.retry_share, self.tries),
        )


class Samples:
    """Requests as they are learned from, one by one: a few numbers of each are kept, not the records."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, str], _Sample] = {}
        self._scores = ScoreSamples()

    def add(self, record: Record) -> None:
        """Takes one request in; of one whose usage no provider told, and of embeddings, scores alone are learned."""
        self._scores.add(record)
        answered = record.answered
        if answered is None or not _teaches(record, answered):
            return
        self._of(record.model, record.route).add_answer(record)
        if not _was_judged(record):  # the legs of a cascade are no tries that failed
            self._of(record.attempts[0].model, record.route).add_tries(record.attempts, answered)

    def _of(self, model: str, route: str) -> _Sample:
        found = self._samples.get((model, route))
        if found is None:
            found = self._samples[model, route] = _Sample()
        return found

    def estimates(self) -> Estimates:
        """The tables of these requests: by model and route, and by model alone."""
        of_models: dict[str, _Sample] = {}
        for (model, _), sample in self._samples.items():
            of_models.setdefault(model, _Sample()).add_all(sample)
        general = {model: sample.estimate(PRIOR) for model, sample in of_models.items()}
        tables = {(model, ""): one for model, one in general.items()}
        for (model, route), sample in self._samples.items():
            tables[model, route] = sample.estimate(general[model])
        return Estimates(tables, self._scores.scores())


def _teaches(record: Record, answered: Attempt) -> bool:
    is_told = record.state == "done" and answered.outcome == "exact"
    return is_told and not record.needs.embeddings and record.route != ""


def _was_judged(record: Record) -> bool:
    """Whether a cascade judged an answer, though it may not have learned how sure the first one was."""
    return record.confidence is not None or any(one.is_check or one.confidence is not None for one in record.attempts)


def _share(part: int, whole: int, otherwise: float = 0.0) -> float:
    return part / whole if whole else otherwise


def _twentieths(values: Sequence[float]) -> list[float]:
    """The mean of each twentieth of the values in their order; fewer than twenty are spread over them."""
    ordered, size = sorted(values), len(values) / _PARTS
    found = []
    for part in range(_PARTS):
        low, high = part * size, (part + 1) * size
        total, at = 0.0, int(low)
        while at < high and at < len(ordered):
            total += ordered[at] * (min(at + 1, high) - max(at, low))
            at += 1
        found.append(total / size)
    return found
