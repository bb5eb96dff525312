"""Microseconds of one measurement of the heuristics, for prompts of 0.2, 2, 16 and 64 KB."""

import timeit

from muxer_heuristics import Heuristics

from muxer import ChatRequest, Message

PROSE = "Our team wants to know why the quarterly report about the northern region differs from what was planned. "
CODE = "def total(items: list[Item]) -> float:\n    return sum(item.price * item.count for item in items)\n\n"
SPANISH = "El año pasado, según el informe, la región creció más rápido de lo que nadie había pensado. "
SIZES = {"0.2 KB": 200, "2 KB": 2_000, "16 KB": 16_000, "64 KB": 64_000}
REPEATS, ROUNDS = 200, 5


def microseconds(text: str) -> float:
    """The best of some rounds: what the machine can do when nobody disturbs it."""
    signal, request = Heuristics(), ChatRequest(messages=(Message(role="user", content=text),))
    times = timeit.repeat(lambda: signal.measure(request), number=REPEATS, repeat=ROUNDS)
    return min(times) / REPEATS * 1e6


def main() -> None:
    print(f"{'us':8}" + "".join(f"{size:>10}" for size in SIZES))
    for name, text in (("prose", PROSE), ("code", CODE), ("accents", SPANISH)):
        row = [microseconds((text * (chars // len(text) + 1))[:chars]) for chars in SIZES.values()]
        print(f"{name:8}" + "".join(f"{time:10.1f}" for time in row))


if __name__ == "__main__":
    main()
