"""Ridge regression over buckets by conjugate gradients in the dual: no rate to choose, no matrices, the same each time.

Coordinate descent is as short, but for the steps of a trait, which most prompts share, it takes over fifty rounds.
"""

import math
import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, groupby

from msgspec import Struct

from muxer_difficulty.features import Features

STRENGTH = 8.0
STEPS, TOLERANCE = 60, 1e-3
_HALF = 0.5  # the variance of a weight of shape or of words apart, where that of a word is 1, in the mean
_SHARED = 0.5  # of every variance what is common to all sources, where there are several; the rest is each one's own


class Row(Struct, frozen=True):
    """A prompt: groups of buckets, each with the scale by which all prompts count alike.

    In `groups` are the numbers of the buckets that other prompts have too. The weight of a bucket that one prompt alone
    has is told by that prompt's dual, so it is not looked up: those come to `alone` times the dual.
    """

    groups: list[tuple[list[int], float]]
    alone: float
    source: str


class Prepared(Struct, frozen=True):
    """Prompts, ready to be learned from in several folds.

    `variances` is how far the weight of each bucket may go, `numbers` counts the buckets that more than one prompt has.
    `shared` is how much of a variance is common to all sources.
    """

    rows: list[Row]
    variances: Mapping[int, float]
    numbers: Mapping[int, int]
    shared: float


def prepared(found: Sequence[Features], sources: Sequence[str]) -> Prepared:
    """The prompts, ready to be learned from. Of several sources each has weights of its own beside the shared ones, so
    that what is true in one alone is set down to that one; the shared ones alone are kept, as nobody knows from which
    source a prompt will be."""
    met = Counter(chain.from_iterable(chain.from_iterable(found)))
    variances = _variances(found, met)
    numbers = {at: number for number, at in enumerate(at for at, count in met.items() if count > 1)}
    rows = []
    for one, source in zip(found, sources, strict=True):
        parts = [part for part in one if part]
        groups = [([numbers[at] for at in part if at in numbers], 1 / math.sqrt(len(part))) for part in parts]
        alone = sum(sum(variances[at] for at in part if at not in numbers) / len(part) for part in parts)
        rows.append(Row(groups, alone, source))
    return Prepared(rows, variances, numbers, _SHARED if len(set(sources)) > 1 else 1.0)


def _variances(found: Sequence[Features], met: Mapping[int, int]) -> dict[int, float]:
    """A word says the more, the fewer prompts have it: by the logarithm of their share."""
    rarities = {at: math.log((len(found) + 1) / count) for at, count in met.items()}
    variances = dict.fromkeys(met, _HALF)
    for parts, mean in (([one.words for one in found], 1.0), ([one.apart for one in found], _HALF)):
        usual = [sum(rarities[at] for at in part) / len(part) for part in parts if part]
        for at in set(chain.from_iterable(parts)):
            variances[at] = mean * rarities[at] * len(usual) / sum(usual)
    return variances


def said(weights: Sequence[float], row: Row) -> float:
    """What the weights say of a prompt that they were not learned from."""
    look_up = weights.__getitem__
    return sum([scale * sum(map(look_up, shared)) for shared, scale in row.groups])


def learned(
    ready: Prepared, gains: Sequence[float], chosen: Sequence[int], strength: float
) -> tuple[list[float], dict[int, float]]:
    """The shared weights that the gains of the chosen rows make, by number, and the duals of those rows."""
    chosen = sorted(chosen, key=lambda at: ready.rows[at].source)
    used = [[ready.rows[at] for at in ofs] for _, ofs in groupby(chosen, key=lambda at: ready.rows[at].source)]
    variances = [ready.variances[at] for at in ready.numbers]
    duals = [0.0] * len(chosen)
    rest = [gains[at] for at in chosen]
    step, left = rest, _dot(rest, rest)
    enough = left * TOLERANCE * TOLERANCE
    for _ in range(STEPS):
        if left <= enough:
            break
        sums = _said_together(used, step, variances, ready.shared)
        rows = chain.from_iterable(used)
        image = [told + (row.alone + strength) * one for told, row, one in zip(sums, rows, step, strict=True)]
        by = left / _dot(step, image)
        duals = [dual + by * one for dual, one in zip(duals, step, strict=True)]
        rest = [one - by * other for one, other in zip(rest, image, strict=True)]
        left, before = _dot(rest, rest), left
        step = [one + left / before * other for one, other in zip(rest, step, strict=True)]
    shared = _made(list(chain.from_iterable(used)), duals, [ready.shared * one for one in variances])
    return shared, dict(zip(chosen, duals, strict=True))


def _said_together(
    used: Sequence[Sequence[Row]], duals: Sequence[float], variances: Sequence[float], shared: float
) -> list[float]:
    """What the weights that these duals make say of the rows of each source: the shared ones and its own."""
    if len(used) == 1:  # what is shared and what is its own are one
        weights = _made(used[0], duals, variances)
        return [said(weights, row) for row in used[0]]
    made, done = [], 0
    for rows in used:
        made.append(_made(rows, duals[done : done + len(rows)], variances))
        done += len(rows)
    common = [shared * sum(every) for every in zip(*made, strict=True)]
    sums = []
    for rows, own in zip(used, made, strict=True):
        weights = [one + (1 - shared) * other for one, other in zip(common, own, strict=True)]
        sums += [said(weights, row) for row in rows]
    return sums


def spread_out(
    found: Sequence[Features], ready: Prepared, weights: Sequence[float], duals: Mapping[int, float]
) -> dict[int, float]:
    """The weight of every bucket that was met, of those too that one prompt alone has."""
    table = {bucket: weights[number] for bucket, number in ready.numbers.items()}
    for at, dual in duals.items():
        for part in found[at]:
            for bucket in part:
                if bucket not in ready.numbers:
                    table[bucket] = dual * ready.shared * ready.variances[bucket] / math.sqrt(len(part))
    return table


def _made(rows: Sequence[Row], duals: Sequence[float], variances: Sequence[float]) -> list[float]:
    """The weights that rows with these duals make together."""
    weights = [0.0] * len(variances)
    for row, dual in zip(rows, duals, strict=True):
        for shared, scale in row.groups:
            step = dual * scale
            for number in shared:
                weights[number] += step
    return list(map(operator.mul, weights, variances))


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(map(operator.mul, one, other))
