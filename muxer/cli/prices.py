"""`muxer prices`: where the price table comes from and how old it is, or what it says of one model."""

import argparse
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from difflib import get_close_matches

from muxer.cli.output import NOTHING, Cell, Column, counted, print_error, print_json, print_table, warned
from muxer.money import Price
from muxer.prices import ModelFacts, PriceTable, load_prices
from muxer.views import price_fields

_COLUMNS = (
    Column("model"),
    Column("input over", is_number=True),
    Column("in $/M", is_number=True),
    Column("out $/M", is_number=True),
    Column("cached in", is_number=True),
    Column("cache write", is_number=True, is_spare=True),
    Column("context", is_number=True, is_spare=True),
    Column("max out", is_number=True, is_spare=True),
    Column("can", is_spare=True),
    Column("retires", is_spare=True),
)

Facts = dict[str, ModelFacts]


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the words of the command."""
    words = "a model as VENDOR/NAME, or as NAME at every vendor: openai/gpt-4o, gpt-4o"
    parser.add_argument("model", nargs="?", metavar="MODEL", help=words)
    parser.add_argument("--json", action="store_true", help="print the same as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Prints the table's origin or a model's price; 1 when the model is not in it."""
    table = load_prices()
    if arguments.model is None:
        _print_origin(table, as_json=arguments.json)
        return 0
    found = _find(table, arguments.model)
    if not found:
        print_error(_unknown(table, arguments.model))
        return 1
    if arguments.json:
        print_json([_as_json(name, facts) for name, facts in found.items()])
        return 0
    print_table(_COLUMNS, [row for name, facts in found.items() for row in _rows(name, facts)])
    return 0


def _print_origin(table: PriceTable, *, as_json: bool, now: Callable[[], float] = time.time) -> None:
    age_days = (datetime.fromtimestamp(now(), UTC).date() - date.fromisoformat(table.date)).days
    if as_json:
        origin = {"source": table.source, "version": table.version, "date": table.date}
        print_json({**origin, "age_days": age_days, "models": table.count})
        return
    print(f"source   {table.source}")
    print(f"version  {table.version}")
    print(f"date     {table.date} ({counted(age_days, 'day')} ago)")
    print(f"models   {table.count:,}")


def _find(table: PriceTable, asked: str) -> Facts:
    """The model of that full name, or else those that end in it, each vendor's."""
    names = [name for name in table if name == asked] or [name for name in table if name.endswith(f"/{asked}")]
    # LiteLLM's names are the table's own.
    found = {name: table.facts("litellm", name) for name in names}
    return {name: facts for name, facts in found.items() if facts is not None}


def _unknown(table: PriceTable, asked: str) -> str:
    by_name = {name.rpartition("/")[2]: name for name in table}
    near = get_close_matches(asked, table, 3) or [by_name[name] for name in get_close_matches(asked, by_name, 3)]
    hint = f"did you mean {' or '.join(near)}?" if near else "a model in routing.yaml can say price_usd_per_million"
    return f"no price is known for {asked!r}; {hint}"


def _as_json(name: str, facts: ModelFacts) -> dict[str, object]:
    tiers = facts.price.tiers if facts.price else ()
    return {
        "model": name,
        "mode": facts.mode,
        "price_usd_per_million": price_fields(facts.price),
        "price_tiers": [
            {"above_input_tokens": tier.above_input_tokens, **(price_fields(Price(tier.rates)) or {})} for tier in tiers
        ],
        "context_tokens": facts.context_tokens,
        "max_output_tokens": facts.max_output_tokens,
        "can": None if facts.can is None else sorted(facts.can),
        "retires_on": facts.deprecated_on or None,
    }


def _rows(name: str, facts: ModelFacts) -> list[Sequence[Cell]]:
    """A line for the model, and one for each dearer tier of long inputs."""
    about = [
        f"{facts.context_tokens:,}" if facts.context_tokens else NOTHING,
        f"{facts.max_output_tokens:,}" if facts.max_output_tokens else NOTHING,
        NOTHING if facts.can is None else " ".join(sorted(facts.can)) or "text only",
        facts.deprecated_on or NOTHING,
    ]
    rows: list[Sequence[Cell]] = [[name, NOTHING, *_rates(facts.price), *about]]
    for tier in facts.price.tiers if facts.price else ():
        rows.append(["", f"{tier.above_input_tokens:,}", *_rates(Price(tier.rates)), *[""] * len(about)])
    return rows


def _rates(price: Price | None) -> list[Cell]:
    fields = price_fields(price)
    if fields is None:
        return [warned("unknown"), warned("unknown"), NOTHING, NOTHING]
    return [fields[name] for name in ("input", "output", "cached_input", "cache_write")]
