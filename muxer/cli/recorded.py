"""What the commands that read records share: which ones are meant, and the configured store that has them."""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from muxer.cli.configuration import add_config
from muxer.cli.contexts import open_context
from muxer.cli.words import duration
from muxer.config.settings import Configuration
from muxer.stores import Store

T = TypeVar("T")

_FILTERS = ("user", "model", "route")


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Declares the words that say which records, and in which store."""
    parser.add_argument("--since", type=duration, metavar="AGE", help="only the last 30m, 1h, 7d, ...; default: all")
    parser.add_argument("--user", help="only this user's")
    parser.add_argument("--model", help="only those this model served")
    parser.add_argument("--route", help="only those of this route")
    add_config(parser)


def since_s(arguments: argparse.Namespace, now: Callable[[], float] = time.time) -> float:
    """The Unix time of the oldest record meant."""
    return 0.0 if arguments.since is None else now() - arguments.since


def where(arguments: argparse.Namespace) -> dict[str, str]:
    """The values that the records meant have."""
    given = {name: getattr(arguments, name) for name in _FILTERS}
    return {name: value for name, value in given.items() if value is not None}


def fetch(configuration: Configuration, query: Callable[[Store], Awaitable[T]], otherwise: T) -> T:
    """What the query finds in the configured store, or `otherwise` when its file does not exist: none is made then.

    Raises ConfigInvalid and StoreUnavailable. A server that runs on the same store is not disturbed.
    """
    file = file_of(configuration)
    if file is not None and not file.exists():
        return otherwise
    return change(configuration, query)


def change(configuration: Configuration, work: Callable[[Store], Awaitable[T]]) -> T:
    """What the work on the configured store returns; a file that does not exist is made.

    Raises ConfigInvalid and StoreUnavailable. A server that runs on the same store is not disturbed.
    """
    return asyncio.run(_fetch(configuration, work))


def nothing_recorded(configuration: Configuration, arguments: argparse.Namespace) -> str:
    """Why there is nothing to show."""
    name = _path(configuration) or f"the {configuration.settings.store.kind} store"
    if where(arguments) or arguments.since is not None:
        return f"no request in {name} matches"
    return f"no requests recorded yet in {name}"


def file_of(configuration: Configuration) -> Path | None:
    """The file of the store, if it is kept in one."""
    path = _path(configuration)
    return None if path is None else configuration.folder / path


def _path(configuration: Configuration) -> str | None:
    """The file as it is named: by the convention that the setting is called `path`."""
    path = getattr(configuration.settings.store.settings, "path", None)
    return path if isinstance(path, str) else None


async def _fetch(configuration: Configuration, query: Callable[[Store], Awaitable[T]]) -> T:
    component = configuration.settings.store
    kind = configuration.kinds.stores[component.kind]
    async with open_context(configuration.folder) as context, kind.open(component.settings, context) as store:
        return await query(store)
