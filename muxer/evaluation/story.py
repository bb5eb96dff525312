"""What an evaluation found, for whoever prints or draws it."""

import msgspec
from msgspec import Struct

from muxer.evaluation.curves import Metrics, Ordered
from muxer.evaluation.policies import Chosen
from muxer.evaluation.rows import Pair


class Judged(Struct):
    """One order of the prompts with its measures and their 95 % intervals."""

    name: str
    ordered: Ordered
    measures: Metrics = msgspec.field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = msgspec.field(default_factory=dict)


class Story(Struct):
    """The two models, their answers, what was judged, and what the rules of a file chose."""

    strong: str
    cheap: str
    pairs: list[Pair]
    judged: list[Judged] = msgspec.field(default_factory=list)
    policy: Chosen | None = None

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
