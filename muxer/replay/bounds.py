"""How much may change before a replay says no."""

from msgspec import Struct

from muxer.replay.amounts import percent
from muxer.replay.tally import Sum


class Bounds(Struct, frozen=True):
    """The most that may change, as shares (0.05 is 5 %); None: as much as it likes."""

    cost_increase: float | None = None
    moved: float | None = None

    def passed(self, total: Sum) -> list[str]:
        """What is over its bound, a sentence each."""
        found = []
        change = total.change
        if self.cost_increase is not None and (change is None or change > self.cost_increase):
            risen = "costs something that cost nothing" if change is None else f"costs {percent(change)} more"
            found.append(f"it {risen}; --max-cost-increase allows {percent(self.cost_increase)}")
        moved = total.moved / total.requests if total.requests else 0.0
        if self.moved is not None and moved > self.moved:
            found.append(f"{percent(moved)} of the requests move; --max-moved allows {percent(self.moved)}")
        return found
