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
from muxer.cli.contexts import open_context, silent, stopped
from muxer.cli.eval_tables import as_json, print_story
from muxer.cli.output import print_json, print_note, progress_bar
from muxer.errors import InvalidRequest
from muxer.evaluation.chart import Dot, lines, picture
from muxer.evaluation.curves import intervals, measures
from muxer.evaluation.policies import choices, scores
from muxer.evaluation.rows import Price, Row, certainties, pairs, read_prices, read_rows, rows_with
from muxer.evaluation.story import Story
from muxer.interfaces import Kind, Signal
from muxer.opener import open_signals
from muxer.plugins import find_kinds, installed

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
    words = "judge a cascade of the two models: every threshold of the data's `confidence` is tried"
    parser.add_argument("--cascade", action="store_true", help=words)
    words = "where the signal comes from; default: the plugins of the policy, else those that ship"
    parser.add_argument("--plugin", action="append", metavar="PLUGIN", help=words)
    parser.add_argument("--artefact", type=Path, metavar="FILE", help="what `muxer train` made, for the signal to use")
    parser.add_argument("--prices", type=Path, metavar="FILE", help='JSON: {"MODEL": {"in": 2.5, "out": 10}, ...}')
    words = "resamples for the 95%% intervals; default: 300, 0 for none"
    parser.add_argument("--bootstrap", type=_times, default=300, metavar="N", help=words)
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
        if not (arguments.signal or arguments.policy or arguments.cascade):
            print_note("nothing was judged: name a --signal, a --policy or a --cascade")
        if story.policy is not None and story.policy.is_cascade and not arguments.cascade:
            print_note("--cascade tries every threshold beside that of the policy.")
    return 0


def _times(words: str) -> int:
    if not (words.isascii() and words.isdigit()):
        raise argparse.ArgumentTypeError(f"{words!r} is no whole number from 0")
    return int(words)


def _mapped(words: str) -> tuple[str, str]:
    name, equals, model = words.partition("=")
    if not (name and equals and model):
        raise argparse.ArgumentTypeError(f"{words!r} is not NAME=MODEL")
    return name, model


def _asked(arguments: argparse.Namespace) -> Asked:
    strong, cheap = arguments.strong, arguments.cheap
    if strong == cheap:
        raise InvalidRequest(f"--strong and --cheap are both {strong!r}: name two models to choose between")
    rows = rows_with(read_rows(arguments.data), strong, cheap)
    return Asked(rows, read_prices(arguments.prices) if arguments.prices else {}, strong, cheap)


async def _judge(arguments: argparse.Namespace) -> Story:
    asked = _asked(arguments)
    rows = asked.rows
    story = Story(asked.strong, asked.cheap, pairs(rows, asked.strong, asked.cheap, asked.prices))
    loaded = read(arguments.policy) if arguments.policy else None
    async with _signals(arguments, loaded) as signals:
        if arguments.signal is not None:
            with progress_bar(len(rows), arguments.signal) as advance:
                found = scores(rows, _owner(signals, arguments.signal), arguments.signal, advance)
            story.judge(arguments.signal, found)
            if arguments.scores is not None:
                _write_scores(arguments.scores, rows, found)
        if loaded is not None:
            with progress_bar(len(rows), "deciding") as advance:
                by_name = {kind.name: signal for kind, signal in signals}
                rules = rules_of(loaded.configuration, loaded.table)
                story.policy = choices(rows, rules, by_name, dict(arguments.map), asked.prices, advance)
            # A curve knows one answer a prompt and what that one costs.
            if not story.policy.is_cascade and set(story.policy.models) <= {asked.strong, asked.cheap}:
                story.judge("policy", [float(model == asked.strong) for model in story.policy.models])
    if arguments.cascade:
        story.judge_cascade(certainties(rows, asked.cheap))
    story.add_bounds()
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
        there = ", ".join(sorted(known)) or "none"
        raise InvalidRequest(f"no signal {name!r}; there are: {there}; --plugin names where others come from")
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

    async with (
        open_context(folder, silent, stopped) as context,
        open_signals(kinds.signals, context, settings) as signals,
    ):
        yield [(kinds.signals[name], signal) for name, signal in signals.items()]


def _write_scores(path: Path, rows: Sequence[Row], values: Sequence[float]) -> None:
    encode = msgspec.json.encode
    lines = [encode({"id": row.id, "score": value}) for row, value in zip(rows, values, strict=True)]
    path.write_bytes(b"\n".join([*lines, b""]))


def _drawn(story: Story) -> str:
    drawn = lines([one for one in story.judged if one.name != "policy"])
    dots = []
    if story.policy is not None:
        share = story.policy.counts.get(story.strong, 0) / len(story.pairs)
        x = share if story.policy.usd is None or story.pairs[0].strong_usd is None else story.policy.usd
        dots = [Dot("policy", x, story.policy.quality)] if not math.isnan(x) else []
    return picture(f"{story.strong} and {story.cheap}: quality over cost", drawn, dots)
