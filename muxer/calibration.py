"""Expected costs against what was settled, by model: how far apart they were, and how often the one was enough."""

from array import array
from typing import Any

from muxer.money import usd
from muxer.types import Record

_QUANTILES = (0.1, 0.5, 0.9)


class Fit:
    """The requests of one model. `ratios` are settled for expected, one a request; `covered` counts those that cost no
    more than nine in ten were expected to, of `bounded` that had such a number."""

    def __init__(self) -> None:
        self.expected_nanos = self.settled_nanos = 0
        self.bounded = self.covered = 0
        self.ratios = array("d")

    def add(self, record: Record) -> None:
        """Counts a request that the model was expected to answer, and did."""
        self.expected_nanos += record.expected_nanos
        self.settled_nanos += record.cost_nanos
        self.ratios.append(record.cost_nanos / record.expected_nanos)
        if record.expected_high_nanos:
            self.bounded += 1
            self.covered += record.cost_nanos <= record.expected_high_nanos

    @property
    def requests(self) -> int:
        """How many there were; never 0."""
        return len(self.ratios)

    @property
    def ratio(self) -> float:
        """What was settled for each dollar that was expected."""
        return self.settled_nanos / self.expected_nanos

    @property
    def quantiles(self) -> tuple[float, float, float]:
        """The ratios that a tenth, half and nine tenths of the requests do not exceed."""
        ordered = sorted(self.ratios)
        low, middle, high = (ordered[min(len(ordered) - 1, int(part * len(ordered)))] for part in _QUANTILES)
        return low, middle, high

    @property
    def coverage(self) -> float | None:
        """The part of the requests that cost no more than nine in ten were expected to; 0.9 is right."""
        return self.covered / self.bounded if self.bounded else None


class Calibration:
    """Sorts finished requests by the model that was expected to answer them, and did."""

    def __init__(self) -> None:
        self._fits: dict[str, Fit] = {}
        self.left_out = 0

    def add(self, record: Record) -> None:
        """Counts a request. Left out is what says nothing of an estimate: what did not end well, what another model
        answered or nobody was asked for, what a cascade asked about again, what nobody knows the cost of, and what was
        expected to be free."""
        tries = record.attempts
        is_its_own = record.state == "done" and tries and tries[0].model == record.model and not tries[-1].is_check
        if is_its_own and not record.presumed_nanos and record.expected_nanos:
            self._fits.setdefault(record.model, Fit()).add(record)
        else:
            self.left_out += 1

    @property
    def found(self) -> dict[str, Fit]:
        """The models, those that most was spent at first."""
        return dict(sorted(self._fits.items(), key=lambda item: (-item[1].settled_nanos, item[0])))


def as_json(calibration: Calibration) -> dict[str, Any]:
    """The whole of it; dollars as exact decimal strings."""
    return {
        "models": [
            {
                "model": model,
                "requests": fit.requests,
                "expected_usd": usd(fit.expected_nanos),
                "settled_usd": usd(fit.settled_nanos),
                "ratio": fit.ratio,
                "quantiles": dict(zip(("p10", "p50", "p90"), fit.quantiles, strict=True)),
                "coverage": fit.coverage,
            }
            for model, fit in calibration.found.items()
        ],
        "left_out": calibration.left_out,
    }
