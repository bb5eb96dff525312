"""Learns the model: ridge regression on how much better the strong model's answer is, then a curve to make it a chance.

Ridge by coordinate descent in the dual has no rate to choose, needs no matrices and comes out the same each time.
"""

import math
import random
import zlib
from array import array
from collections.abc import Callable, Sequence

import msgspec

from muxer import Labelled
from muxer_difficulty.features import BUCKETS, Features, features
from muxer_difficulty.lessons import Example
from muxer_difficulty.model import Artefact, sum_of

RIDGE = 12.0
EPOCHS, FOLDS, SEED = 8, 5, 7
_STEPS, _SHRINK = 50, 1e-3


def fit(rows: Sequence[Labelled], advance: Callable[[int], None], more: Sequence[Example] = ()) -> bytes:
    """An artefact of these rows, and of more. `advance` is told how many rows are done, `work` in all."""
    found = [*(features(row.prompt) for row in rows), *(one.found for one in more)]
    gains = [*(row.strong - row.cheap for row in rows), *(one.gain for one in more)]
    is_better = [*(float(row.strong > row.cheap) for row in rows), *(one.is_better for one in more)]
    mean = sum(gains) / len(gains)
    order = list(range(len(found)))
    random.Random(SEED).shuffle(order)  # noqa: S311 - folds, no secret
    # What the curve is fitted on must not have been learned from.
    unseen = [0.0] * len(found)
    for fold in range(FOLDS):
        held = set(order[fold::FOLDS])
        weights = _ridge(found, gains, mean, [at for at in order if at not in held], advance)
        sums = {at: sum_of(weights, found[at]) for at in held}
        # Where a fold's prompts happen to gain more, the others gain less, and its sums would come out lower for it:
        # with few rows that hides from the curve what was learned.
        level = sum(sums.values()) / max(1, len(sums))
        for at in held:
            unseen[at] = sums[at] - level
    slope, offset = _curve(unseen, is_better)
    weights = _ridge(found, gains, mean, order, advance)
    unit = max(map(abs, weights), default=0.0) / 127 or 1.0
    table = array("b", (_cut(weight / unit) for weight in weights))
    artefact = Artefact(
        weights=zlib.compress(table.tobytes(), 9), unit=unit, slope=slope, offset=offset, prompts=len(found)
    )
    return msgspec.msgpack.encode(artefact)


def work(rows: int) -> int:
    """How much `fit` will advance for so many rows."""
    return EPOCHS * (rows * (FOLDS - 1) + rows)


def _cut(weight: float) -> int:
    """To a whole number; a bucket that was met keeps at least one step, by which it is known again."""
    return round(weight) or (0 if weight == 0 else 1 if weight > 0 else -1)


def _ridge(
    found: Sequence[Features],
    gains: Sequence[float],
    mean: float,
    chosen: Sequence[int],
    advance: Callable[[int], None],
) -> "array[float]":
    weights = array("d", bytes(8 * BUCKETS))
    duals = dict.fromkeys(chosen, 0.0)
    for _ in range(EPOCHS):
        for at in chosen:
            row = found[at]
            parts = sum(1 for part in row if part)
            change = (gains[at] - mean - sum_of(weights, row) - RIDGE * duals[at]) / (parts + RIDGE)
            duals[at] += change
            for part in row:
                step = change / math.sqrt(len(part)) if part else 0.0
                for bucket in part:
                    weights[bucket] += step
        advance(len(chosen))
    return weights


def _curve(sums: Sequence[float], is_better: Sequence[float]) -> tuple[float, float]:
    """Slope and offset of the logistic curve through what happened, by Newton's method; the slope is not negative."""
    hits = sum(is_better)
    offset = math.log((hits + 1) / (len(sums) - hits + 1))
    slope = 0.0
    for _ in range(_STEPS):
        g0 = g1 = h01 = 0.0
        h00 = h11 = _SHRINK
        for total, better in zip(sums, is_better, strict=True):
            chance = 1 / (1 + math.exp(-max(-30.0, min(30.0, slope * total + offset))))
            error, weight = chance - better, chance * (1 - chance)
            g0, g1 = g0 + error, g1 + error * total
            h00, h01, h11 = h00 + weight, h01 + weight * total, h11 + weight * total * total
        determinant = h00 * h11 - h01 * h01
        if abs(determinant) < 1e-12 or abs(g0) + abs(g1) < 1e-9:
            break
        offset -= (h11 * g0 - h01 * g1) / determinant
        slope -= (h00 * g1 - h01 * g0) / determinant
    return max(0.0, slope), offset
