"""`muxer usage --calibration`: expected costs against settled ones, by model."""

from collections.abc import AsyncIterator

from muxer.calibration import Calibration
from muxer.cli.output import NOTHING, Column, counted, print_note, print_table
from muxer.money import usd
from muxer.types import Record

_COLUMNS = (
    Column("model"),
    Column("requests", is_number=True),
    Column("expected $", is_number=True),
    Column("settled $", is_number=True),
    Column("ratio", is_number=True),
    Column("p10", is_number=True, is_spare=True),
    Column("p50", is_number=True, is_spare=True),
    Column("p90", is_number=True, is_spare=True),
    Column("covered", is_number=True),
)


async def calibrated(records: AsyncIterator[Record]) -> Calibration:
    """How well the cost of these requests was expected."""
    calibration = Calibration()
    async for record in records:
        calibration.add(record)
    return calibration


def print_calibration(calibration: Calibration) -> None:
    """Prints a row for each model."""
    rows = [
        (
            model,
            f"{fit.requests:,}",
            usd(fit.expected_nanos),
            usd(fit.settled_nanos),
            *(f"{ratio:.2f}" for ratio in (fit.ratio, *fit.quantiles)),
            NOTHING if fit.coverage is None else f"{100 * fit.coverage:.0f} %",
        )
        for model, fit in calibration.found.items()
    ]
    print_table(_COLUMNS, rows)
    print_note("ratio: settled for expected, of all and of single requests; covered: within the cost of 9 in 10")
    if calibration.left_out:
        print_note(
            f"{counted(calibration.left_out, 'request')} left out: not answered by the model asked first, or free"
        )
