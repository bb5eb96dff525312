"""Learns the model: a ridge regression on how much better the strong model's answer is, then a curve to make it a
chance."""

import math
import random
import zlib
from array import array
from collections.abc import Callable, Sequence

import msgspec

from muxer import Labelled
from muxer_difficulty.features import BUCKETS, features
from muxer_difficulty.lessons import Example
from muxer_difficulty.model import Artefact
from muxer_difficulty.ridge import STRENGTH, learned, prepared, said, spread_out

FOLDS, SEED = 5, 7
_STEPS, _SHRINK = 50, 1e-3


def fit(
    rows: Sequence[Labelled],
    advance: Callable[[int], None],
    more: Sequence[Example] = (),
    strength: float = STRENGTH,
) -> bytes:
    """An artefact of these rows, and of more. `advance` is told how many rows are done, `work` in all."""
    found = [*(features(row.prompt) for row in rows), *(one.found for one in more)]
    gains = [*(row.strong - row.cheap for row in rows), *(one.gain for one in more)]
    is_better = [*(float(row.strong > row.cheap) for row in rows), *(one.is_better for one in more)]
    mean = sum(gains) / len(gains)
    above = [gain - mean for gain in gains]
    ready = prepared(found, [*("" for _ in rows), *(one.source for one in more)])
    order = list(range(len(found)))
    random.Random(SEED).shuffle(order)  # noqa: S311 - folds, no secret
    unseen = [0.0] * len(found)
    # What the curve is fitted on must not have been learned from.
    for held in folds(gains, FOLDS, SEED):
        weights, _ = learned(ready, above, [at for at in order if at not in held], strength)
        for at in held:
            unseen[at] = said(weights, ready.rows[at])
        advance(len(order) - len(held))
    slope, offset = _curve(unseen, is_better)
    learnt = spread_out(found, ready, *learned(ready, above, order, strength))
    advance(len(order))
    unit = max(map(abs, learnt.values()), default=0.0) / 127 or 1.0
    table = array("b", bytes(BUCKETS))
    for bucket, weight in learnt.items():
        table[bucket] = _cut(weight / unit)
    artefact = Artefact(
        weights=zlib.compress(table.tobytes(), 9),
        unit=unit,
        slope=slope,
        offset=offset,
        prompts=len(found),
    )
    return msgspec.msgpack.encode(artefact)


def folds(gains: Sequence[float], count: int, seed: int) -> list[set[int]]:
    """Which prompts each fold holds back. Each has its part of every gain: else those of a fold with many would be told
    by a model that learned from few, and rank below the rest by that alone."""
    order = list(range(len(gains)))
    random.Random(seed).shuffle(order)  # noqa: S311 - folds, no secret
    order.sort(key=lambda at: gains[at])
    return [set(order[fold::count]) for fold in range(count)]


def work(rows: int) -> int:
    """How much `fit` will advance for so many rows."""
    return rows * FOLDS


def _cut(weight: float) -> int:
    """To a whole number; a bucket that was met keeps at least one step, by which it is known again."""
    return round(weight) or (0 if weight == 0 else 1 if weight > 0 else -1)


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
