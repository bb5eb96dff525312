"""Routing quality on public per-prompt results, a row a set: `ROUTING_DATA=DIR python -m bench.routing`.

Ways to rank: random, length, the rules' `complexity`, `difficulty` learned within the set (ten folds) and from the
other sets that may be learned from (this one left out), oracle. Printed: APGR with its 95 % interval, and the share of
dollars saved at 99 % of the strong model's quality. Also what one decision costs.
"""

import argparse
import os
import timeit
from collections.abc import Sequence
from pathlib import Path

from muxer_difficulty.fit import fit, folds
from muxer_difficulty.model import load
from muxer_heuristics import Heuristics
from muxer_heuristics.words import COMPLEXITY

from bench.routing_sets import ALLOWED, BORROWED, MOST, PAIRS, labelled, mixed, read_set, stem
from muxer import ChatRequest, Labelled, Message
from muxer.evaluation.curves import Ordered, intervals, measures
from muxer.evaluation.policies import scores
from muxer.evaluation.rows import Pair, Row

FOLDS, SEED = 10, 3


def within(rows: Sequence[Labelled]) -> list[float]:
    """Each prompt by a model that was learned without its fold."""
    found = [0.0] * len(rows)
    for held in folds([row.strong - row.cheap for row in rows], FOLDS, SEED):
        model = load(fit([row for at, row in enumerate(rows) if at not in held], lambda done: None))
        for at in held:
            found[at] = model.chance(rows[at].prompt)
    return found


def left_out(data: Path, name: str, prompts: Sequence[str]) -> list[float]:
    """Each prompt by a model that was learned from the other sets alone, without questions that are in both."""
    others = [other for other in ALLOWED if other != name]
    known = mixed(data, others, {stem(prompt) for prompt in prompts}, MOST, SEED)
    model = load(fit([], lambda done: None, known, BORROWED))
    return [model.chance(prompt) for prompt in prompts]


def row_of(data: Path, name: str, times: int) -> dict[str, tuple[float, float, float, float | None]]:
    """APGR, its interval and the dollars saved of each way to rank the prompts of one set."""
    rows, pairs = read_set(data, name)
    ranked: dict[str, list[float]] = {
        "random": [0.0] * len(rows),
        "length": [float(len(row.prompt)) for row in rows],
        "complexity": scores(rows, Heuristics(), COMPLEXITY, lambda more: None),
        "difficulty, within": within(labelled(rows, pairs)),
        "difficulty, set left out": left_out(data, name, [row.prompt for row in rows]),
        "oracle": [pair.strong - pair.cheap for pair in pairs],
    }
    return {how: _measured(values, pairs, times) for how, values in ranked.items()}


def _measured(values: list[float], pairs: list[Pair], times: int) -> tuple[float, float, float, float | None]:
    ordered = Ordered(values, pairs)
    found, around = measures(ordered), intervals(ordered, times, SEED, lambda more: None)
    return found["apgr"], *around["apgr"], found.get("save@99q")


def decision_ms(data: Path) -> float:
    """The 95th percentile over prompts to 2,000 characters of one measurement, each the best of three."""
    rows: list[Row] = read_set(data, "ulab_mixed13")[0][:400]
    model = load(fit(labelled(*read_set(data, "zeroeval_gsm")), lambda done: None))
    texts = [ChatRequest(messages=(Message(role="user", content=row.prompt[:2_000]),)).question for row in rows]
    times = sorted(min(timeit.repeat(lambda text=text: model.chance(text), number=1, repeat=3)) for text in texts)  # type: ignore[misc]  # mypy does not infer defaults of lambdas
    return times[len(times) * 95 // 100] * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    there = os.environ.get("ROUTING_DATA")
    parser.add_argument("--data", type=Path, default=there, required=there is None)
    parser.add_argument("--sets", default=",".join(PAIRS))
    parser.add_argument("--bootstrap", type=int, default=200)
    arguments = parser.parse_args()
    means: dict[str, list[float]] = {}
    for name in arguments.sets.split(","):
        for how, (apgr, low, high, saved) in row_of(arguments.data, name, arguments.bootstrap).items():
            means.setdefault(how, []).append(apgr)
            money = "" if saved is None else f"{100 * saved:5.1f} %"
            print(f"| {name} | {how} | {apgr:.3f} [{low:.3f}, {high:.3f}] | {money} |", flush=True)
    for how, found in means.items():
        print(f"| mean | {how} | {sum(found) / len(found):.3f}, least {min(found):.3f} | |")
    print(f"difficulty decides in {decision_ms(arguments.data):.2f} ms (p95)")


if __name__ == "__main__":
    main()
