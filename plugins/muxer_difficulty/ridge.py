"""Ridge regression over buckets by conjugate gradients in the dual: no rate to choose, no matrices, the same each time.

Coordinate descent is as short, but for the steps of a trait, which most prompts share, it takes over fifty rounds.
"""

import math
import operator
from collections import Counter
from collections.abc import Sequence
from itertools import chain

from msgspec import Struct

from muxer_difficulty.features import BUCKETS, Features

STRENGTH = 8.0
STEPS, TOLERANCE = 60, 1e-3


class Prepared(Struct, frozen=True):
    """A prompt: groups of buckets, each with the scale by which all prompts count alike.

    In `groups` are the buckets that other prompts have too. The weight of a bucket that one prompt alone has is told by
    that prompt's dual, so it is not looked up: those come to `alone` times the dual.
    """

    groups: list[tuple[list[int], float]]
    alone: float


def prepared(found: Sequence[Features]) -> list[Prepared]:
    """The prompts, ready to be learned from in several folds."""
    met = Counter(chain.from_iterable(chain.from_iterable(found)))
    rows = []
    for one in found:
        parts = [part for part in one if part]
        groups = [([at for at in part if met[at] > 1], 1 / math.sqrt(len(part))) for part in parts]
        alone = sum(1 - len(shared) / len(part) for (shared, _), part in zip(groups, parts, strict=True))
        rows.append(Prepared(groups, alone))
    return rows


def said(weights: Sequence[float], row: Prepared) -> float:
    """What the weights say of a prompt that they were not learned from."""
    look_up = weights.__getitem__
    return sum([scale * sum(map(look_up, shared)) for shared, scale in row.groups])


def learned(
    rows: Sequence[Prepared], gains: Sequence[float], chosen: Sequence[int], strength: float
) -> tuple[list[float], dict[int, float]]:
    """The weights that the gains of the chosen rows make, and the duals of those rows: without what they have alone."""
    used = [rows[at] for at in chosen]
    duals = [0.0] * len(used)
    rest = [gains[at] for at in chosen]
    step, left = rest, _dot(rest, rest)
    enough = left * TOLERANCE * TOLERANCE
    for _ in range(STEPS):
        if left <= enough:
            break
        weights = _spread(used, step)
        image = [said(weights, row) + (row.alone + strength) * one for row, one in zip(used, step, strict=True)]
        by = left / _dot(step, image)
        duals = [dual + by * one for dual, one in zip(duals, step, strict=True)]
        rest = [one - by * other for one, other in zip(rest, image, strict=True)]
        left, before = _dot(rest, rest), left
        step = [one + left / before * other for one, other in zip(rest, step, strict=True)]
    return _spread(used, duals), dict(zip(chosen, duals, strict=True))


def _spread(rows: Sequence[Prepared], duals: Sequence[float]) -> list[float]:
    """The weight of each bucket that rows with these duals make together."""
    weights = [0.0] * BUCKETS
    for row, dual in zip(rows, duals, strict=True):
        for shared, scale in row.groups:
            step = dual * scale
            for bucket in shared:
                weights[bucket] += step
    return weights


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(map(operator.mul, one, other))
