"""`muxer usage`: spend and tokens, summed up by who, what or when."""

import argparse
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from muxer import branches, calibration
from muxer.branches import Comparison
from muxer.calibration import Calibration
from muxer.cli.branches import compared, print_comparisons
from muxer.cli.calibration import calibrated, print_calibration
from muxer.cli.configuration import read
from muxer.cli.output import NOTHING, Column, print_csv, print_error, print_json, print_table
from muxer.cli.recorded import add_filters, fetch, nothing_recorded, since_s, where
from muxer.config.settings import Configuration
from muxer.money import usd
from muxer.stores import Summary
from muxer.types import Record

T = TypeVar("T")

_FIELDS = ("user", "team", "key", "route", "model", "provider", "day", "state")
_TITLES = {
    "requests": "requests",
    "input_tokens": "in",
    "cached_input_tokens": "cached in",
    "output_tokens": "out",
    "spent_usd": "spent $",
    "held_usd": "held $",
    "presumed_usd": "presumed $",
}
_BRANCH = "branch"
_RARE = ("cached_input_tokens", "held_usd", "presumed_usd")  # not worth a column where all of it is zero


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the words of the command."""
    words = f"what to sum up by: one or more of {', '.join(_FIELDS)}; days are in UTC; or branch alone, to "
    words += "compare both sides of each route with a share (default: model)"
    subjects = parser.add_mutually_exclusive_group()
    subjects.add_argument("--by", type=_fields, default=["model"], metavar="FIELD,...", help=words)
    words = "expected costs against settled ones, by model"
    subjects.add_argument("--calibration", action="store_true", help=words)
    add_filters(parser)
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print a list of the groups as JSON")
    forms.add_argument("--csv", action="store_true", help="print the groups as comma-separated values")


def run(arguments: argparse.Namespace) -> int:
    """Prints the sums, or what they are compared with."""
    by: list[str] = arguments.by
    special = _calibrate if arguments.calibration else _compare if by == [_BRANCH] else None
    if special is not None and arguments.csv:
        print_error("only sums have --csv; take --json")
        return 2
    return _sum_up(arguments, by) if special is None else special(arguments)


def _sum_up(arguments: argparse.Namespace, by: list[str]) -> int:
    configuration = read(arguments.config).configuration
    begin_s, wanted = since_s(arguments), where(arguments)
    rows = fetch(configuration, lambda store: store.summary(by, begin_s, wanted), list[Summary]())
    if "day" in by:
        rows.sort(key=lambda row: [row.group[field] for field in by])
    if arguments.json:
        print_json([_as_json(row) for row in rows])
    elif arguments.csv:
        print_csv([*by, *_TITLES], [[*row.group.values(), *_numbers(row).values()] for row in rows])
    elif not rows:
        print(nothing_recorded(configuration, arguments))
    else:
        _print_sums(by, rows)
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    """Prints both sides of each share."""
    configuration = read(arguments.config).configuration
    found = _told(configuration, arguments, compared, list[Comparison]())
    if arguments.json:
        print_json(branches.as_json(found))
    elif found:
        print_comparisons(found)
    else:
        print("no request met a route with a share")
    return 0


def _calibrate(arguments: argparse.Namespace) -> int:
    """Prints how well costs were expected."""
    configuration = read(arguments.config).configuration
    found = _told(configuration, arguments, calibrated, Calibration())
    if arguments.json:
        print_json(calibration.as_json(found))
    elif found.found:
        print_calibration(found)
    else:
        print(nothing_recorded(configuration, arguments))
    return 0


def _told(
    configuration: Configuration,
    arguments: argparse.Namespace,
    tell: Callable[[AsyncIterator[Record]], Awaitable[T]],
    otherwise: T,
) -> T:
    """What the records that are meant tell."""
    begin_s, wanted = since_s(arguments), where(arguments)
    return fetch(configuration, lambda store: tell(store.records(begin_s, wanted, sys.maxsize)), otherwise)


def _fields(words: str) -> list[str]:
    fields = list(dict.fromkeys(word.strip() for word in words.split(",")))
    if fields == [_BRANCH]:
        return fields
    unknown = [field for field in fields if field not in _FIELDS]
    if unknown:
        raise argparse.ArgumentTypeError(f"cannot sum up by {unknown[0]!r}; known: {', '.join(_FIELDS)}")
    return fields


def _numbers(row: Summary) -> dict[str, int | str]:
    return {
        "requests": row.requests,
        "input_tokens": row.input_tokens,
        "cached_input_tokens": row.cached_input_tokens,
        "output_tokens": row.output_tokens,
        "spent_usd": usd(row.cost_nanos),
        "held_usd": usd(row.held_nanos),
        "presumed_usd": usd(row.presumed_nanos),
    }


def _as_json(row: Summary) -> dict[str, object]:
    """A group with the names that `/user/stats` has."""
    numbers = _numbers(row)
    tokens = {name: numbers.pop(f"{name}_tokens") for name in ("input", "cached_input", "output")}
    return {**row.group, "requests": numbers.pop("requests"), "tokens": tokens, **numbers}


def _print_sums(by: Sequence[str], rows: Sequence[Summary]) -> None:
    all_of_it = _numbers(_total(rows))
    shown = [name for name in _TITLES if name not in _RARE or all_of_it[name] not in (0, "0")]
    columns = [*map(Column, by), *(Column(_TITLES[name], is_number=True) for name in shown)]
    cells = [[*(row.group[field] or NOTHING for field in by), *_written(row, shown)] for row in rows]
    total = ["total", *[""] * (len(by) - 1), *_written(_total(rows), shown)]
    print_table(columns, cells, total if len(rows) > 1 else ())


def _written(row: Summary, names: Sequence[str]) -> list[str]:
    numbers = _numbers(row)
    return [f"{number:,}" if isinstance(number := numbers[name], int) else number for name in names]


def _total(rows: Sequence[Summary]) -> Summary:
    return Summary(
        group={},
        requests=sum(row.requests for row in rows),
        input_tokens=sum(row.input_tokens for row in rows),
        cached_input_tokens=sum(row.cached_input_tokens for row in rows),
        output_tokens=sum(row.output_tokens for row in rows),
        cost_nanos=sum(row.cost_nanos for row in rows),
        held_nanos=sum(row.held_nanos for row in rows),
        presumed_nanos=sum(row.presumed_nanos for row in rows),
    )
