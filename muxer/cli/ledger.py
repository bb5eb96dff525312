"""`muxer ledger`: spend that is presumed because nobody knows what it cost, the operator's word on it, and whether the
accounts hold together."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from muxer.cli.configuration import read
from muxer.cli.output import Cell, Column, print_error, print_json, print_table
from muxer.cli.recorded import fetch
from muxer.errors import ConfigInvalid, Fault
from muxer.money import nanos, usd
from muxer.records import as_json
from muxer.stores import Examines, Resolves, Store
from muxer.types import Record

_COLUMNS = (
    Column("time (UTC)"),
    Column("id"),
    Column("user", is_spare=True),
    Column("model"),
    Column("state"),
    Column("presumed $", is_number=True),
)
MOST = 1000


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the words of the command."""
    parser.add_argument("action", nargs="?", choices=("list", "resolve", "check"), default="list")
    parser.add_argument("id", nargs="?", metavar="ID", help="the request to resolve (x-muxer-request-id)")
    parser.add_argument("--cost", type=_dollars, metavar="USD", help="what it cost by the provider's bill; 0: nothing")
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: routing.yaml here, else the built-in one")
    parser.add_argument("--json", action="store_true", help="print the records in full as JSON")


def _dollars(words: str) -> int:
    try:
        amount = nanos(Decimal(words))
    except (InvalidOperation, ValueError, OverflowError):
        amount = -1
    if amount < 0:
        raise argparse.ArgumentTypeError(f"{words!r} is no amount in dollars, such as 0.0123")
    return amount


def run(arguments: argparse.Namespace) -> int:
    """Lists, resolves or checks; 1 when nothing is presumed for the request named or the check finds something."""
    if arguments.action == "resolve" and (arguments.id is None or arguments.cost is None):
        print_error("say which and what: muxer ledger resolve ID --cost 0.0123")
        return 2
    configuration = read(arguments.config).configuration
    if arguments.action == "resolve":
        resolved = fetch(configuration, lambda store: _able(store).resolve(arguments.id, arguments.cost), False)
        return _told(arguments, resolved=resolved)
    if arguments.action == "check":
        return _checked(arguments, fetch(configuration, lambda store: _examining(store).examine(), list[str]()))
    records = fetch(configuration, lambda store: _able(store).presumed(MOST), list[Record]())
    if arguments.json:
        print_json([as_json(record) for record in records])
    elif not records:
        print("nothing is presumed: the cost of every request is known")
    else:
        _print(records)
    return 0


def _able(store: Store) -> Resolves:
    if not isinstance(store, Resolves):
        raise ConfigInvalid([Fault("this kind of store cannot list presumed spend", path="store.kind")])
    return store


def _examining(store: Store) -> Examines:
    if not isinstance(store, Examines):
        raise ConfigInvalid([Fault("this kind of store cannot be checked from here", path="store.kind")])
    return store


def _checked(arguments: argparse.Namespace, faults: Sequence[str]) -> int:
    if arguments.json:
        print_json({"ok": not faults, "faults": list(faults)})
    elif not faults:
        print("the store's accounts hold together")
    else:
        for fault in faults:
            print_error(fault)
    return 1 if faults else 0


def _told(arguments: argparse.Namespace, *, resolved: bool) -> int:
    if resolved:
        print(f"{arguments.id} cost ${usd(arguments.cost)}")
        return 0
    print_error(f"nothing is presumed for {arguments.id}; muxer ledger lists what is")
    return 1


def _print(records: Sequence[Record]) -> None:
    rows: list[list[Cell]] = [
        [
            datetime.fromtimestamp(record.at, UTC).strftime("%Y-%m-%d %H:%M:%S"),
            record.id,
            record.user,
            record.model,
            record.state,
            usd(record.presumed_nanos),
        ]
        for record in records
    ]
    print_table(_COLUMNS, rows)
    total = usd(sum(record.presumed_nanos for record in records))
    print(f"${total} presumed. Look each up in the provider's bill, then: muxer ledger resolve ID --cost USD")
