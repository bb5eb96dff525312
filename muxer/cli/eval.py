"""`muxer eval`: what a signal or a routing.yaml saves, and at what quality, on prompts with known answers."""

import argparse
import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from muxer.assemble import rules_of
from muxer.cli.artefacts import settings_of
from muxer.cli.configuration import Loaded, read
from muxer.cli.eval_tables import as_json, print_story
from muxer.cli.output import print_json, progress_bar
from muxer.errors import InvalidRequest
from muxer.evaluation.chart import Dot, Line, picture
from muxer.evaluation.curves import Ordered, intervals, measures
from muxer.evaluation.policies import choices, scores
from muxer.evaluation.rows import Price, Row, pairs, read_prices, read_rows
from muxer.evaluation.story import Judged, Story
from muxer.interfaces import Context, Kind, Signal
from muxer.opener import Meters, open_signals
from muxer.plugins import find_kinds, installed
from muxer.upstream import open_client

SEED = 7
_OF_SIGNALS = ("heuristics", "difficulty")


class Asked(Struct, frozen=True):
    """The data as it was asked for."""

    rows: list[Row]
    prices: dict[str, Price]
    strong: str
    cheap: str


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the words of the command."""
    parser.add_argument("data", type=Path, nargs="+", metavar="DATA", help="JSON lines, .gz too: prompt, models")
    parser.add_argument("--strong", required=True, metavar="MODEL", help="the dearer model, by its name in the data")
    parser.add_argument("--cheap", required=True, metavar="MODEL", help="the cheaper model")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="a routing.yaml to judge")
    words = "a model of the policy is played by this one of the data; more than once"
    parser.add_argument("--map", type=_mapped, action="append", default=[], metavar="NAME=MODEL", help=words)
    parser.add_argument("--signal", metavar="NAME", help="a signal to judge: higher means the strong model is needed")
    words = "where the signal comes from; default: the plugins of the policy, else those that ship"
    parser.add_argument("--plugin", action="append", metavar="PLUGIN", help=words)
    parser.add_argument("--artefact", type=Path, metavar="FILE", help="what `muxer train` made, for the signal to use")
    parser.add_argument("--prices", type=Path, metavar="FILE", help='JSON: {"MODEL": {"in": 2.5, "out": 10}, ...}')
    words = "resamples for the 95%% intervals; default: 300, 0 for none"
    parser.add_argument("--bootstrap", type=int, default=300, metavar="N", help=words)
    parser.add_argument("--scores", type=Path, metavar="FILE", help="write the signal's value of each prompt")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the curves as SVG")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Prints the table."""
    story = asyncio.run(_judge(arguments))
    if arguments.plot is not None:
        arguments.plot.write_text(_drawn(story), encoding="utf-8")
    if arguments.json:
        print_json(as_json(story))
    else:
        print_story(story)
    return 0


def _mapped(words: str) -> tuple[str, str]:
    name, equals, model = words.partition("=")
    if not (name and equals and model):
        raise argparse.ArgumentTypeError(f"{words!r} is not NAME=MODEL")
    return name, model


def _asked(arguments: argparse.Namespace) -> Asked:
    strong, cheap = arguments.strong, arguments.cheap
    rows = [row for row in read_rows(arguments.data) if strong in row.models and cheap in row.models]
    if not rows:
        raise InvalidRequest(f"no row of the data has both {strong!r} and {cheap!r}")
    return Asked(rows, read_prices(arguments.prices) if arguments.prices else {}, strong, cheap)


async def _judge(arguments: argparse.Namespace) -> Story:
    asked = _asked(arguments)
    rows, known = asked.rows, pairs(asked.rows, asked.strong, asked.cheap, asked.prices)
    story = Story(asked.strong, asked.cheap, known)
    story.judged.append(Judged("random", Ordered([0.0] * len(rows), known)))
    loaded = read(arguments.policy) if arguments.policy else None
    async with _signals(arguments, loaded) as signals:
        if arguments.signal is not None:
            with progress_bar(len(rows), arguments.signal) as advance:
                found = scores(rows, _owner(signals, arguments.signal), arguments.signal, advance)
            story.judged.append(Judged(arguments.signal, Ordered(found, known)))
            if arguments.scores is not None:
                _write_scores(arguments.scores, rows, found)
        if loaded is not None:
            with progress_bar(len(rows), "deciding") as advance:
                by_name = {kind.name: signal for kind, signal in signals}
                rules = rules_of(loaded.configuration, loaded.table)
                story.policy = choices(rows, rules, by_name, dict(arguments.map), asked.prices, advance)
            if set(story.policy.models) <= {asked.strong, asked.cheap}:
                is_strong = [float(model == asked.strong) for model in story.policy.models]
                story.judged.append(Judged("policy", Ordered(is_strong, known)))
    story.judged.append(Judged("oracle", Ordered([pair.strong - pair.cheap for pair in known], known)))
    _measure(story, arguments.bootstrap)
    return story


def _measure(story: Story, times: int) -> None:
    with progress_bar(len(story.judged) * times, "resampling") as advance:
        for judged in story.judged:
            judged.measures = measures(judged.ordered)
            judged.intervals = intervals(judged.ordered, times, SEED, advance)


def _owner(signals: Sequence[tuple[Kind[Signal], Signal]], name: str) -> Signal:
    known = {own: signal for kind, signal in signals for own in kind.signals}
    if name not in known:
        raise InvalidRequest(f"no signal {name!r}; there are: {', '.join(sorted(known)) or 'none'}")
    return known[name]


@asynccontextmanager
async def _signals(
    arguments: argparse.Namespace, loaded: Loaded | None
) -> AsyncIterator[list[tuple[Kind[Signal], Signal]]]:
    """The signals of the plugins asked for, opened as the proxy opens them."""
    if loaded is not None and not arguments.plugin:
        kinds, folder = loaded.configuration.kinds, loaded.configuration.folder
    else:
        there = installed()
        names = arguments.plugin or [name for name in _OF_SIGNALS if name in there]
        kinds, folder = find_kinds(names, Path.cwd()), Path.cwd()

    def settings(kind: Kind[Signal]) -> Struct:
        return settings_of(kind, arguments.artefact if arguments.signal in kind.signals else None)

    async with open_client(max_connections=1) as http:
        context = Context(http=http, clock=lambda: 0.0, folder=folder, log=_silent, meter=Meters())
        async with open_signals(kinds.signals, context, settings) as signals:
            yield [(kinds.signals[name], signal) for name, signal in signals.items()]


def _silent(level: str, event: str, **fields: object) -> None:
    return None


def _write_scores(path: Path, rows: Sequence[Row], values: Sequence[float]) -> None:
    encode = msgspec.json.encode
    lines = [encode({"id": row.id, "score": value}) for row, value in zip(rows, values, strict=True)]
    path.write_bytes(b"\n".join([*lines, b""]))


def _drawn(story: Story) -> str:
    curves = [Line(one.name, one.ordered.curve(), one.name in ("random", "oracle")) for one in story.judged]
    drawn = [line for line in curves if line.name != "policy"]
    dots = []
    if story.policy is not None:
        share = story.policy.counts.get(story.strong, 0) / len(story.pairs)
        x = share if story.policy.usd is None or story.pairs[0].strong_usd is None else story.policy.usd
        dots = [Dot("policy", x, story.policy.quality)] if not math.isnan(x) else []
    return picture(f"{story.strong} and {story.cheap}: quality over cost", drawn, dots)
