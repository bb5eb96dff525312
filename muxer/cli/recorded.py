"""What the commands that read records share: which ones are meant, and the configured store that has them."""

import argparse
import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from muxer.cli.output import print_note
from muxer.config.settings import Configuration
from muxer.interfaces import Context
from muxer.opener import Meters
from muxer.stores import Store
from muxer.upstream import open_client

T = TypeVar("T")

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_FILTERS = ("user", "model", "route")


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Declares the words that say which records, and in which store."""
    parser.add_argument("--since", type=duration, metavar="AGE", help="only the last 30m, 1h, 7d, ...; default: all")
    parser.add_argument("--user", help="only this user's")
    parser.add_argument("--model", help="only those this model served")
    parser.add_argument("--route", help="only those of this route")
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: routing.yaml here, else the built-in one")


def duration(words: str) -> int:
    """The seconds of `30m`, `1h` or `7d`."""
    found = re.fullmatch(r"([0-9]{1,6})([smhdw])", words)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"{words!r} is no duration: write a number and one of s, m, h, d, w, such as 30m, 1h or 7d"
        )
    return int(found[1]) * _SECONDS[found[2]]


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
    async with _open_store(configuration) as store:
        return await query(store)


@asynccontextmanager
async def _open_store(configuration: Configuration) -> AsyncIterator[Store]:
    component = configuration.settings.store
    async with open_client(max_connections=1) as http:
        context = Context(http=http, clock=time.time, folder=configuration.folder, log=note_event, meter=Meters())
        async with configuration.kinds.stores[component.kind].open(component.settings, context) as store:
            yield store


def note_event(level: str, event: str, **fields: object) -> None:
    """A log for commands: what a person should know of it, on stderr."""
    if level in ("warning", "error"):
        print_note(f"{level}: {event}: {', '.join(f'{name} {value}' for name, value in fields.items())}")
