"""`muxer models`: what callers may name, who serves it, what it costs, and whether it can be asked now."""

import argparse
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.text import Text

from muxer.catalog import Catalog, Group, Model, build_catalog
from muxer.cli.configuration import read
from muxer.cli.output import NOTHING, Cell, Column, bad, good, print_json, print_table, warned
from muxer.views import price_fields

_COLUMNS = (
    Column("name"),
    Column("provider"),
    Column("upstream", is_spare=True),
    Column("in $/M", is_number=True),
    Column("out $/M", is_number=True),
    Column("available", wraps=True),
    Column("context", is_number=True, is_spare=True),
    Column("can", is_spare=True),
)
_RETIRES = Column("retires")


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the words of the command."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: routing.yaml here, else the built-in one")
    parser.add_argument("--json", action="store_true", help="print a list of the models and groups as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Prints the models."""
    loaded = read(arguments.config)
    catalog = build_catalog(loaded.configuration.settings, loaded.table)
    if arguments.json:
        print_json([_as_json(model) for model in catalog.models.values()] + _groups_as_json(catalog))
        return 0
    _print_models(catalog, datetime.fromtimestamp(time.time(), UTC).date().isoformat())
    return 0


def _as_json(model: Model) -> dict[str, object]:
    return {
        "name": model.name,
        "provider": model.provider,
        "upstream": model.upstream,
        "price_usd_per_million": price_fields(model.price),
        "context_tokens": model.context_tokens,
        "max_output_tokens": model.max_output_tokens,
        "can": None if model.can is None else sorted(model.can),
        "available": not model.unavailable,
        "reason": model.unavailable or None,
        "retires_on": model.deprecated_on or None,
    }


def _groups_as_json(catalog: Catalog) -> list[dict[str, object]]:
    return [{"name": name, "use": group.use, "order": group.order} for name, group in catalog.groups.items()]


def _print_models(catalog: Catalog, today: str) -> None:
    any_retires = any(model.deprecated_on for model in catalog.models.values())
    columns = [*_COLUMNS, _RETIRES] if any_retires else list(_COLUMNS)
    rows = [_row(model, today) for model in catalog.models.values()]
    rows += [_group_row(name, group, catalog) for name, group in catalog.groups.items()]
    print_table(columns, rows)


def _row(model: Model, today: str) -> list[Cell]:
    price = price_fields(model.price)
    return [
        model.name,
        model.provider,
        model.upstream,
        price["input"] if price else warned("unknown"),
        price["output"] if price else warned("unknown"),
        warned(f"no: {model.unavailable}") if model.unavailable else good("yes"),
        f"{model.context_tokens:,}" if model.context_tokens else NOTHING,
        NOTHING if model.can is None else " ".join(sorted(model.can)) or "text only",
        _retires(model.deprecated_on, today),
    ]


def _group_row(name: str, group: Group, catalog: Catalog) -> list[Cell]:
    is_available = any(model in catalog and not catalog.models[model].unavailable for model in _members(group, catalog))
    return [
        name,
        NOTHING,
        f"{', '.join(group.use)} ({group.order})",
        NOTHING,
        NOTHING,
        good("yes") if is_available else warned("no: none of its models is"),
        NOTHING,
        NOTHING,
        NOTHING,
    ]


def _members(group: Group, catalog: Catalog) -> Sequence[str]:
    """The models a group leads to, through the groups in it."""
    found: list[str] = []
    for name in group.use:
        found += _members(catalog.groups[name], catalog) if name in catalog.groups else [name]
    return found


def _retires(date: str, today: str) -> str | Text:
    if not date:
        return NOTHING
    return bad(f"retired {date}") if date <= today else warned(date)
