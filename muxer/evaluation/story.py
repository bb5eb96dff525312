"""What an evaluation found, for whoever prints or draws it."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from muxer.evaluation.cascades import Threshold, ranked, thresholds
from muxer.evaluation.curves import Metrics, Ordered
from muxer.evaluation.policies import Chosen
from muxer.evaluation.rows import Pair


class Judged(Struct):
    """One order of the prompts with its measures and their 95 % intervals; `is_bound`: it is there to compare with."""

    name: str
    ordered: Ordered
    is_bound: bool = False
    measures: Metrics = msgspec.field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = msgspec.field(default_factory=dict)


class Story(Struct):
    """The two models, their answers, what was judged, what the rules of a file chose, and the thresholds of a cascade
    that keep the quality."""

    strong: str
    cheap: str
    pairs: list[Pair]
    judged: list[Judged] = msgspec.field(default_factory=list)
    policy: Chosen | None = None
    thresholds: list[Threshold] | None = None

    def judge(self, name: str, scores: Sequence[float]) -> None:
        """Adds the order of these scores; the higher, the sooner the strong model is asked."""
        self.judged.append(Judged(name, Ordered(scores, self.pairs)))

    def judge_cascade(self, certainties: Sequence[float]) -> None:
        """Adds a cascade over every threshold, by how sure the cheap model was of each answer."""
        self.judged.append(Judged("cascade", ranked(certainties, self.pairs)))
        self.thresholds = thresholds(certainties, self.pairs)

    def add_bounds(self) -> None:
        """Adds what chance does, before all others, and what could be done by knowing both answers, after them."""
        chance = Ordered([0.0] * len(self.pairs), self.pairs)
        known = Ordered([pair.strong - pair.cheap for pair in self.pairs], self.pairs)
        bounds = Judged("random", chance, is_bound=True), Judged("oracle", known, is_bound=True)
        self.judged = [bounds[0], *self.judged, bounds[1]]

    @property
    def strong_usd(self) -> float | None:
        """What the strong model alone costs a prompt; None where costs are not known."""
        costs = [pair.strong_usd for pair in self.pairs if pair.strong_usd is not None]
        return sum(costs) / len(costs) if costs else None

    @property
    def cheap_usd(self) -> float | None:
        """What the cheap model alone costs a prompt."""
        costs = [pair.cheap_usd for pair in self.pairs if pair.cheap_usd is not None]
        return sum(costs) / len(costs) if costs else None

    @property
    def qualities(self) -> tuple[float, float]:
        """The mean quality of the strong and of the cheap model."""
        count = len(self.pairs)
        return sum(pair.strong for pair in self.pairs) / count, sum(pair.cheap for pair in self.pairs) / count
