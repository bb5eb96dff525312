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
from muxer.cli.contexts import open_context, silent, stopped
from muxer.cli.lessons import Told, log_named, told
from muxer.cli.output import counted, print_error, print_json, print_note, progress_bar
from muxer.cli.recorded import since_s
from muxer.cli.words import duration
from muxer.errors import InvalidRequest
from muxer.evaluation.curves import Ordered, measures
from muxer.evaluation.judged import choices, lift
from muxer.evaluation.policies import scores
from muxer.evaluation.reliability import groups
from muxer.evaluation.report import report
from muxer.evaluation.rows import Pair, Row, pairs, read_prices, read_rows, rows_with
from muxer.evaluation.story import Story
from muxer.interfaces import Kind, Labelled, Signal, Trainable
from muxer.lessons import LearnsLater, Lesson
from muxer.plugins import find_kinds

LEAST_ROWS = 50
LEAST_OF_A_SIDE = 10
HELD_SHARE = 5  # one prompt in so many is held back
_STEPS = 1_000


class Evidence(Struct, frozen=True):
    """Prompts: with answers of both models, and as records keep them, with the answer of one."""

    rows: list[tuple[Row, Pair]]
    lessons: list[Lesson]

    @property
    def count(self) -> int:
        """How many."""
        return len(self.rows) + len(self.lessons)

    @property
    def pairs(self) -> list[Pair]:
        """All as choices between two models, the rows first; of records the costs are not known, so of none then."""
        known = [pair for _, pair in self.rows]
        return [*(Pair(pair.strong, pair.cheap) for pair in known), *choices(self.lessons)] if self.lessons else known


