"""`muxer requests`: what was recorded, the newest first, or one record in full."""

import argparse
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime

from rich.text import Text

from muxer.cli.configuration import read
from muxer.cli.output import NOTHING, Cell, Column, bad, good, print_error, print_json, print_note, print_table, warned
from muxer.cli.recorded import add_filters, fetch, nothing_recorded, since_s, where
from muxer.config.settings import Configuration
from muxer.money import usd
from muxer.records import as_json
from muxer.stores import Store
from muxer.types import Record

_COLUMNS = (
    Column("time (UTC)"),
    Column("id"),
    Column("model", is_spare=True),
    Column("route", is_spare=True),
    Column("user", is_spare=True),
    Column("state"),
    Column("in", is_number=True, is_spare=True),
    Column("out", is_number=True, is_spare=True),
    Column("cost $", is_number=True),
    Column("ms", is_number=True, is_spare=True),
    Column("error", is_spare=True),
)


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the words of the command."""
    parser.add_argument("id", nargs="?", metavar="ID", help="show this record in full (x-muxer-request-id)")
    add_filters(parser)
    parser.add_argument("--limit", type=_limit, default=50, metavar="N", help="at most so many (default: 50)")
    parser.add_argument("--json", action="store_true", help="print the records in full as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Prints the records; 1 when the one asked for is not there."""
    configuration = read(arguments.config).configuration
    if arguments.id is not None:
        return _show_one(configuration, arguments)
    records = fetch(configuration, lambda store: _records(store, arguments), list[Record]())
    if arguments.json:
        print_json([as_json(record) for record in records])
    elif not records:
        print(nothing_recorded(configuration, arguments))
    else:
        _print_records(records, arguments.limit)
    return 0


def _limit(words: str) -> int:
    if not (words.isascii() and words.isdigit() and int(words) > 0):
        raise argparse.ArgumentTypeError(f"{words!r} is no number from 1")
    return int(words)


def _show_one(configuration: Configuration, arguments: argparse.Namespace) -> int:
    record = fetch(configuration, lambda store: store.record(arguments.id), None)
    if record is None:
        print_error(f"no request {arguments.id!r} is recorded; `muxer requests` lists the newest")
        return 1
    print_json(as_json(record))
    return 0


async def _records(store: Store, arguments: argparse.Namespace) -> list[Record]:
    found = store.records(since_s(arguments), where(arguments), arguments.limit)
    return [record async for record in found]


def _print_records(records: Sequence[Record], limit: int, now: Callable[[], float] = time.time) -> None:
    today = datetime.fromtimestamp(now(), UTC).date()
    rows = [_row(record, today) for record in records]
    print_table(_COLUMNS if any(record.error for record in records) else _COLUMNS[:-1], rows)
    if len(records) == limit:
        print_note(f"the newest {limit}; --limit N shows more, `muxer requests ID` one in full")


def _row(record: Record, today: date) -> list[Cell]:
    at = datetime.fromtimestamp(record.at, UTC)
    return [
        at.strftime("%H:%M:%S" if at.date() == today else "%m-%d %H:%M"),
        record.id,
        record.model or NOTHING,
        record.route or NOTHING,
        record.user,
        _state(record),
        f"{record.usage.input_tokens:,}",
        f"{record.usage.output_tokens:,}",
        usd(record.cost_nanos),
        f"{record.ms:,.0f}",
        record.error or NOTHING,
    ]


def _state(record: Record) -> Text:
    if record.state == "failed":
        return bad(f"failed {record.status}")
    return good(record.state) if record.state == "done" else warned(record.state)
