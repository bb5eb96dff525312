"""A sink that appends finished records to a file, one JSON object a line, and starts a new file when one is full."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from muxer import ConfigInvalid, Context, Fault, Kind, Record, Sink, hookimpl, record_as_json

_encode = msgspec.json.Encoder().encode


class JsonlSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`path` is relative to routing.yaml. A file of `max_bytes` is renamed to `PATH.1`, that to `PATH.2` and so on;
    `keep` of those stay."""

    path: str = "requests.jsonl"
    max_bytes: Annotated[int, Meta(ge=1_000)] = 100_000_000
    keep: Annotated[int, Meta(ge=0)] = 5


class Jsonl:
    """Appends to one file, which several processes may share."""

    def __init__(self, path: Path, settings: JsonlSettings) -> None:
        self._path = path
        self._settings = settings

    async def write(self, records: Sequence[Record]) -> None:
        """See Sink. Raises OSError; then a repetition may write some lines a second time."""
        lines = b"".join(_encode(record_as_json(record)) + b"\n" for record in records)
        await asyncio.to_thread(self._append, lines)

    def _append(self, lines: bytes) -> None:
        # The lock has a file of its own: the one that is written to is renamed while others wait for it.
        with self._path.with_name(f"{self._path.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._make_room(len(lines))
            # Without a buffer, which would be written once more when the file is closed.
            with self._path.open("ab", buffering=0) as file:
                start, left = file.tell(), memoryview(lines)
                try:
                    while left:
                        left = left[file.write(left) :]
                except OSError:
                    os.truncate(self._path, start)  # a full disk takes half of a line
                    raise

    def _make_room(self, coming: int) -> None:
        size = self._path.stat().st_size if self._path.exists() else 0
        if not size or size + coming <= self._settings.max_bytes:
            return
        for number in range(self._settings.keep, 0, -1):
            older = self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))
        if not self._settings.keep:
            self._path.unlink()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path


@asynccontextmanager
async def open_jsonl(settings: JsonlSettings, context: Context) -> AsyncIterator[Sink]:
    """Raises ConfigInvalid for a file that cannot be written."""
    path = context.folder / settings.path
    try:
        with path.open("ab"):
            pass
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ConfigInvalid([Fault(f"{settings.path!r} cannot be written: {error}", path="sinks.path")]) from error
    yield Jsonl(path, settings)


@hookimpl
def register_sinks() -> list[Kind[Sink]]:
    """Offers the kind `jsonl`."""
    return [Kind("jsonl", JsonlSettings, open_jsonl)]
