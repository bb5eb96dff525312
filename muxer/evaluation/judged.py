"""Answers of one model each as choices between two, and how much an order of prompts is worth."""

from collections.abc import Sequence

from muxer.evaluation.curves import Ordered, area
from muxer.evaluation.rows import Pair
from muxer.lessons import Lesson


def choices(lessons: Sequence[Lesson]) -> list[Pair]:
    """Each lesson as a choice between two models; there are some of both.

    No single one is true, since nobody saw the other answer; their sums are, but for noise, where it was drawn which
    model answers: of what an answer is better than its model's mean, all the prompts like it are worth a part (Horvitz
    and Thompson's estimator).
    """
    strong, cheap = ([one.score for one in lessons if one.is_strong is side] for side in (True, False))
    best, least, share = sum(strong) / len(strong), sum(cheap) / len(cheap), len(strong) / len(lessons)
    return [
        Pair(best + (one.score - best) / share, least)
        if one.is_strong
        else Pair(best, least + (one.score - least) / (1 - share))
        for one in lessons
    ]


def lift(ordered: Ordered, weights: Sequence[int] | None = None) -> float:
    """Quality above that of random choices, averaged over all shares of strong calls: also where the strong model's
    answers were no better on average, as where it was only asked the hard questions."""
    curve = ordered.curve(weights)
    return area(curve.shares, curve.qualities) - (curve.qualities[0] + curve.qualities[-1]) / 2
