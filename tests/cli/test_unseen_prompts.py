"""What was learned from some kinds of prompts does no harm to another: a kind is left out, the rest is learned from.

All rows are made here. The kinds have no word of content in common; a few words that are everywhere say nothing.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from tests.cli.running import Ran

Run = Callable[..., Ran]
PAIR = ("--strong", "big", "--cheap", "small")
COUNT = 250
EVERYWHERE = ("the", "a", "of", "is", "what", "how", "in", "and", "to", "for")
KINDS = {
    "law": ("contract tenant deed clause notary verdict", "statute appeal tort estoppel lien fiduciary"),
    "cooking": ("bread soup onion oven butter recipe", "emulsion tempering sous vide roux ganache"),
    "sailing": ("boat harbour anchor rope captain wave", "tacking leeway gybe halyard luffing bearing"),
    "music": ("song piano drum choir melody guitar", "counterpoint fugue modulation cadence hemiola voicing"),
}
ROUTING = """\
version: 1
plugins: [difficulty, demo, memory]
store: {kind: memory}
providers: {p: {kind: demo}}
models:
  big: {provider: p, name: big, price: free}
  small: {provider: p, name: small, price: free}
routes:
"""
HARD = '  - {name: hard, when: "difficulty >= %s", use: [big]}\n'
DEFAULT = "  - {name: default, use: [small]}\n"
# What is in a hundred prompts of a kind where the cheap model fails: most of those with its hard words.
FAILS = {True: 0.85, False: 0.1}
# A word that was never met lies on the bucket of another one about once in forty, so a value moves a little; and words
# that are everywhere have been met, if without meaning.
NEAR, NO_WORSE = 0.12, 0.45


def rows(kind: str, everywhere: int = 3) -> list[dict[str, object]]:
    chance = random.Random(kind)
    found: list[dict[str, object]] = []
    for _ in range(COUNT):
        is_hard = chance.random() < 0.35
        content = chance.choices(KINDS[kind][is_hard].split(), k=5)
        words = [*content, *chance.choices(EVERYWHERE, k=everywhere)]
        chance.shuffle(words)
        cheap = 0.0 if chance.random() < FAILS[is_hard] else 1.0
        found.append({"prompt": " ".join(words), "models": {"big": {"s": 1.0}, "small": {"s": cheap}}})
    return found


def write(path: Path, found: list[dict[str, object]]) -> str:
    path.write_text("\n".join(map(json.dumps, found)))
    return path.name


@pytest.fixture(params=list(KINDS))
def left_out(request: pytest.FixtureRequest, tmp_path: Path, muxer: Run) -> str:
    """The file of one kind; beside it what was learned from the others."""
    kind = str(request.param)
    others = [row for other in KINDS if other != kind for row in rows(other)]
    ran = muxer("train", write(tmp_path / "others.jsonl", others), *PAIR, "--out", "difficulty.model")
    assert ran.code == 0, ran.err
    return write(tmp_path / f"{kind}.jsonl", rows(kind))


class Policy(Struct):
    quality: float
    models: dict[str, int]


class Order(Struct):
    value: dict[str, float | None]


class Judged(Struct):
    ranked: dict[str, Order]
    policy: Policy | None


def judged(muxer: Run, data: str, *words: str) -> Judged:
    ran = muxer("eval", data, *PAIR, *words, "--bootstrap", "0", "--json")
    assert ran.code == 0, ran.err
    return msgspec.json.decode(ran.out, type=Judged)


def decided(muxer: Run, data: str, policy: str) -> Policy:
    found = judged(muxer, data, "--policy", policy).policy
    assert found is not None
    return found


def values(muxer: Run, data: str) -> list[float]:
    judged(muxer, data, "--signal", "difficulty", "--scores", "scores.jsonl")
    return [json.loads(line)["score"] for line in Path("scores.jsonl").read_text().splitlines()]


def test_it_gives_prompts_it_has_not_met_the_mean_of_those_it_has(left_out: str, tmp_path: Path, muxer: Run) -> None:
    # A prompt without a word is one of which nothing is known.
    nothing: list[dict[str, object]] = [{"prompt": "", "models": {"big": {"s": 1.0}, "small": {"s": 1.0}}}]
    (prior,) = values(muxer, write(tmp_path / "nothing.jsonl", nothing))
    foreign = rows(left_out.removesuffix(".jsonl"), everywhere=0)
    found, seen = values(muxer, write(tmp_path / "foreign.jsonl", foreign)), values(muxer, "others.jsonl")
    assert max(abs(value - prior) for value in found) < NEAR
    assert max(seen) - prior > 2 * NEAR and prior - min(seen) > NEAR


def test_it_ranks_them_no_worse_than_chance(left_out: str, muxer: Run) -> None:
    for data, least in ((left_out, NO_WORSE), ("others.jsonl", 0.65)):
        apgr = judged(muxer, data, "--signal", "difficulty").ranked["difficulty"].value["apgr"]
        assert apgr is not None and apgr > least


def test_a_rule_on_it_decides_as_without_it(left_out: str, tmp_path: Path, muxer: Run) -> None:
    (tmp_path / "with.yaml").write_text(ROUTING + HARD % 0.6 + DEFAULT)
    (tmp_path / "without.yaml").write_text(ROUTING + DEFAULT)
    with_it, without = (decided(muxer, left_out, policy) for policy in ("with.yaml", "without.yaml"))
    assert with_it == without
    # Where it has learned, the same rule is worth something.
    with_it, without = (decided(muxer, "others.jsonl", policy) for policy in ("with.yaml", "without.yaml"))
    assert with_it.quality > without.quality + 0.1
