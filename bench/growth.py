"""What a request costs where much is large: routes, models, keys, records, idle connections, prompts.

    .venv/bin/python -m bench.growth [--records 1000000] [--users 100000] [--folder FOLDER] [--plot FILE]

Each thing grows alone, its sizes are measured in turns, and the least of some rounds counts; at the end a proxy has all
of it at once. `--folder` keeps the files, which are used again: ten million records are made in minutes and take 12 GB.
`--at-most 2` fails when what should stay flat costs over twice as much at its largest as at its smallest.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import msgspec

from bench import growth_decision, growth_server, growth_store
from bench.growth_store import Grown
from bench.plot import curves

FLAT = (
    "decide: models",
    "decide: keys of the file",
    "hold and settle, us of CPU",
    "find a key, us",
    "GET /readyz, ms",
    "GET /user/stats, ms",
    "serve: idle connections",
)
"""What does not grow. The others do, as docs/performance.md says."""
_SMALLEST = 10_000
_DRAWN = {"hold and settle, us of CPU": "hold and settle: records", "find a key, us": "find a key: records"}


def table(found: Grown) -> str:
    """A line for each thing: what it costs at each size."""
    lines = ["| what | at each size | largest to smallest |", "|---|---|---|"]
    for what, at in found.items():
        sizes = " · ".join(f"{count:,}: {value:,.3g}" for count, value in sorted(at.items()))
        lines.append(f"| {what} | {sizes} | {ratio(at):.2f} x |")
    return "\n".join(lines)


def ratio(at: dict[int, float]) -> float:
    """What it costs at its largest, to what it costs at its smallest."""
    return at[max(at)] / at[min(at)]


def main() -> int:
    """Measures, prints and draws; 1 when something that should be flat is not."""
    arguments = _arguments()
    sizes = [size for size in (_SMALLEST, 100_000, 1_000_000, 10_000_000) if size <= arguments.records]
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        found = asyncio.run(_measured(folder, sizes, arguments))
        idle = [size for size in (0, 100, 1_000, 10_000) if size <= arguments.idle]
        full = folder / f"{sizes[-1]}"
        found |= growth_server.measured(arguments.rounds, arguments.seconds, idle, full, sizes[-1], _note)
    print(table(found))
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    if arguments.plot:
        arguments.plot.write_text(curves(drawn(found)))
    wrong = [what for what in FLAT if arguments.at_most and ratio(found[what]) > arguments.at_most]
    for what in wrong:
        print(f"{what}: {ratio(found[what]):.2f} times as much, over {arguments.at_most}", file=sys.stderr)
    return 1 if wrong else 0


def drawn(found: Grown) -> dict[str, list[tuple[int, float]]]:
    """The lines of the picture: microseconds a request by what grows."""
    named = {_DRAWN.get(what, what): at for what, at in found.items()}
    parts = ("decide: ", "serve: ", "bare: ", "hold and settle: ", "find a key: ")
    return {what: sorted(at.items()) for what, at in named.items() if what.startswith(parts)}


async def _measured(folder: Path, sizes: list[int], arguments: argparse.Namespace) -> Grown:
    decided = await growth_decision.measured(arguments.rounds, _note)
    return decided | await growth_store.measured(folder, sizes, arguments.users, arguments.rounds, _note)


def _note(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement of a proxy")
    parser.add_argument("--records", type=int, default=1_000_000, help="of the largest file")
    parser.add_argument("--users", type=int, default=100_000, help="among whom they are, each with a key")
    parser.add_argument("--idle", type=int, default=10_000, help="the most idle connections")
    parser.add_argument(
        "--folder", type=Path, help="where the files are made, or found again; default: a temporary one"
    )
    parser.add_argument("--json", type=Path, help="where to write every figure")
    parser.add_argument("--plot", type=Path, help="where to draw the curves, as SVG")
    parser.add_argument("--at-most", type=float, default=0, help="fail when what should be flat grows by this")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
