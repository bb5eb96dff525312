"""How good the answers of models were, by the scores in records: `order: value` and `keep_quality` go by it. Pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter

from msgspec import Struct, field

from muxer.types import Record

DIFFICULTY = "difficulty"
"""The signal whose value is the chance that a strong model answers better than a cheap one."""
LEAST_OWN, LEAST_NEXT = 50, 20
"""So many answers of a model that a cascade judges, and of those asked after it, have to be scored to learn from."""
_POINTS = 100


class Scored(Struct, frozen=True):
    """The scored answers of one model: how many, their mean score, and how difficult the questions were where that was
    measured."""

    count: int = 0
    mean: float = 0.0
    difficulty: float | None = None


class Curve(Struct, frozen=True):
    """What a cascade keeps of the later models' quality when it gives the first one's answers from a confidence on:
    `kept` rises with `thresholds`. `own` and `later` answers were scored."""

    own: int = 0
    later: int = 0
    thresholds: tuple[float, ...] = ()
    kept: tuple[float, ...] = ()

    @property
    def is_enough(self) -> bool:
        """Whether there is enough to learn from."""
        return self.own >= LEAST_OWN and self.later >= LEAST_NEXT

    def threshold(self, keep: float) -> float:
        """The least confidence that keeps so much; 1 when none does."""
        place = bisect_left(self.kept, keep)
        return self.thresholds[place] if place < len(self.thresholds) else 1.0


class Scores(Struct, frozen=True):
    """Both by model and route; '' is for all routes of a model."""

    models: Mapping[tuple[str, str], Scored] = field(default_factory=dict)
    curves: Mapping[tuple[str, str], Curve] = field(default_factory=dict)

    def of(self, model: str, route: str) -> Scored:
        """The scores of a model on a route, else on all."""
        return self.models.get((model, route)) or self.models.get((model, "")) or Scored()

    def curve(self, model: str, route: str) -> Curve:
        """That of a model on a route where it is enough, else that on all routes."""
        own = self.curves.get((model, route), Curve())
        return own if own.is_enough else self.curves.get((model, ""), own)


class _Answers:
    """The scored answers of one model."""

    def __init__(self) -> None:
        self.scores: list[float] = []
        self.difficulties: list[float] = []

    def add(self, record: Record, score: float) -> None:
        self.scores.append(score)
        difficulty = record.signals.get(DIFFICULTY)
        if isinstance(difficulty, float):
            self.difficulties.append(difficulty)

    @property
    def scored(self) -> Scored:
        mean = sum(self.difficulties) / len(self.difficulties) if self.difficulties else None
        return Scored(len(self.scores), sum(self.scores) / len(self.scores), mean)


class _Judged:
    """The answers of one model that a cascade judged: how sure each was and whether it was given; the scores of those,
    and of what was given instead of the others."""

    def __init__(self) -> None:
        self.judged: list[tuple[float, bool]] = []
        self.own: list[tuple[float, float]] = []
        self.later: list[float] = []

    def add(self, record: Record, confidence: float, *, is_given: bool) -> None:
        self.judged.append((confidence, is_given))
        if record.feedback is None:
            return
        if is_given:
            self.own.append((confidence, record.feedback))
        else:
            self.later.append(record.feedback)

    @property
    def curve(self) -> Curve:
        """Nothing is known of answers less sure than those that were given, so no threshold is below what held then."""
        judged = sorted(self.judged)
        held = threshold_held(judged)
        own = sorted(pair for pair in self.own if pair[0] >= held)
        if not own or not self.later:
            return Curve(len(own), len(self.later))
        later, steps = sum(self.later) / len(self.later), rising(own)
        starts = [confidence for confidence, _ in steps]
        thresholds, kept, lost = [1.0], [1.0], 0.0
        for confidence, _ in reversed(judged):
            if confidence < held:
                break
            lost += later - steps[max(0, bisect_right(starts, confidence) - 1)][1]
            thresholds.append(confidence)
            kept.append(1 - lost / len(judged) / later if later else 1.0)
        thresholds[-1] = held
        return _thinned(len(own), len(self.later), thresholds[::-1], kept[::-1])


class ScoreSamples:
    """Requests as scores are learned from them, one by one: a few numbers of each are kept, not the records."""

    def __init__(self) -> None:
        self._scored: dict[tuple[str, str], _Answers] = {}
        self._judged: dict[tuple[str, str], _Judged] = {}

    def add(self, record: Record) -> None:
        """Takes one request in; one that nobody scored and no cascade judged teaches nothing."""
        for route in {"", record.route} if record.state == "done" else ():
            if record.feedback is not None:
                self._scored.setdefault((record.model, route), _Answers()).add(record, record.feedback)
            first = next((one.model for one in record.attempts if one.confidence is not None), None)
            if record.confidence is not None and first is not None:
                is_given = record.model == first
                self._judged.setdefault((first, route), _Judged()).add(record, record.confidence, is_given=is_given)

    def scores(self) -> Scores:
        """The tables of these requests."""
        return Scores(
            models={name: answers.scored for name, answers in self._scored.items()},
            curves={name: answers.curve for name, answers in self._judged.items()},
        )


def threshold_held(judged: Sequence[tuple[float, bool]]) -> float:
    """The threshold that best tells which answers were given, of pairs in the order of their confidence. Some are given
    without being sure enough, where nobody else could be asked."""
    wrong = best = sum(not is_given for _, is_given in judged)
    place = 0
    for index, (_, is_given) in enumerate(judged, start=1):
        wrong += 1 if is_given else -1
        if wrong <= best:
            best, place = wrong, index
    if place == 0:
        return judged[0][0]
    return (judged[place - 1][0] + (judged[place][0] if place < len(judged) else 1.0)) / 2


def rising(pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Mean scores that never fall as the confidence rises and lie nearest to the scores (pool adjacent violators), each
    with the confidence it begins at. The pairs are in their order."""
    blocks: list[tuple[float, float, int]] = []
    for start, scores in groupby(pairs, key=itemgetter(0)):
        alike = [score for _, score in scores]
        mean, count = sum(alike) / len(alike), len(alike)
        while blocks and blocks[-1][1] >= mean:
            start, other, others = blocks.pop()
            mean, count = (other * others + mean * count) / (others + count), others + count
        blocks.append((start, mean, count))
    return [(start, mean) for start, mean, _ in blocks]


def _thinned(own: int, later: int, thresholds: Sequence[float], kept: Sequence[float]) -> Curve:
    """A curve of so many points at most, and so that `kept` never falls."""
    risen: list[float] = []
    for one in kept:
        risen.append(max(one, risen[-1]) if risen else one)
    step = -(-len(thresholds) // _POINTS)
    places = [*range(0, len(thresholds) - 1, step), len(thresholds) - 1]
    return Curve(own, later, tuple(thresholds[at] for at in places), tuple(risen[at] for at in places))
