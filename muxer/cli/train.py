"""`muxer train`: teaches a signal on prompts with known answers, and keeps what it learned only if that is no worse."""

import argparse
import asyncio
import contextlib
import math
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from zlib import crc32

import msgspec
from msgspec import Struct

from muxer.cli.artefacts import settings_of
from muxer.cli.output import counted, print_error, print_json, print_note, progress_bar
from muxer.errors import InvalidRequest, MuxerError
from muxer.evaluation.curves import Ordered, measures
from muxer.evaluation.policies import scores
from muxer.evaluation.rows import Pair, Row, pairs, read_prices, read_rows
from muxer.interfaces import Context, Kind, Labelled, Signal, Trainable
from muxer.opener import Meters
from muxer.plugins import find_kinds
from muxer.upstream import open_client

LEAST_ROWS = 50
HELD_SHARE = 5  # one prompt in so many is held back
_STEPS = 1_000


class Compared(Struct, frozen=True):
    """How well what was learned and what it replaces rank prompts that were held back from both."""

    learned_from: int
    held: int
    before: float
    after: float
    is_worse: bool


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the words of the command."""
    parser.add_argument("data", type=Path, nargs="+", metavar="DATA", help="JSON lines, .gz too: prompt, models")
    parser.add_argument("--strong", required=True, metavar="MODEL", help="the dearer model, by its name in the data")
    parser.add_argument("--cheap", required=True, metavar="MODEL", help="the cheaper model")
    words = "where to write; it takes the place of what is there. `difficulty.model` beside routing.yaml is used"
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=words)
    parser.add_argument(
        "--signal", default="difficulty", metavar="NAME", help="the signal to teach; default: difficulty"
    )
    parser.add_argument("--plugin", metavar="PLUGIN", help="where the signal comes from; default: its own name")
    parser.add_argument("--prices", type=Path, metavar="FILE", help='JSON: {"MODEL": {"in": 2.5, "out": 10}, ...}')
    parser.add_argument("--force", action="store_true", help="keep it even if it is worse than what it replaces")
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Writes the artefact; 1 if it is worse than what it would replace, 2 if it cannot be made."""
    try:
        compared = asyncio.run(_train(arguments))
    except MuxerError as error:
        print_error(error)
        return 2
    except OSError as error:
        print_error(f"{error.filename}: {error.strerror}")
        return 2
    if arguments.json:
        print_json(msgspec.to_builtins(compared) | {"written": not compared.is_worse or arguments.force})
    else:
        print(f"learned from {counted(compared.learned_from, 'prompt')}; {compared.held:,} were held back")
        print(f"APGR on those: {compared.after:.3f}, before {compared.before:.3f}, by chance 0.5")
    if compared.is_worse and not arguments.force:
        print_error(
            f"{arguments.out} stays as it is: what was learned is worse than that; --force writes it all the same"
        )
        return 1
    print_note(f"written to {arguments.out}")
    return 0


async def _train(arguments: argparse.Namespace) -> Compared:
    kind = _kind(arguments.plugin or arguments.signal, arguments.signal)
    rows = [
        row for row in read_rows(arguments.data) if arguments.strong in row.models and arguments.cheap in row.models
    ]
    if len(rows) < LEAST_ROWS:
        raise InvalidRequest(f"{counted(len(rows), 'row')} with both models; training takes at least {LEAST_ROWS}")
    known = pairs(rows, arguments.strong, arguments.cheap, read_prices(arguments.prices) if arguments.prices else {})
    data = list(zip(rows, known, strict=True))
    held = [(row, pair) for row, pair in data if _is_held(row.prompt)]
    if not held:
        raise InvalidRequest("no prompt was held back to compare on: training takes more prompts")
    labelled = [Labelled(row.prompt, pair.strong, pair.cheap) for row, pair in data if not _is_held(row.prompt)]
    with tempfile.TemporaryDirectory() as folder, progress_bar(_STEPS, "learning") as advance:
        trial = Path(folder) / "trial"
        trial.write_bytes(await _fitted(kind, labelled, advance))
        before = await _apgr(kind, arguments.out if arguments.out.exists() else None, held)
        after = await _apgr(kind, trial, held)
        compared = Compared(len(labelled), len(held), before, after, is_worse=after < before)
        if arguments.force or not compared.is_worse:
            _replace(arguments.out, trial.read_bytes())
    return compared


def _is_held(prompt: str) -> bool:
    # By the prompt alone, so that a prompt held back now is held back from the next training too, which may then be
    # compared with this one.
    return crc32(prompt.encode("utf-8", "replace")) % HELD_SHARE == 0


def _kind(plugin: str, signal: str) -> Kind[Signal]:
    kinds = find_kinds([plugin], Path.cwd()).signals.values()
    kind = next((kind for kind in kinds if signal in kind.signals), None)
    if kind is None:
        raise InvalidRequest(f"plugin {plugin!r} has no signal {signal!r}")
    return kind


async def _fitted(kind: Kind[Signal], rows: Sequence[Labelled], advance: Callable[[int], None]) -> bytes:
    async with _opened(kind, None) as signal:
        if not isinstance(signal, Trainable):
            raise InvalidRequest(f"signal {kind.name}: it does not learn")
        return signal.fit(rows, lambda share: advance(round(_STEPS * share)))


async def _apgr(kind: Kind[Signal], artefact: Path | None, held: Sequence[tuple[Row, Pair]]) -> float:
    async with _opened(kind, artefact) as signal:
        values = scores([row for row, _ in held], signal, next(iter(kind.signals)), lambda more: None)
    value = measures(Ordered(values, [pair for _, pair in held]))["apgr"]
    if math.isnan(value):
        raise InvalidRequest("the two models are equally good on what was held back: there is nothing to learn")
    return value


@asynccontextmanager
async def _opened(kind: Kind[Signal], artefact: Path | None) -> AsyncIterator[Signal]:
    """The signal with an artefact, or with what it uses without one in a folder that has none."""
    async with open_client(max_connections=1) as http:
        with tempfile.TemporaryDirectory() as folder:
            context = Context(http=http, clock=lambda: 0.0, folder=Path(folder), log=_silent, meter=Meters())
            async with kind.open(settings_of(kind, artefact), context) as signal:
                yield signal


def _silent(level: str, event: str, **fields: object) -> None:
    return None


def _replace(path: Path, data: bytes) -> None:
    """Writes beside it and moves it there: a proxy that starts meanwhile reads the old file or the new one, whole."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
