"""Makes plugins/muxer_heuristics/learned.py from labelled prompts: what the tables of words.py leave to correct.

`ROUTING_DATA=DIR python -m scripts.learn_words` writes the table, `--check` cross-validates instead: every prompt is
judged by a table that was learned without its fold; exit code 1 where that is worse than was promised. Only rows under
the Apache-2.0 and MIT licences are learned from.
"""

import argparse
import gzip
import json
import math
import os
import random
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import muxer_heuristics
from muxer_heuristics import SHORT_CHARS, SIGNALS, features, sums
from muxer_heuristics.words import CODE, COMPLEXITY, SIMPLE

from bench import rules

TARGET = Path(muxer_heuristics.__file__).parent / "learned.py"
LABELS = {"code": CODE, "complex": COMPLEXITY, "simple": SIMPLE, "general": ""}
# Sets whose kind is known beside the labelled prompts, so many of each: (file, category) and the label.
BESIDE = {
    ("routellm_gsm8k", ""): "complex",
    ("zeroeval_mathl5", ""): "complex",
    ("ulab_mixed13", "math"): "complex",
    ("ulab_mixed13", "agentverse-logicgrid"): "complex",
    ("ulab_mixed13", "natural_qa"): "simple",
    ("ulab_mixed13", "trivia_qa"): "simple",
    ("ulab_mixed13", "human_eval"): "code",
    ("mmlu_pro", "math"): "complex",
    ("mmlu_pro", "physics"): "complex",
}
OF_EACH, GENERAL_COUNTS, FOLDS, SEED = 60, 3, 5, 1
THRESHOLD, LEAST, MOST, LEAST_PROMPTS = 20, 3, 30, 8
LEAST_MACRO, LEAST_RECALL, MOST_TRAPPED = 0.87, 0.80, 6 / 33
EPOCHS, RATE, SHRINK = 12, 0.2, 1.5
# How one asks says nothing of what is asked.
_POLITE = """please could would can you your me my i hi hey hello thanks thank kindly tell help need want give let know
    question quick quickly im ll d ve s"""
POLITE = frozenset(_POLITE.split())
NOT_OURS = ("CC-BY-4.0",)


class Prompt(NamedTuple):
    """One prompt: its label, what words.py makes of it, what the table may look at, and how it is measured."""

    label: str
    by_hand: dict[str, int]
    features: dict[str, float]
    chars: int
    trap: bool
    licence: str


def _prompt(label: str, text: str, *, trap: bool = False, licence: str = "") -> Prompt:
    found = muxer_heuristics._hits(text)
    lowered = text.strip()[: 2 * muxer_heuristics.READ_CHARS].casefold()
    words = muxer_heuristics._words(lowered)
    seen = {name: 1 / divisor for name, _, divisor in features(words, dict.fromkeys(words), lowered, frozenset(words))}
    kept = {name: value for name, value in seen.items() if not name.isdigit() and name not in POLITE}
    return Prompt(label, sums(found._replace(learned=[])), kept, len(text), trap, licence)


