"""`muxer usage --by branch`: both sides of each share beside each other."""

from collections.abc import AsyncIterator, Callable, Sequence
from decimal import Decimal

from muxer.branches import Comparison, Comparisons, Mean
from muxer.cli.output import NOTHING, Cell, Column, good, print_note, print_table, warned
from muxer.types import Record

_MEASURES = {"$ a request": ("usd", 1), "ms": ("ms", 1), "% failed": ("failed", 100)}
_SCORE = {"score": ("feedback", 1)}
_MORE_IS_BETTER = ("feedback",)


Style = Callable[[str], Cell]


async def compared(records: AsyncIterator[Record]) -> list[Comparison]:
    """The shares that these requests met, compared."""
    comparisons = Comparisons()
    async for record in records:
        comparisons.add(record)
    return comparisons.found


def print_comparisons(found: Sequence[Comparison]) -> None:
    """Prints a table for each share: who is in it, who is not, and what being in it changes."""
    for number, one in enumerate(found):
        if number:
            print()
        columns = [
            Column("", wraps=True),
            Column(one.route, wraps=True),
            Column(f"not {one.route}", wraps=True),
            Column("difference"),
            Column("95 % interval"),
        ]
        has_scores = one.inside.scored + one.outside.scored > 0
        counts: list[Sequence[Cell]] = [
            (name, f"{getattr(one.inside, name):,}", f"{getattr(one.outside, name):,}", "", "")
            for name in ("requests", "conversations", *(("scored",) if has_scores else ()))
        ]
        measures = _MEASURES | (_SCORE if has_scores else {})
        print_table(columns, [*counts, *(_row(one, title, *how) for title, how in measures.items())])
    print_note("coloured where the interval excludes 0; --json has the interval of each side")


def _row(one: Comparison, title: str, name: str, scale: int) -> Sequence[Cell]:
    inside, outside, change = (getattr(side, name) for side in (one.inside, one.outside, one))
    more, less = (good, warned) if name in _MORE_IS_BETTER else (warned, good)
    shown = _change(change, scale, more, less)
    return (title, _number(inside.value, scale), _number(outside.value, scale), *shown)


def _change(one: Mean, scale: int, more: Style, less: Style) -> tuple[Cell, Cell]:
    words = _number(one.value, scale, "+")
    if one.low is None or one.high is None:
        return words, "too few to tell"
    between = f"{_number(one.low, scale, '+')} to {_number(one.high, scale, '+')}"
    if one.low <= 0 <= one.high:
        return words, between
    style = more if one.low > 0 else less
    return style(words), style(between)


def _number(value: float | None, scale: int, sign: str = "") -> str:
    """Three digits that tell something, and no exponent."""
    return NOTHING if value is None else format(Decimal(f"{scale * value:.3g}"), f"{sign},f")
