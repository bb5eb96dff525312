"""What commands hand to the components that they open."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path

from muxer.interfaces import Context, Log
from muxer.opener import Meters
from muxer.upstream import open_client


def note_event(level: str, event: str, **fields: object) -> None:
    """A log for commands: what a person should know of it, on stderr."""
    if level in ("warning", "error"):
        words = f"{level}: {event}: {', '.join(f'{name} {value}' for name, value in fields.items())}"
        # What prints is imported when there is something to print: the server opens contexts too, and need not wait.
        import_module("muxer.cli.output").print_note(words)


def silent(level: str, event: str, **fields: object) -> None:
    """A log that nobody reads."""


def stopped() -> float:
    """A clock that stands: what is opened with it gives the same each time."""
    return 0.0


@asynccontextmanager
async def open_context(
    folder: Path, log: Log = note_event, clock: Callable[[], float] = time.time
) -> AsyncIterator[Context]:
    """A context whose measurements nobody takes; its HTTP client is closed with it."""
    async with open_client(max_connections=1) as http:
        yield Context(http=http, clock=clock, folder=folder, log=log, meter=Meters())
