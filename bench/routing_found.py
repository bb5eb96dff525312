"""What `bench.routing` found, as it is kept in a file, and what of it is worse than was promised."""

from collections.abc import Iterator

from msgspec import Struct

from muxer.evaluation.curves import Curve

WITHIN, LEFT_OUT, RULES = "difficulty, within", "difficulty, set left out", "complexity"
LEAST_WITHIN = {"routellm_mmlu": 0.68, "routellm_gsm8k": 0.66, "mmlu_pro": 0.75, "ulab_mixed13": 0.72}
LEAST_LEFT_OUT, LEAST_LEFT_OUT_MEAN = 0.48, 0.55


class Ranked(Struct, frozen=True):
    """One way to rank the prompts of a set: APGR, its 95 % interval, the dollars saved, and the curve."""

    apgr: float
    low: float
    high: float
    saved: float | None
    curve: Curve


class Gain(Struct, frozen=True):
    """How much quality one order has above another, averaged over all shares of strong calls; its 95 % interval."""

    value: float
    low: float
    high: float


class OfSet(Struct, frozen=True):
    """A set: every way to rank it, and what a model that has not seen it gains over the rules."""

    strong: str
    cheap: str
    ranked: dict[str, Ranked]
    over_rules: Gain


class Found(Struct):
    """All sets, and the milliseconds of one decision at the 95th percentile."""

    sets: dict[str, OfSet] = {}
    decision_ms: float = 0.0

    def values(self, way: str) -> list[float]:
        """The APGR of one way in every set."""
        return [one.ranked[way].apgr for one in self.sets.values()]


def missed(found: Found) -> Iterator[str]:
    """Every promise that is not kept. A set is worse than the rules where the whole interval says so."""
    for name, one in found.sets.items():
        if one.over_rules.high < 0:
            yield f"{name}: learned from the other sets it is worse than the rules by {-one.over_rules.value:.4f}"
        within, left_out = one.ranked[WITHIN].apgr, one.ranked[LEFT_OUT].apgr
        if within < LEAST_WITHIN.get(name, 0.0):
            yield f"{name}: {within:.3f} within the set; at least {LEAST_WITHIN[name]} was wanted"
        if left_out < LEAST_LEFT_OUT:
            yield f"{name}: {left_out:.3f} with the set left out; at least {LEAST_LEFT_OUT} was wanted"
    every = found.values(LEFT_OUT)
    if every and sum(every) / len(every) < LEAST_LEFT_OUT_MEAN:
        mean = sum(every) / len(every)
        yield f"{mean:.3f} is the mean with the set left out; at least {LEAST_LEFT_OUT_MEAN} was wanted"
