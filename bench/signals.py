"""Microseconds of one measurement of the heuristics, for prompts of 0.2, 2, 16 and 64 KB: `python -m bench.signals`.

With ROUTING_DATA also the 95th percentile over labelled prompts of at most 2,000 characters, each the best of three.
"""

import gzip
import json
import os
import timeit
from pathlib import Path

from muxer_heuristics import Heuristics

from muxer import ChatRequest, Message

PROSE = "Our team wants to know why the quarterly report about the northern region differs from what was planned. "
CODE = "def total(items: list[Item]) -> float:\n    return sum(item.price * item.count for item in items)\n\n"
SPANISH = "El año pasado, según el informe, la región creció más rápido de lo que nadie había pensado. "
SIZES = {"0.2 KB": 200, "2 KB": 2_000, "16 KB": 16_000, "64 KB": 64_000}
REPEATS, ROUNDS = 200, 5
MOST_CHARS = 2_000


def microseconds(text: str) -> float:
    """The best of some rounds: what the machine can do when nobody disturbs it."""
    signal, request = Heuristics(), ChatRequest(messages=(Message(role="user", content=text),))
    times = timeit.repeat(lambda: signal.measure(request), number=REPEATS, repeat=ROUNDS)
    return min(times) / REPEATS * 1e6


def p95_ms(data: Path) -> float:
    """Of one measurement of a prompt that a person wrote."""
    with gzip.open(data / "labelled_prompts.jsonl.gz", "rt") as lines:
        texts = [text for line in lines if len(text := json.loads(line)["prompt"]) <= MOST_CHARS]
    signal = Heuristics()
    asked = [ChatRequest(messages=(Message(role="user", content=text),)) for text in texts]
    times = sorted(min(timeit.repeat(lambda one=one: signal.measure(one), number=1, repeat=3)) for one in asked)  # type: ignore[misc]  # mypy does not infer defaults of lambdas
    return times[len(times) * 95 // 100] * 1e3


def main() -> None:
    print(f"{'us':8}" + "".join(f"{size:>10}" for size in SIZES))
    for name, text in (("prose", PROSE), ("code", CODE), ("accents", SPANISH)):
        row = [microseconds((text * (chars // len(text) + 1))[:chars]) for chars in SIZES.values()]
        print(f"{name:8}" + "".join(f"{time:10.1f}" for time in row))
    if there := os.environ.get("ROUTING_DATA"):
        print(f"labelled prompts to {MOST_CHARS:,} characters: {p95_ms(Path(there)):.3f} ms (p95)")


if __name__ == "__main__":
    main()
