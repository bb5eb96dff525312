"""The public sets of per-prompt results, the two models that are compared on each, and which may be learned from."""

import random
import re
from pathlib import Path

from msgspec.structs import replace
from muxer_difficulty.features import features
from muxer_difficulty.lessons import Example

from muxer import Labelled
from muxer.evaluation.rows import Pair, Row, pairs, read_prices, read_rows

PAIRS = {
    "routellm_mmlu": ("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"),
    "routellm_gsm8k": ("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"),
    "mmlu_pro": ("gemini-1.5-pro-002", "gemini-1.5-flash-002"),
    "zeroeval_gsm": ("gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18"),
    "zeroeval_crux": ("gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18"),
    "zeroeval_mathl5": ("gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18"),
    "ulab_mixed13": ("llama-3.1-nemotron-51b-instruct", "mistral-7b-instruct-v0.3"),
    "alpaca_eval": ("gpt-4-1106-preview", "gpt-3.5-turbo-1106"),
    "routerbench_arc": ("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"),
    "routerbench_mbpp": ("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"),
    "routerbench_winogrande": ("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"),
}
# Apache-2.0 and MIT; the others are non-commercial or have no licence.
ALLOWED = [name for name in PAIRS if not name.startswith(("alpaca", "routerbench"))]
SAME = {"zeroeval_gsm": "routellm_gsm8k"}  # they ask the same questions: one source
# What is learned for prompts of others is held back more than what is learned for one's own.
MOST, BORROWED = 1_500, 30.0


def read_set(data: Path, name: str) -> tuple[list[Row], list[Pair]]:
    """The prompts that both models of the set have answered, and the choices between them."""
    strong, cheap = PAIRS[name]
    rows = [row for row in read_rows([data / f"{name}.jsonl.gz"]) if strong in row.models and cheap in row.models]
    return rows, pairs(rows, strong, cheap, read_prices(data / "prices.json"))


def stem(prompt: str) -> str:
    """What a question is known again by in another set: its first letters and digits, without options."""
    return re.sub(r"\W+", "", re.sub(r"^\s*(Q|Question):", "", prompt).partition("\nA. ")[0].casefold())[:80]


def labelled(rows: list[Row], known: list[Pair]) -> list[Labelled]:
    """What a signal learns from."""
    return [Labelled(row.prompt, pair.strong, pair.cheap) for row, pair in zip(rows, known, strict=True)]


def graded(data: Path, name: str) -> list[tuple[str, Example]]:
    """Every prompt of a set, and how much the better half of all its models is better on it than the other half: what
    is common to many pairs carries further than one pair's luck. How likely: the share of pairs in which it is.

    From the gains the set's own level is taken: with it, what tells one set from another would be learned first."""
    rows = [row for row in read_rows([data / f"{name}.jsonl.gz"]) if set(PAIRS[name]) <= row.models.keys()]
    scores: dict[str, list[float]] = {}
    for row in rows:
        for model, cell in row.models.items():
            scores.setdefault(model, []).append(cell.s)
    ranked = sorted(scores, key=lambda model: sum(scores[model]) / len(scores[model]))
    cheap, strong = ranked[: len(ranked) // 2], ranked[len(ranked) // 2 :]
    found = []
    for row in rows:
        low = [row.models[model].s for model in cheap if model in row.models]
        high = [row.models[model].s for model in strong if model in row.models]
        likely = sum(one > other for one in high for other in low) / (len(high) * len(low))
        gain = sum(high) / len(high) - sum(low) / len(low)
        found.append((row.prompt, Example(features(row.prompt), gain, likely, SAME.get(name, name))))
    level = sum(example.gain for _, example in found) / len(found)
    return [(prompt, replace(example, gain=example.gain - level)) for prompt, example in found]


def mixed(data: Path, names: list[str], without: set[str], most: int, seed: int) -> list[Example]:
    """At most so many prompts of each of several sets, without some questions, in the same order each time. A question
    that several sources have is learned from the first: it is no other's own."""
    chance, found = random.Random(seed), []
    first: dict[str, str] = {}
    for name in names:
        known = [(stem(prompt), example) for prompt, example in graded(data, name)]
        known = [(question, example) for question, example in known if question not in without]
        for question, example in chance.sample(known, min(most, len(known))):
            if first.setdefault(question, example.source) == example.source:
                found.append(example)
    return found
