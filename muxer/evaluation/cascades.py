"""Every threshold of a cascade of two models, by how sure the cheap one was of its answers, and the one to take."""

import math
from collections.abc import Sequence

from msgspec import Struct

from muxer.evaluation.curves import Curve, Ordered
from muxer.evaluation.rows import Pair

KEEPS = (1.0, 0.99)
_DIGITS = range(2, 10)
_ALMOST = 1e-12


class Threshold(Struct, frozen=True):
    """The least `confidence` with which a cascade `keeps` this part of the strong model's quality, and what comes of
    it: how many prompts are asked again, mean quality and dollars."""

    keeps: float
    confidence: float
    asked_again: int
    quality: float
    usd: float | None


def ranked(certainties: Sequence[float], pairs: Sequence[Pair]) -> Ordered:
    """The prompts as a rising threshold sends them on to the strong model, which is paid for beside the cheap one."""
    return Ordered([-sure for sure in certainties], pairs, pays_both=True)


def thresholds(certainties: Sequence[float], pairs: Sequence[Pair]) -> list[Threshold]:
    """One for each part of the quality that some threshold keeps. Each place of the curve asks again about one more
    of the values that occur; an answer of certainty 1 is below no threshold."""
    curve, values = ranked(certainties, pairs).curve(), sorted(set(certainties))
    found = (_threshold(keeps, curve, values, len(pairs)) for keeps in KEEPS)
    return [one for one in found if one is not None]


def _threshold(keeps: float, curve: Curve, values: Sequence[float], prompts: int) -> Threshold | None:
    target = keeps * curve.qualities[-1] - _ALMOST
    place = next(place for place, quality in enumerate(curve.qualities) if quality >= target)
    if place and values[place - 1] >= 1:
        return None
    return Threshold(
        keeps=keeps,
        confidence=_between(values[place - 1], values[place] if place < len(values) else 1.0) if place else 0.0,
        asked_again=round(curve.shares[place] * prompts),
        quality=curve.qualities[place],
        usd=curve.usd[place] if curve.usd is not None else None,
    )


def _between(above: float, to: float) -> float:
    """The number with the fewest digits, two at least, that is above the one and not above the other."""
    for digits in _DIGITS:
        scale = 10.0**digits
        first = math.floor(above * scale)
        near = next(number / scale for number in (first, first + 1, first + 2) if number / scale > above)
        if near <= to:
            return near
    return to
