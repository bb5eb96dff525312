"""From a score a prompt to a curve of quality and cost over the share of calls that go to the strong model.

The definitions are RouteLLM's (Ong et al., section 3.2): `pgr` is the share of the quality gap between the two models
that is recovered, `apgr` its mean over the shares of strong calls (the trapezoid over 0, 10, ... 100 %; `apgr_full`
over every share), `cpt50` and `cpt80` the least share of strong calls at which `pgr` reaches 50 and 80 %. Prompts with
equal scores are one block; inside a block the curve is straight, as random choices among them would be on average.
"""

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, groupby
from operator import mul

from msgspec import Struct

from muxer.evaluation.rows import Pair

_GRID = [step / 10 for step in range(11)]
_FINE = [step / 100 for step in range(101)]
_ALMOST = 1e-12
_SPENDS = (0.25, 0.5, 0.75)

Metrics = dict[str, float]
"""Measures by name; one that does not exist, such as a cost without prices, is NaN or absent."""


class Curve(Struct, frozen=True):
    """Places from no strong call to all: share of strong calls, mean quality, and mean dollars where they are known.
    `pays_both`: a prompt with a strong call has paid for the cheap model, too."""

    shares: list[float]
    qualities: list[float]
    usd: list[float] | None
    pays_both: bool = False

    def quality(self, share: float) -> float:
        """Mean quality with this share of the calls to the strong model."""
        return interpolated(share, self.shares, self.qualities)

    @property
    def strong_usd(self) -> float:
        """What the strong model alone costs."""
        if self.usd is None:
            return math.nan
        return self.usd[-1] - self.usd[0] if self.pays_both else self.usd[-1]


class Ordered:
    """The prompts in the order in which a score sends them to the strong model: made once, weighed many times.
    `pays_both`: the cheap model was asked before, and is paid for, too."""

    def __init__(self, scores: Sequence[float], pairs: Sequence[Pair], *, pays_both: bool = False) -> None:
        self._order = sorted(range(len(scores)), key=lambda at: -scores[at])
        sizes = [len(list(block)) for _, block in groupby(self._order, key=lambda at: scores[at])]
        self._blocks = [slice(end - size, end) for end, size in zip(accumulate(sizes), sizes, strict=True)]
        chosen = [pairs[at] for at in self._order]
        self._cheap = [pair.cheap for pair in chosen]
        self._gains = [pair.strong - pair.cheap for pair in chosen]
        self._cheap_usd = [pair.cheap_usd or 0.0 for pair in chosen]
        strong_usd = [pair.strong_usd or 0.0 for pair in chosen]
        spared = [0.0] * len(chosen) if pays_both else self._cheap_usd
        self._extra_usd = [strong - cheap for strong, cheap in zip(strong_usd, spared, strict=True)]
        self._pays_both = pays_both
        self._is_needed = [pair.strong > pair.cheap for pair in chosen]
        self._has_usd = bool(pairs) and pairs[0].strong_usd is not None

    def __len__(self) -> int:
        return len(self._order)

    def curve(self, weights: Sequence[int] | None = None) -> Curve:
        """The curve, each prompt as often as its weight says (in the order of the prompts), once by default."""
        count = self._weights(weights)
        total, taken = sum(count), 0
        quality, usd = sumprod(self._cheap, count), sumprod(self._cheap_usd, count)
        shares, qualities, dollars = [0.0], [quality / total], [usd / total]
        for block in self._blocks:
            inside = count[block]
            if not any(inside):
                continue
            taken += sum(inside)
            quality += sumprod(self._gains[block], inside)
            usd += sumprod(self._extra_usd[block], inside)
            shares.append(taken / total)
            qualities.append(quality / total)
            dollars.append(usd / total)
        return Curve(shares, qualities, dollars if self._has_usd else None, self._pays_both)

    def auroc(self, weights: Sequence[int] | None = None) -> float:
        """The chance that a prompt where the strong model is better scores above one where it is not."""
        count = self._weights(weights)
        needed = sumprod(self._is_needed, count)
        below = other = sum(count) - needed
        won = 0.0
        for block in self._blocks:
            inside = sum(count[block])
            hits = sumprod(self._is_needed[block], count[block])
            below -= inside - hits
            won += hits * (below + (inside - hits) / 2)
        return won / (needed * other) if needed and other else math.nan

    def _weights(self, weights: Sequence[int] | None) -> list[int]:
        if weights is None:
            return [1] * len(self._order)
        return [weights[at] for at in self._order]


def sumprod(values: Sequence[float], weights: Sequence[int]) -> float:
    """The sum of the products, in pairs."""
    return math.fsum(map(mul, values, weights))


