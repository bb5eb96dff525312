"""The proxy beside a bare pass-through, as ratios: CPU, requests a second, delay, streams, workers, start and memory.

    .venv/bin/python -m bench.gateway [--rounds 5] [--seconds 3] [--litellm VENV] [--long] [--json FILE] [--plot FILE]

All gateways are up at once, each measured in turn in every round: whatever else the machine does meets all alike. The
gateway has one core; the load and the mock upstream share another. Delays are what a gateway adds to the upstream's
own; those are in the column `direct`. `--at-most 2` fails when CPU per request is over twice that of the bare
pass-through.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import msgspec

from bench.gateways import Gateway, bare, litellm, muxer, valkey
from bench.measures import (
    BODY,
    CHUNKS,
    GAP_US,
    Bench,
    Figures,
    delays,
    long,
    memories,
    nothing,
    streams,
    throughput,
    workers,
)
from bench.native import CORES, LOAD_CORE, compiled, running
from bench.plot import bars

__all__ = ["BODY"]

CONNECTIONS = (1, 16, 64, 256)
RATES = (100, 300, 1000)
STARTS = 3
Open = Callable[[Path], AbstractContextManager[Gateway]]


def measure(
    bench: Bench, gateways: list[Gateway], pairs: list[tuple[Gateway, Gateway]], arguments: argparse.Namespace
) -> None:
    """One round of everything, in turns."""
    for connections in arguments.connections:
        throughput(bench, gateways, connections)
    for rate in arguments.rates:
        delays(bench, gateways, rate)
    if arguments.streams:
        streams(bench, gateways)
    workers(bench, pairs)
    memories(bench, gateways, "loaded")


def table(figures: Figures, names: list[str]) -> str:
    """Medians with their spread, and the ratio to bare: the median of the rounds' own, with its spread."""
    lines = ["| measure | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for measure, found in figures.items():
        if measure.startswith("refused") and not any(any(values) for values in found.values()):
            continue
        cells = [_cell(found[name], [] if name in ("bare", "direct") else found["bare"]) for name in names]
        lines.append(f"| {measure} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: Sequence[float], bare: Sequence[float]) -> str:
    if not values:
        return ""
    words = f"{statistics.median(values):,.4g} ({min(values):,.4g} - {max(values):,.4g})"
    if len(bare) != len(values) or min(bare) <= 0:
        return words
    found = ratios(values, bare)
    return f"{words} = {statistics.median(found):.2f} x ({min(found):.2f} - {max(found):.2f})"


def ratios(values: Sequence[float], bare: Sequence[float]) -> list[float]:
    """Each round's ratio to bare: what else the machine did met both."""
    return [value / floor for value, floor in zip(values, bare, strict=True)]


def main() -> int:
    """Measures and prints; 1 when `--at-most` is passed."""
    arguments = _arguments()
    os.sched_setaffinity(0, {LOAD_CORE})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        program = compiled(folder)
        bench = Bench(program, arguments.seconds, nothing())
        _, upstream = stack.enter_context(running([str(program), "serve", str(CHUNKS), str(GAP_US)], LOAD_CORE))
        gateways = [Gateway("direct", (), upstream)]
        for number, open in enumerate(_openers(stack, arguments, upstream, folder)):
            for start in range(STARTS - 1):
                with open(folder / f"{number}-{start}") as gateway:
                    bench.add("start to first answer, s", gateway, gateway.start_s)
            gateways.append(stack.enter_context(open(folder / f"{number}")))
            bench.add("start to first answer, s", gateways[-1], gateways[-1].start_s)
        memories(bench, gateways, "idle")
        pairs = _pairs(stack, arguments, upstream, folder, gateways)
        for number in range(arguments.rounds):
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
            measure(bench, gateways, pairs, arguments)
        for gateway in gateways if arguments.long else ():
            if gateway.name in ("bare", "muxer", "redis"):
                print(f"{arguments.long:,} requests through {gateway.name}", file=sys.stderr, flush=True)
                long(bench, gateway, arguments.long)
    names = [gateway.name for gateway in gateways]
    print(table(bench.figures, names))
    if arguments.json:
        about = {"python": platform.python_version(), "cores": len(CORES), "machine": platform.machine()}
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode({**about, "figures": bench.figures})))
    if arguments.plot:
        arguments.plot.write_text(bars(bench.figures, names))
    return judged(bench.figures, arguments.at_most)


def _openers(stack: ExitStack, arguments: argparse.Namespace, upstream: int, folder: Path) -> list[Open]:
    """How to start each gateway, in a folder of its own."""
    openers: list[Open] = [lambda _: bare(upstream), partial(muxer, "muxer", upstream)]
    if arguments.beside:
        openers.append(partial(muxer, "beside", upstream, checkout=arguments.beside.resolve()))
    if arguments.redis:
        openers.append(partial(muxer, "redis", upstream, redis=stack.enter_context(valkey(folder))))
    if arguments.litellm:
        openers.append(partial(litellm, arguments.litellm, upstream))
    return openers


def _pairs(
    stack: ExitStack, arguments: argparse.Namespace, upstream: int, folder: Path, gateways: Sequence[Gateway]
) -> list[tuple[Gateway, Gateway]]:
    """Each of bare and ours with the same in two processes."""
    if not arguments.workers or len(CORES) < 2:
        return []
    of = {gateway.name: gateway for gateway in gateways}
    pairs = [
        (of["bare"], stack.enter_context(bare(upstream, 2))),
        (of["muxer"], stack.enter_context(muxer("muxer", upstream, folder / "two", workers=2))),
    ]
    if arguments.redis:
        (folder / "valkey-two").mkdir()
        redis = stack.enter_context(valkey(folder / "valkey-two"))
        two = muxer("redis", upstream, folder / "redis-two", redis=redis, workers=2)
        pairs.append((of["redis"], stack.enter_context(two)))
    return pairs


def judged(figures: Figures, at_most: float) -> int:
    """1 when a request through ours costs more than so many through bare, where it was asked."""
    code = 0
    for measure, found in figures.items():
        if not at_most or not measure.startswith("CPU us/request, "):
            continue
        for name in ("muxer", "redis"):
            ratio = statistics.median(ratios(found[name], found["bare"])) if found[name] else 0
            if ratio > at_most:
                print(f"{measure}: {name} costs {ratio:.2f} times bare, over {at_most}", file=sys.stderr)
                code = 1
    return code


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--connections", type=int, nargs="*", default=CONNECTIONS)
    parser.add_argument("--rates", type=int, nargs="*", default=RATES)
    parser.add_argument("--no-streams", dest="streams", action="store_false")
    parser.add_argument("--no-redis", dest="redis", action="store_false")
    parser.add_argument("--no-workers", dest="workers", action="store_false")
    parser.add_argument("--litellm", type=Path, metavar="VENV", help="with litellm[proxy] in it")
    parser.add_argument("--beside", type=Path, metavar="FOLDER", help="another checkout, for before and after")
    words = "memory on the way to so many requests, a million by default"
    parser.add_argument("--long", type=int, nargs="?", const=1_000_000, default=0, metavar="REQUESTS", help=words)
    parser.add_argument("--json", type=Path, help="where to write every figure")
    parser.add_argument("--plot", type=Path, help="where to draw the ratios, as SVG")
    parser.add_argument("--at-most", type=float, default=0, help="fail over this many times bare")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