def _rows(data: Path, name: str) -> list[dict[str, str]]:
    with gzip.open(data / f"{name}.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def _stem(text: str) -> str:
    return re.sub(r"\W+", "", text.casefold())[:60]


def beside(data: Path, known: frozenset[str]) -> list[Prompt]:
    """Prompts of the other sets that are none of the labelled ones; of questions with options only the question."""
    chance, found = random.Random(SEED), []
    for (name, category), label in BESIDE.items():
        rows = [row for row in _rows(data, name) if not category or row["category"] == category]
        texts = [row["prompt"].partition("\nA. ")[0] for row in rows]
        texts = [text for text in texts if _stem(text) not in known]
        found += [_prompt(label, text) for text in chance.sample(texts, min(OF_EACH, len(texts)))]
    return found


def learn(prompts: Sequence[Prompt], signal: str) -> dict[str, int]:
    """Logistic regression on top of words.py, a hundredth of the signal being a tenth of a log-odds unit."""
    chosen = [prompt for prompt in prompts if signal != SIMPLE or prompt.chars < SHORT_CHARS]
    chosen += [prompt for prompt in chosen if prompt.label == "general"] * (GENERAL_COUNTS - 1)
    counts = Counter(name for prompt in chosen for name in prompt.features)
    weights = {name: 0.0 for name, count in sorted(counts.items()) if count >= LEAST_PROMPTS}
    squares = dict.fromkeys(weights, 1e-6)
    items = [
        (
            float(LABELS[prompt.label] == signal),
            (max(-40, min(60, prompt.by_hand[signal])) - THRESHOLD) / 10,
            [(name, value) for name, value in prompt.features.items() if name in weights],
        )
        for prompt in chosen
    ]
    chance = random.Random(SEED)
    for _ in range(EPOCHS):
        chance.shuffle(items)
        for wanted, offset, found in items:
            odds = offset + sum(weights[name] * value for name, value in found)
            error = 1 / (1 + math.exp(-max(-30.0, min(30.0, odds)))) - wanted
            for name, value in found:
                slope = error * value + SHRINK * weights[name] / counts[name]
                squares[name] += slope * slope
                weights[name] -= RATE * slope / math.sqrt(squares[name])
    hundredths = {name: max(-MOST, min(MOST, round(10 * weight))) for name, weight in weights.items()}
    return {name: weight for name, weight in hundredths.items() if abs(weight) >= LEAST}


def routed(prompt: Prompt, table: Mapping[str, Mapping[str, int]]) -> str:
    """The label of the route that the shipped routing.yaml takes."""
    for label, signal in LABELS.items():
        learned = table.get(signal, {})
        total = prompt.by_hand.get(signal, 0)
        total += sum(int(learned[name] * value) for name, value in prompt.features.items() if name in learned)
        if signal and total >= THRESHOLD and (signal != SIMPLE or prompt.chars < SHORT_CHARS):
            return label
    return "general"


def went_to(prompts: Sequence[Prompt], more: Sequence[Prompt], seed: int) -> list[str]:
    """The route of each prompt by a table that was learned without its fold."""
    order = list(range(len(prompts)))
    random.Random(seed).shuffle(order)
    routes = [""] * len(prompts)
    for fold in range(FOLDS):
        held = set(order[fold::FOLDS])
        kept = [prompts[at] for at in order if at not in held]
        table = {signal: learn([*kept, *more], signal) for signal in SIGNALS}
        for at in held:
            routes[at] = routed(prompts[at], table)
    return routes


def check(prompts: Sequence[Prompt], routes: Sequence[str], title: str) -> bool:
    """Prints F1 of each label, their mean, recall of complex, and the traps that went to the dear routes; whether that
    is as good as it has to be."""
    went = Counter((prompt.label, route) for prompt, route in zip(prompts, routes, strict=True))
    scores = {}
    for label in LABELS:
        both = sum(went[label, other] + went[other, label] for other in LABELS)
        scores[label] = 2 * went[label, label] / both
    macro = sum(scores.values()) / len(scores)
    recall = went["complex", "complex"] / sum(went["complex", other] for other in LABELS)
    trapped = [route in ("code", "complex") for prompt, route in zip(prompts, routes, strict=True) if prompt.trap]
    words = ", ".join(f"{label} {score:.3f}" for label, score in scores.items())
    print(f"{title}: macro-F1 {macro:.3f} ({words}); complex recall {recall:.3f}; "
          f"{sum(trapped)} of {len(trapped)} traps to code or complex", flush=True)  # fmt: skip
    return macro >= LEAST_MACRO and recall >= LEAST_RECALL and sum(trapped) <= MOST_TRAPPED * len(trapped)


def written(table: Mapping[str, Mapping[str, int]]) -> Iterable[str]:
    """The lines of the module."""
    yield '"""What labelled prompts correct in words.py, in hundredths; made by scripts/learn_words.py."""\n'
    yield "from collections.abc import Mapping\n"
    yield "LEARNED: Mapping[str, Mapping[int, str]] = {"
    for signal, weights in table.items():
        yield f'    "{signal}": {{'
        for weight in sorted(set(weights.values()), reverse=True):
            names = " ".join(sorted(name.replace(" ", "_") for name, one in weights.items() if one == weight))
            lines = textwrap.wrap(names.replace("\\", "\\\\"), 104, break_long_words=False, break_on_hyphens=False)
            if len(lines) == 1 and not names.endswith('"'):
                yield f'        {weight}: """{lines[0]}""",' if '"' in names else f'        {weight}: "{lines[0]}",'
            else:
                yield f'        {weight}: """' + "\n            ".join([*lines, '""",'])
        yield "    },"
    yield "}"


def main() -> int:
    """Learns, and writes or checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    there = os.environ.get("ROUTING_DATA")
    parser.add_argument("--data", type=Path, default=there, required=there is None)
    parser.add_argument("--check", type=int, metavar="SEED", help="cross-validate with this order of the prompts")
    arguments = parser.parse_args()
    rows = _rows(arguments.data, "labelled_prompts")
    prompts = [_prompt(row["label"], row["prompt"], trap=bool(row["trap"]), licence=row["licence"]) for row in rows]
    more = beside(arguments.data, frozenset(_stem(row["prompt"]) for row in rows))
    if arguments.check is not None:
        check(prompts, [rules.route(row["prompt"]) for row in rows], "rules before")
        return int(not check(prompts, went_to(prompts, more, arguments.check), "rules now"))
    allowed = [prompt for prompt in prompts if not prompt.licence.startswith(NOT_OURS)]
    table = {signal: learn([*allowed, *more], signal) for signal in SIGNALS}
    TARGET.write_text("\n".join([*written(table), ""]), encoding="utf-8")
    print(", ".join(f"{signal} {len(weights)}" for signal, weights in table.items()), "words")
    return 0


if __name__ == "__main__":
    sys.exit(main())