def interpolated(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """The value at x of the straight lines through rising xs; the last of equal xs counts."""
    at = bisect_right(xs, x)
    if at == 0:
        return ys[0]
    if at == len(xs):
        return ys[-1]
    return ys[at - 1] + (ys[at] - ys[at - 1]) * (x - xs[at - 1]) / (xs[at] - xs[at - 1])


def area(xs: Sequence[float], ys: Sequence[float]) -> float:
    """The trapezoid."""
    return sum((xs[at + 1] - xs[at]) * (ys[at] + ys[at + 1]) / 2 for at in range(len(xs) - 1))


def first_at(xs: Sequence[float], ys: Sequence[float], target: float) -> float:
    """The least x of the straight lines at which y reaches the target; NaN if it never does."""
    at = next((at for at, y in enumerate(ys) if y >= target - _ALMOST), None)
    if at is None:
        return math.nan
    if at == 0:
        return xs[0]
    return xs[at - 1] + (target - ys[at - 1]) / (ys[at] - ys[at - 1]) * (xs[at] - xs[at - 1])


def measures(ordered: Ordered, weights: Sequence[int] | None = None) -> Metrics:
    """Every measure of one order of prompts: those above, and money.

    `pgr@20`: recovered with 20 % of the calls strong. `q@$50`: quality for 50 % of what the strong model alone costs.
    `save@eq`, `save@99q`, `save@95g`: the largest share of that bill saved at the strong model's quality, at 99 % of
    it, and at 95 % of the gap; below 0 where both models are paid and it costs more. `usd1k_strong`, `usd1k_cheap`:
    dollars a thousand prompts.
    """
    curve = ordered.curve(weights)
    cheap, strong = curve.qualities[0], curve.qualities[-1]
    gap = strong - cheap

    def recovered(share: float) -> float:
        return (curve.quality(share) - cheap) / gap if gap else math.nan

    fine = [recovered(share) for share in _FINE]
    found = {
        "strong": strong,
        "cheap": cheap,
        "apgr": area(_GRID, [recovered(share) for share in _GRID]),
        "apgr_full": (area(curve.shares, curve.qualities) - cheap) / gap if gap else math.nan,
        "cpt50": first_at(_FINE, fine, 0.5),
        "cpt80": first_at(_FINE, fine, 0.8),
        **{f"pgr@{share:.0f}": recovered(share / 100) for share in (10, 20, 30, 50)},
        "best_q": max(curve.qualities),
        "auroc": ordered.auroc(weights),
    }
    return found | (_money(curve, gap) if curve.usd is not None else {})


def _money(curve: Curve, gap: float) -> Metrics:
    usd = curve.usd or []
    bill, cheap, strong = curve.strong_usd, curve.qualities[0], curve.qualities[-1]
    # Cost need not grow with the share of strong calls; the curve is walked in that order.
    spent = list(accumulate(usd, max))
    found = {f"q@${100 * part:.0f}": curve.quality(interpolated(part * bill, spent, curve.shares)) for part in _SPENDS}
    places = [(curve.quality(share), interpolated(share, curve.shares, usd)) for share in _FINE]
    for name, target in (("save@eq", strong), ("save@95g", cheap + 0.95 * gap), ("save@99q", 0.99 * strong)):
        least = min((dollars for quality, dollars in places if quality >= target - _ALMOST), default=bill)
        found[name] = 1 - least / bill if bill else math.nan
    return found | {"usd1k_strong": 1000 * bill, "usd1k_cheap": 1000 * usd[0]}


def resamples(size: int, times: int, seed: int) -> Iterator[list[int]]:
    """How often each of so many prompts is in each resample; the same seed gives the same ones."""
    chance = random.Random(seed)  # noqa: S311 - resampling, no secret
    for _ in range(times):
        weights = [0] * size
        for at in chance.choices(range(size), k=size):
            weights[at] += 1
        yield weights


def intervals(
    ordered: Ordered, times: int, seed: int, advance: Callable[[int], None]
) -> dict[str, tuple[float, float]]:
    """95 % intervals of every measure over so many resamples of the prompts; the same seed gives the same ones."""
    drawn: dict[str, list[float]] = {}
    for weights in resamples(len(ordered), times, seed):
        for name, value in measures(ordered, weights).items():
            drawn.setdefault(name, []).append(value)
        advance(1)
    return {name: (percentile(values, 2.5), percentile(values, 97.5)) for name, values in drawn.items()}


def percentile(values: Sequence[float], percent: float) -> float:
    """By straight lines between the values in order, leaving NaN out; NaN of nothing."""
    known = sorted(value for value in values if not math.isnan(value))
    if not known:
        return math.nan
    return interpolated(percent / 100 * (len(known) - 1), range(len(known)), known)