class Compared(Struct, frozen=True):
    """How well what was learned and what it replaces rank prompts that were held back from both: by `apgr`, or where
    records are among them by the `lift` in quality."""

    learned_from: int
    held: int
    measure: str
    before: float
    after: float
    is_worse: bool
    records: Told | None = None


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the words of the command."""
    parser.add_argument("data", type=Path, nargs="*", metavar="DATA", help="JSON lines, .gz too: prompt, models")
    words = "learn from requests with feedback, too: a muxer.db, or the routing.yaml of another store"
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help=words)
    parser.add_argument("--since", type=duration, metavar="AGE", help="of those, only the last 30m, 1h, 7d, ...")
    words = "the dearer model, by its name in the data; of several (a,b) the first one there, and records of each"
    parser.add_argument("--strong", type=_names, required=True, metavar="MODEL", help=words)
    parser.add_argument("--cheap", type=_names, required=True, metavar="MODEL", help="the cheaper model, the same way")
    words = "where to write; it takes the place of what is there. `difficulty.model` beside routing.yaml is used"
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=words)
    parser.add_argument(
        "--signal", default="difficulty", metavar="NAME", help="the signal to teach; default: difficulty"
    )
    parser.add_argument("--plugin", metavar="PLUGIN", help="where the signal comes from; default: its own name")
    parser.add_argument("--prices", type=Path, metavar="FILE", help='JSON: {"MODEL": {"in": 2.5, "out": 10}, ...}')
    parser.add_argument("--force", action="store_true", help="keep it even if it is worse than what it replaces")
    words = "write a page: quality over cost, chances against what happened, and dollars, on what was held back"
    parser.add_argument("--report", type=Path, metavar="FILE", help=words)
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")


def _names(words: str) -> list[str]:
    return [word.strip() for word in words.split(",")]


def run(arguments: argparse.Namespace) -> int:
    """Writes the artefact; 1 if it is worse than what it would replace."""
    if not arguments.data and arguments.source is None:
        print_error("nothing to learn from: name files with answers of both models, or records with --from")
        return 2
    compared = asyncio.run(_train(arguments))
    if arguments.json:
        print_json(_as_json(compared) | {"written": not compared.is_worse or arguments.force})
    else:
        _print(compared)
    if compared.is_worse and not arguments.force:
        print_error(
            f"{arguments.out} stays as it is: what was learned is worse than that; --force writes it all the same"
        )
        return 1
    print_note(f"written to {arguments.out}")
    return 0


def _as_json(compared: Compared) -> dict[str, object]:
    found: dict[str, object] = msgspec.to_builtins(compared)
    told = compared.records
    if told is not None:
        counts: dict[str, object] = msgspec.to_builtins(told)
        found["records"] = counts | {"lessons": len(told.lessons)}
    return found


def _print(compared: Compared) -> None:
    told = compared.records
    if told is not None:
        print(f"{counted(told.scored, 'record')} with a score, of which {len(told.lessons):,} can be learned from")
        for count, why in (
            (told.of_other_models, "of other models"),
            (told.without_features, "without features: `learn: true` on their route keeps them"),
            (told.hashed_otherwise, "with features of another version"),
        ):
            if count:
                print_note(f"left out: {count:,} {why}")
    print(f"learned from {counted(compared.learned_from, 'prompt')}; {compared.held:,} were held back")
    if compared.measure == "apgr":
        print(f"APGR on those: {compared.after:.3f}, before {compared.before:.3f}, by chance 0.5")
    else:
        print(f"quality above chance on those: {compared.after:+.3f}, before {compared.before:+.3f}")


async def _train(arguments: argparse.Namespace) -> Compared:
    kind = _kind(arguments.plugin or arguments.signal, arguments.signal)
    for file in (arguments.out, arguments.report):
        # Before the work, not after it.
        if file is not None and not file.parent.is_dir():
            raise InvalidRequest(f"{file}: there is no folder {file.parent}")
    told = None if arguments.source is None else await _told(arguments, kind)
    learned, held = _split(_rows(arguments), told.lessons if told else [])
    _check(arguments, learned, held)
    with tempfile.TemporaryDirectory() as folder, progress_bar(_STEPS, "learning") as advance:
        trial = Path(folder) / "trial"
        trial.write_bytes(await _fitted(kind, learned, advance))
        before = await _measured(kind, arguments.out if arguments.out.exists() else None, held)
        after = await _measured(kind, trial, held)
        compared = Compared(
            learned_from=learned.count,
            held=held.count,
            measure="lift" if held.lessons else "apgr",
            before=before,
            after=after,
            is_worse=after < before,
            records=told,
        )
        if arguments.report is not None:
            page = await _report(arguments, kind, trial, learned.count, held)
            arguments.report.write_text(page, encoding="utf-8")
        if arguments.force or not compared.is_worse:
            _replace(arguments.out, trial.read_bytes())
    return compared


def _rows(arguments: argparse.Namespace) -> list[tuple[Row, Pair]]:
    """The rows of the files that have both models."""
    strong, cheap = arguments.strong[0], arguments.cheap[0]
    rows = rows_with(read_rows(arguments.data), strong, cheap) if arguments.data else []
    prices = read_prices(arguments.prices) if arguments.prices else {}
    return list(zip(rows, pairs(rows, strong, cheap, prices), strict=True))


async def _told(arguments: argparse.Namespace, kind: Kind[Signal]) -> Told:
    log, begin_s = log_named(arguments.source), since_s(arguments)
    async with _opened(kind, None) as signal:
        if not isinstance(signal, LearnsLater):
            raise InvalidRequest(f"signal {kind.name}: it does not learn from records")
        return await told(log, begin_s, arguments.strong, arguments.cheap, kind.name, signal)


def _split(rows: Sequence[tuple[Row, Pair]], lessons: Sequence[Lesson]) -> tuple[Evidence, Evidence]:
    """What is learned from, and what is held back. That is told by the prompt or its features alone, so that one held
    back now is held back from the next training too, which may then be compared with this one."""
    rows_held, lessons_held = [_is_held(row.prompt) for row, _ in rows], [_is_held(one.features) for one in lessons]
    learned, held = (
        Evidence(
            rows=[row for row, is_held in zip(rows, rows_held, strict=True) if is_held is side],
            lessons=[one for one, is_held in zip(lessons, lessons_held, strict=True) if is_held is side],
        )
        for side in (False, True)
    )
    return learned, held


def _is_held(words: str) -> bool:
    return crc32(words.encode("utf-8", "replace")) % HELD_SHARE == 0


def _check(arguments: argparse.Namespace, learned: Evidence, held: Evidence) -> None:
    """Raises InvalidRequest for what is too little to learn from, or to compare on."""
    rows, lessons = len(learned.rows) + len(held.rows), [*learned.lessons, *held.lessons]
    if rows + len(lessons) < LEAST_ROWS:
        of_records = f" and {counted(len(lessons), 'record')} with a score and features" if arguments.source else ""
        raise InvalidRequest(
            f"{counted(rows, 'row')} with both models{of_records}; training takes at least {LEAST_ROWS}"
        )
    if not held.count:
        raise InvalidRequest("no prompt was held back to compare on: training takes more prompts")
    if not lessons:
        return
    for names, is_strong in ((arguments.strong, True), (arguments.cheap, False)):
        found = sum(one.is_strong is is_strong for one in lessons)
        is_in_both = all(any(one.is_strong is is_strong for one in part.lessons) for part in (learned, held))
        if found < LEAST_OF_A_SIDE or not is_in_both:
            raise InvalidRequest(
                f"{counted(found, 'record')} with a score of {' or '.join(names)}; training takes at least "
                f"{LEAST_OF_A_SIDE} of each side: let both answer prompts of the same kind, by a route with a share"
            )


def _kind(plugin: str, signal: str) -> Kind[Signal]:
    kinds = find_kinds([plugin], Path.cwd()).signals.values()
    kind = next((kind for kind in kinds if signal in kind.signals), None)
    if kind is None:
        raise InvalidRequest(f"plugin {plugin!r} has no signal {signal!r}")
    return kind


async def _fitted(kind: Kind[Signal], learned: Evidence, advance: Callable[[int], None]) -> bytes:
    rows = [Labelled(row.prompt, pair.strong, pair.cheap) for row, pair in learned.rows]

    def done(share: float) -> None:
        advance(round(_STEPS * share))

    async with _opened(kind, None) as signal:
        if learned.lessons and isinstance(signal, LearnsLater):
            return signal.fit_with(rows, learned.lessons, done)
        if not isinstance(signal, Trainable):
            raise InvalidRequest(f"signal {kind.name}: it does not learn")
        return signal.fit(rows, done)


async def _measured(kind: Kind[Signal], artefact: Path | None, held: Evidence) -> float:
    """How well the signal ranks what was held back."""
    ordered = Ordered(await _values(kind, artefact, held), held.pairs)
    if held.lessons:
        return lift(ordered)
    value = measures(ordered)["apgr"]
    if math.isnan(value):
        raise InvalidRequest("the two models are equally good on what was held back: there is nothing to learn")
    return value


async def _values(kind: Kind[Signal], artefact: Path | None, held: Evidence) -> list[float]:
    """What the signal says of what was held back."""
    name = next(iter(kind.signals))
    async with _opened(kind, artefact) as signal:
        found = scores([row for row, _ in held.rows], signal, name, lambda more: None)
        if held.lessons and isinstance(signal, LearnsLater):
            found += [float(signal.recall(one.features)[name]) for one in held.lessons]
    return found


async def _report(
    arguments: argparse.Namespace, kind: Kind[Signal], trial: Path, learned_from: int, held: Evidence
) -> str:
    story = Story(arguments.strong[0], arguments.cheap[0], held.pairs)
    chances: list[float] = []
    artefacts = {"before": arguments.out if arguments.out.exists() else None, next(iter(kind.signals)): trial}
    for words, artefact in artefacts.items():
        chances = await _values(kind, artefact, held)
        story.judge(words, chances)
    story.add_bounds()
    # Of a record nobody knows which answer would have been the better one.
    happened = [pair.strong > pair.cheap for _, pair in held.rows]
    return report(story, learned_from, len(held.lessons), groups(chances[: len(happened)], happened))


@asynccontextmanager
async def _opened(kind: Kind[Signal], artefact: Path | None) -> AsyncIterator[Signal]:
    """The signal with an artefact, or with what it uses without one in a folder that has none."""
    settings = settings_of(kind, artefact)
    with tempfile.TemporaryDirectory() as folder:
        async with open_context(Path(folder), silent, stopped) as context, kind.open(settings, context) as signal:
            yield signal


def _replace(path: Path, data: bytes) -> None:
    """Writes beside it and moves it there: a proxy that starts meanwhile reads the old file or the new one, whole."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
