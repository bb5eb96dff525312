"""Answers of one model each, as what the model learns from: comparisons with an answer that nobody saw."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from msgspec import Struct

from muxer import Lesson
from muxer_difficulty import kept
from muxer_difficulty.features import Features

_LEAST_SHARE = 0.25  # a score of a rarer side weighs no more than two: the noise of a few would drown the others


class Example(Struct, frozen=True):
    """A prompt, by how much the strong model is better on it, how likely it is better at all, and whence it is."""

    found: Features
    gain: float
    is_better: float
    source: str = ""


def examples(lessons: Sequence[Lesson]) -> list[Example]:
    """One for each lesson; there are some of both sides.

    What the other model would have answered is taken as it answered elsewhere. A side counts by how rarely it is seen,
    so that both count alike unless one is very rare: where it was drawn which model answers, the gains are those of
    comparisons, but for noise and a factor.
    """
    strong, cheap = (sorted(one.score for one in lessons if one.is_strong is side) for side in (True, False))
    means = sum(strong) / len(strong), sum(cheap) / len(cheap)
    gain, share = means[0] - means[1], min(max(len(strong) / len(lessons), _LEAST_SHARE), 1 - _LEAST_SHARE)
    found = []
    for one in lessons:
        if one.is_strong:
            more = (one.score - means[0]) / (2 * share)
            likely = bisect_left(cheap, one.score) / len(cheap)
        else:
            more = (means[1] - one.score) / (2 * (1 - share))
            likely = 1 - bisect_right(strong, one.score) / len(strong)
        found.append(Example(kept.read(one.features), gain + more, likely))
    return found
