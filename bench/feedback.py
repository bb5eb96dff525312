"""What scores of single answers teach, on public per-prompt results: `ROUTING_DATA=DIR python -m bench.feedback`.

Each prompt of a sample is answered by one of the two models, drawn; its graded quality is the score. From so many
scores, kept as a record keeps them, the difficulty signal learns; what it ranks are other prompts of the set. Printed:
the mean APGR over draws (0.5 by chance), the least, and the same of as many prompts graded for both models.
"""

import argparse
import os
import random
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from muxer_difficulty import Difficulty, kept
from muxer_difficulty.features import features
from muxer_difficulty.fit import fit
from muxer_difficulty.model import Model, load

from bench.routing_sets import PAIRS, read_set
from muxer import Labelled, Lesson
from muxer.evaluation.curves import Ordered, measures
from muxer.evaluation.rows import Pair

DRAWS, MOST_HELD = 8, 1_500
Graded = Sequence[tuple[str, Pair]]


def graded(data: Path, name: str) -> list[tuple[str, Pair]]:
    """The prompts of a set with the qualities of both answers."""
    rows, pairs = read_set(data, name)
    return [(row.prompt, pair) for row, pair in zip(rows, pairs, strict=True)]


def drawn(prompts: Graded, share: float, chance: random.Random) -> list[Lesson]:
    """What records tell when a share of the prompts was answered by the strong model."""
    found = []
    for prompt, pair in prompts:
        is_strong = chance.random() < share
        found.append(Lesson(kept.write(features(prompt)), pair.strong if is_strong else pair.cheap, is_strong))
    return found


def apgr(model: Model, held: Graded) -> float:
    """How well a model ranks."""
    return measures(Ordered([model.chance(prompt) for prompt, _ in held], [pair for _, pair in held]))["apgr"]


def learned(prompts: Graded, lessons: Sequence[Lesson]) -> Model:
    """A model of either, in the way of `muxer train`."""
    rows = [Labelled(prompt, pair.strong, pair.cheap) for prompt, pair in prompts]
    any_model = load(fit([Labelled("any", 1.0, 0.0)], lambda done: None))
    return load(Difficulty(any_model).fit_with(rows, lessons, lambda done: None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    there = os.environ.get("ROUTING_DATA")
    parser.add_argument("--data", type=Path, default=there, required=there is None)
    parser.add_argument("--sets", default="ulab_mixed13,routellm_mmlu,routellm_gsm8k")
    parser.add_argument("--counts", default="100,200,400,800")
    parser.add_argument("--shares", default="0.5,0.1")
    parser.add_argument("--draws", type=int, default=DRAWS)
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.counts.split(",")]
    print("| set | what is learned from | " + " | ".join(map(str, counts)) + " |", flush=True)
    for name in arguments.sets.split(","):
        assert name in PAIRS, f"no set {name}; known: {', '.join(PAIRS)}"
        prompts = graded(arguments.data, name)
        ways = {
            "graded for both": None,
            **{f"scores, {float(one):.0%} strong": one for one in arguments.shares.split(",")},
        }
        for way, share in ways.items():
            cells = []
            for count in counts:
                found = []
                for draw in range(arguments.draws):
                    chance = random.Random(draw)
                    order = chance.sample(prompts, len(prompts))
                    sample, held = order[:count], order[count:][:MOST_HELD]
                    lessons = [] if share is None else drawn(sample, float(share), chance)
                    found.append(apgr(learned([] if lessons else sample, lessons), held))
                cells.append(f"{mean(found):.3f} ({min(found):.2f})")
            print(f"| {name} | {way} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
