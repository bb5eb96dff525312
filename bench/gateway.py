"""The proxy beside a bare pass-through, as ratios: CPU, requests a second, delay, streams, start and memory.

    .venv/bin/python -m bench.gateway [--rounds 5] [--seconds 3] [--litellm VENV] [--json FILE] [--plot FILE]

All gateways are up at once, each measured in turn in every round: whatever else the machine does meets all alike. The
gateway has one core; the load and the mock upstream share another. `--at-most 2` fails when CPU per request is over
twice that of the bare pass-through.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import msgspec

from bench.gateways import Gateway, bare, litellm, muxer, valkey
from bench.native import LOAD_CORE, Load, compiled, cpu_s, load, memory_mb, running
from bench.plot import bars

PROMPT = "The quick brown fox jumps over the lazy dog and asks what the capital of France may be. " * 10
BODY = msgspec.json.encode({"model": "auto", "messages": [{"role": "user", "content": PROMPT}]}).decode()
STREAM = BODY[:-1] + ',"stream":true}'
CONNECTIONS = (1, 16, 64, 256)
RATES = (100, 300, 1000)
CHUNKS, GAP_US, STREAMS = 200, 5_000, 50
Figures = defaultdict[str, defaultdict[str, list[float]]]
"""Measure, then gateway, then one figure a round."""


def measure(gateways: list[Gateway], program: Path, figures: Figures, arguments: argparse.Namespace) -> None:
    """One round of everything, in turns."""

    def run(gateway: Gateway, body: str, connections: int, rate: float = 0) -> tuple[Load, float]:
        before = cpu_s(gateway.pid) if gateway.pid else 0.0
        seen = load(program, gateway.port, body, connections, arguments.seconds, rate)
        return seen, (cpu_s(gateway.pid) - before if gateway.pid else 0.0)

    for connections in arguments.connections:
        for gateway in gateways:
            seen, cpu = run(gateway, BODY, connections)
            figures[f"requests/s, {connections} connections"][gateway.name].append(seen.requests / seen.seconds)
            if gateway.pid:
                figures[f"CPU us/request, {connections} connections"][gateway.name].append(cpu / seen.requests * 1e6)
    for rate in arguments.rates:
        for gateway in gateways:
            seen, _ = run(gateway, BODY, 256, rate)
            for name, value in (("p50", seen.p50_ms), ("p99", seen.p99_ms), ("p99.9", seen.p999_ms)):
                figures[f"delay ms {name}, {rate} requests/s"][gateway.name].append(value)
    for gateway in gateways if arguments.streams else ():
        seen, cpu = run(gateway, STREAM, STREAMS)
        figures["stream: ms to first chunk p50"][gateway.name].append(seen.first_p50_ms)
        figures["stream: chunks/s"][gateway.name].append(seen.events / seen.seconds)
        if gateway.pid:
            figures["stream: CPU us/chunk"][gateway.name].append(cpu / seen.events * 1e6)
    for gateway in gateways:
        if gateway.pid:
            figures["memory MB"][gateway.name].append(memory_mb(gateway.pid))


def table(figures: Figures, names: list[str]) -> str:
    """Medians with their spread, and the ratio to bare."""
    lines = ["| measure | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for measure, found in figures.items():
        bare = statistics.median(found["bare"]) if found["bare"] else 0
        cells = []
        for name in names:
            if not found[name]:
                cells.append("")
                continue
            middle = statistics.median(found[name])
            ratio = f" = {middle / bare:.2f} x" if bare and name != "bare" else ""
            cells.append(f"{middle:,.4g} ({min(found[name]):,.4g} - {max(found[name]):,.4g}){ratio}")
        lines.append(f"| {measure} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Measures and prints; 1 when `--at-most` is passed."""
    arguments = _arguments()
    os.sched_setaffinity(0, {LOAD_CORE})
    figures: Figures = defaultdict(lambda: defaultdict(list))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        program = compiled(folder)
        _, upstream = stack.enter_context(running([str(program), "serve", str(CHUNKS), str(GAP_US)], LOAD_CORE))
        gateways = [Gateway("direct", 0, upstream), stack.enter_context(bare(upstream))]
        gateways.append(stack.enter_context(muxer("muxer", "sqlite", "", upstream, folder / "sqlite")))
        if arguments.beside:
            checkout = arguments.beside.resolve()
            gateways.append(stack.enter_context(muxer("beside", "sqlite", "", upstream, folder / "beside", checkout)))
        if arguments.redis:
            url = stack.enter_context(valkey(folder))
            gateways.append(
                stack.enter_context(
                    muxer("redis", "redis", f', url: "{url}", timeout_s: 5', upstream, folder / "redis")
                )
            )
        if arguments.litellm:
            gateways.append(stack.enter_context(litellm(arguments.litellm, upstream, folder / "litellm")))
        for gateway in gateways[2:]:
            figures["start s"][gateway.name].append(gateway.start_s)
            figures["memory MB, idle"][gateway.name].append(memory_mb(gateway.pid))
        for number in range(arguments.rounds):
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
            measure(gateways, program, figures, arguments)
    names = [gateway.name for gateway in gateways]
    print(table(figures, names))
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
    if arguments.plot:
        arguments.plot.write_text(bars(figures, names))
    return judged(figures, arguments.at_most)


def judged(figures: Figures, at_most: float) -> int:
    """1 when a request through ours costs more than so many through bare, where it was asked."""
    code = 0
    for measure, found in figures.items():
        if not at_most or "CPU us/request" not in measure:
            continue
        for name in ("muxer", "redis"):
            ratio = statistics.median(found[name]) / statistics.median(found["bare"]) if found[name] else 0
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
    parser.add_argument("--litellm", type=Path, metavar="VENV", help="with litellm[proxy] in it")
    parser.add_argument("--beside", type=Path, metavar="FOLDER", help="another checkout, for before and after")
    parser.add_argument("--json", type=Path, help="where to write every figure")
    parser.add_argument("--plot", type=Path, help="where to draw the ratios, as SVG")
    parser.add_argument("--at-most", type=float, default=0, help="fail over this many times bare")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
