"""`muxer feedback import`: scores from a file into the records of the store."""

import argparse
import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from muxer.cli.configuration import read
from muxer.cli.output import counted, print_error, print_json, progress_bar
from muxer.cli.recorded import change, file_of
from muxer.errors import ConfigInvalid, Fault, InvalidRequest
from muxer.evaluation.rows import read_lines
from muxer.feedback import Score
from muxer.stores import KeepsFeedback, Store

_AT_ONCE = 500
_MOST_NAMED = 20


class Row(Struct, frozen=True):
    """A line of the file; what else it says is of no concern here."""

    request_id: str
    score: float


class Given(Struct, frozen=True):
    """The last score of a request, and the line it stands on."""

    score: float
    line: int


class Told(Struct, frozen=True):
    """What a file said: scores by request id, and what is wrong with the other lines."""

    scores: dict[str, Given]
    wrong: list[str]


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the words of the command."""
    parser.add_argument("action", choices=("import",))
    parser.add_argument("file", type=Path, metavar="FILE", help="JSON lines, .gz too: request_id, score (0 to 1)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: routing.yaml here, else the built-in one")
    parser.add_argument("--json", action="store_true", help="print what was taken and what was not as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Keeps the scores; 1 when some lines were wrong or their requests unknown."""
    configuration = read(arguments.config).configuration
    file = file_of(configuration)
    if file is not None and not file.exists():
        raise ConfigInvalid([Fault(f"no requests are recorded in {file.name}: no such file", path="store.path")])
    told = _read(arguments.file)
    with progress_bar(len(told.scores), "keeping scores") as advance:
        unknown = change(configuration, lambda store: _keep(store, told.scores, advance))
    wrong = [*told.wrong, *(f"{told.scores[id].line}: no request {id!r} is recorded" for id in unknown)]
    return _shown(arguments, len(told.scores) - len(unknown), wrong)


def _shown(arguments: argparse.Namespace, kept: int, wrong: Sequence[str]) -> int:
    named = [f"{arguments.file.name}:{words}" for words in wrong]
    if arguments.json:
        print_json({"kept": kept, "wrong": named})
    else:
        print(f"{counted(kept, 'score')} kept")
        for words in named[:_MOST_NAMED]:
            print_error(words)
        if len(named) > _MOST_NAMED:
            print_error(f"and {len(named) - _MOST_NAMED:,} more; --json has them all")
    return 1 if wrong else 0


def _read(path: Path) -> Told:
    told = Told({}, [])
    decode = msgspec.json.Decoder(Row).decode
    for number, line in read_lines(path):
        try:
            row = decode(line)
            given = msgspec.convert({"request_id": row.request_id, "score": row.score}, Score)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            told.wrong.append(f"{number}: {error}")
        else:
            told.scores[given.request_id] = Given(given.score, number)
    return told


async def _keep(store: Store, scores: Mapping[str, Given], advance: Callable[[int], None]) -> list[str]:
    """Keeps them all; the ids that no record has."""
    if not isinstance(store, KeepsFeedback):
        raise InvalidRequest("this kind of store keeps no feedback")
    unknown: list[str] = []
    every = list(scores.items())
    for first in range(0, len(every), _AT_ONCE):
        batch = every[first : first + _AT_ONCE]
        kept = await asyncio.gather(*(store.feedback(id, given.score) for id, given in batch))
        unknown += [id for (id, _), is_kept in zip(batch, kept, strict=True) if is_kept is not True]
        advance(len(batch))
    return unknown
