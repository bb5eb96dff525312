"""Which model is worth its dollars for a request: `order: value`. Pure."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from muxer.gates import Excluded
from muxer.money import usd
from muxer.plans import Candidate, Question
from muxer.scores import DIFFICULTY

KEEP = 0.8
"""What is to be kept of the best model's quality where all of its cost could be saved; `keep_quality` says another."""
UNKNOWN_DIFFICULTY = 0.5
_LEANS = 20
"""The scores of so many answers weigh as much as what the tiers say."""


def valued(
    candidates: Sequence[Candidate], question: Question, route: str, keep: float
) -> tuple[list[Candidate], list[Excluded]]:
    """The candidates by value, each with its predicted quality; and those that another beats, which are not asked.

    Each is worth its quality less `1 - keep` for every cost of the best model that it costs itself. So the first is the
    one to which every step from a cheaper model gains at least that much quality for the dollars it adds.
    """
    priced = [one for one in predicted(candidates, question, route) if one.model.price is not None]
    beaten = {one.model.name: by for one in priced if (by := _beater(one, priced)) is not None}
    best = max(priced, key=lambda one: (one.quality or 0.0, -one.expected_nanos), default=None)
    dollar = (1 - keep) / max(1, best.expected_nanos) if best else 0.0

    def worth(one: Candidate) -> tuple[float, int]:
        return dollar * one.expected_nanos - (one.quality or 0.0), one.expected_nanos

    ranked = sorted((one for one in priced if one.model.name not in beaten), key=worth)
    unpriced = [one for one in candidates if one.model.price is None]
    return [*ranked, *unpriced], [_dominated(one, beaten[one.model.name]) for one in priced if one.model.name in beaten]


def predicted(candidates: Sequence[Candidate], question: Question, route: str) -> list[Candidate]:
    """The candidates with the quality their answers are expected to have, from 0 to 1.

    The difficulty is the chance that the strong model answers better than the cheap one: so likely the weakest tier
    falls short, the strongest does not, and those between do in proportion. What was scored of a model corrects that.
    """
    tiers = [one.model.tier or 0 for one in candidates]
    top, span = max(tiers, default=0), max(tiers, default=0) - min(tiers, default=0)
    difficulty = _difficulty(question.measured.values)
    found = []
    for one, tier in zip(candidates, tiers, strict=True):
        gap = (top - tier) / span if span else 0.0
        prior, scored = 1 - difficulty * gap, question.estimates.scores.of(one.model.name, route)
        # Its mean score is that of the questions it was asked; this one may be harder.
        harder = 0.0 if scored.difficulty is None else difficulty - scored.difficulty
        own = min(1.0, max(0.0, scored.mean - harder * gap))
        quality = (scored.count * own + _LEANS * prior) / (scored.count + _LEANS)
        found.append(replace(one, quality=quality))
    return found


def _difficulty(values: Mapping[str, object]) -> float:
    value = values.get(DIFFICULTY)
    return min(1.0, max(0.0, value)) if isinstance(value, float) else UNKNOWN_DIFFICULTY


def _beater(one: Candidate, rivals: Sequence[Candidate]) -> Candidate | None:
    """A cheaper model that is as strong by tier and as good by what is predicted."""
    for rival in rivals:
        is_as_strong = (rival.model.tier or 0) >= (one.model.tier or 0)
        if rival.expected_nanos < one.expected_nanos and is_as_strong and (rival.quality or 0) >= (one.quality or 0):
            return rival
    return None


def _dominated(one: Candidate, by: Candidate) -> Excluded:
    detail = f"{by.model.name} is as good ({by.quality:.2f} >= {one.quality:.2f}) and costs ${usd(by.expected_nanos)}"
    return Excluded(one.model.name, "dominated", f"{detail}, not ${usd(one.expected_nanos)}")
