"""Dollars and shares as people read them: as many digits as tell something."""

from collections.abc import Callable

from muxer.money import NANOS_PER_USD
from muxer.replay.tally import Sum


def dollars(largest: Sum) -> Callable[[int], str]:
    """Writes nano-dollars with as many decimals as the largest sum of them needs."""
    most = max(largest.before_nanos, largest.after_nanos) / NANOS_PER_USD
    decimals = 2 if most >= 100 else 4 if most >= 1 else 6
    return lambda nanos: f"{nanos / NANOS_PER_USD:,.{decimals}f}"


def change_words(one: Sum) -> str:
    """`-12.3 %`; what cost nothing before has no share."""
    change = one.change
    if change is None:
        return "new"
    if one.change_nanos and abs(change) < 0.0005:
        return "-0.0 %" if change < 0 else "+0.0 %"
    return f"{100 * change:+.1f} %" if change else "0.0 %"


def percent(share: float) -> str:
    """A share as it is written: one decimal, and none of a whole number."""
    return f"{round(100 * share, 1):g} %"
