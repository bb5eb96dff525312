"""What is measured of each gateway, one round at a time, in turns.

It has no command; bench/gateway.py uses it.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.gateways import Gateway
from bench.native import CORES, GATEWAY_CORE, Load, cpu_s, load, memory_mb, pin

PROMPT = "The quick brown fox jumps over the lazy dog and asks what the capital of France may be. " * 10
BODY = msgspec.json.encode({"model": "auto", "messages": [{"role": "user", "content": PROMPT}]}).decode()
STREAM = BODY[:-1] + ',"stream":true}'
CHUNKS, GAP_US, STREAMS = 200, 5_000, 50
WORKERS_AT = 64
_STEPS = 10
Figures = defaultdict[str, defaultdict[str, list[float]]]
"""Measure, then gateway, then one figure a round."""


def nothing() -> Figures:
    """No figures yet."""
    return defaultdict(lambda: defaultdict(list))


class Bench(Struct, frozen=True):
    """The program that makes load, for how long, and where figures go."""

    program: Path
    seconds: float
    figures: Figures

    def load(self, gateway: Gateway, body: str, connections: int, rate: float = 0) -> tuple[Load, float]:
        """One run, and the CPU seconds it took the gateway."""
        before = cpu(gateway)
        seen = load(self.program, gateway.port, body, connections, self.seconds, rate)
        return seen, cpu(gateway) - before

    def add(self, measure: str, gateway: Gateway, value: float) -> None:
        """Notes one figure."""
        self.figures[measure][gateway.name].append(value)


def cpu(gateway: Gateway) -> float:
    """CPU seconds of its processes so far."""
    return sum(cpu_s(pid) for pid in gateway.pids)


def memory(gateway: Gateway) -> float:
    """What its processes keep in memory, in MB."""
    return sum(memory_mb(pid) for pid in gateway.pids)


def throughput(bench: Bench, gateways: Sequence[Gateway], connections: int) -> None:
    """As many requests as come back."""
    for gateway in gateways:
        store = cpu_s(gateway.store_pid) if gateway.store_pid else 0.0
        seen, spent = bench.load(gateway, BODY, connections)
        bench.add(f"requests/s, {connections} connections", gateway, seen.answered / seen.seconds)
        bench.add(f"refused %, {connections} connections", gateway, 100 * seen.errors / seen.requests)
        if gateway.pids:
            bench.add(f"CPU us/request, {connections} connections", gateway, spent / seen.answered * 1e6)
        if gateway.store_pid:
            store = cpu_s(gateway.store_pid) - store
            bench.add(f"CPU us/request of its store, {connections} connections", gateway, store / seen.answered * 1e6)


def delays(bench: Bench, gateways: Sequence[Gateway], rate: int) -> None:
    """What is added to the delay of the upstream itself at a constant rate. One that cannot keep up is left out."""
    direct: Load | None = None
    for gateway in gateways:
        most = [max(found[gateway.name]) for name, found in bench.figures.items() if name.startswith("requests/s, ")]
        if most and max(most) <= rate:
            continue
        seen, _ = bench.load(gateway, BODY, 256, rate)
        direct = direct or seen
        for name, value, floor in (
            ("p50", seen.p50_ms, direct.p50_ms),
            ("p99", seen.p99_ms, direct.p99_ms),
            ("p99.9", seen.p999_ms, direct.p999_ms),
        ):
            bench.add(f"delay ms {name}, {rate} requests/s", gateway, value - floor if gateway.pids else value)


def streams(bench: Bench, gateways: Sequence[Gateway]) -> None:
    """50 streams at once, of chunks that come every 5 ms."""
    direct: Load | None = None
    for gateway in gateways:
        seen, spent = bench.load(gateway, STREAM, STREAMS)
        direct = direct or seen
        for name, value, floor in (
            ("p50", seen.first_p50_ms, direct.first_p50_ms),
            ("p99", seen.first_p99_ms, direct.first_p99_ms),
        ):
            bench.add(f"stream: ms to first chunk {name}", gateway, value - floor if gateway.pids else value)
        bench.add("stream: chunks/s", gateway, seen.events / seen.seconds)
        if gateway.pids:
            bench.add("stream: CPU us/chunk", gateway, spent / seen.events * 1e6)


def workers(bench: Bench, pairs: Sequence[tuple[Gateway, Gateway]]) -> None:
    """What a second process adds, on cores shared with the load: one process free to run anywhere, then two."""
    for one, two in pairs:
        for pid in one.pids:
            pin(pid, *CORES)
        alone, _ = bench.load(one, BODY, WORKERS_AT)
        for pid in one.pids:
            pin(pid, GATEWAY_CORE)
        both, spent = bench.load(two, BODY, WORKERS_AT)
        rate = both.answered / both.seconds
        bench.add("two processes: requests/s", one, rate)
        bench.add("two processes: times one", one, rate / (alone.answered / alone.seconds))
        bench.add("two processes: CPU us/request", one, spent / both.answered * 1e6)


def memories(bench: Bench, gateways: Sequence[Gateway], name: str) -> None:
    """What each keeps in memory now."""
    for gateway in gateways:
        if gateway.pids:
            bench.add(f"memory MB, {name}", gateway, memory(gateway))


def long(bench: Bench, gateway: Gateway, requests: int) -> None:
    """Memory on the way to so many requests, and what was added since the first tenth."""
    done, first = 0, 0.0
    for step in range(1, _STEPS + 1):
        while done < requests * step / _STEPS:
            seen, _ = bench.load(gateway, BODY, 64)
            done += seen.answered
        now = memory(gateway)
        first = first or now
        bench.add(f"memory MB, after {requests * step // _STEPS:,} requests", gateway, now)
    bench.add(f"memory MB, grown by {requests:,} requests", gateway, now - first)
