"""The signal `difficulty`: it learns what is learnable, says chances, and knows what it does not know."""

import random
import zlib
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from muxer_difficulty import SIGNALS, USUAL, Difficulty, DifficultySettings, open_difficulty, register_signals
from muxer_difficulty.features import BUCKETS, READ_CHARS, SHAPES, Features, features, single
from muxer_difficulty.fit import fit, folds
from muxer_difficulty.model import Artefact, Model, NotAnArtefact, load, sum_of
from muxer_difficulty.ridge import Prepared, prepared, said, spread_out
from muxer_difficulty.ridge import learned as learned_weights

from muxer import ConfigInvalid, Labelled, Signal, Trainable
from muxer.testing import SignalContract, a_request, open_context

calmly = settings(deadline=None)
EASY = ["name", "colour", "capital", "river", "song", "of", "the", "country"]
HARD = ["integral", "entropy", "eigenvalue", "proof", "lemma", "over", "a", "manifold"]


def rows(count: int, seed: int, noise: float = 0.1) -> list[Labelled]:
    """Prompts of two kinds: the cheap model mostly fails on hard ones, and never does worse on easy ones."""
    chance = random.Random(seed)
    found = []
    for _ in range(count):
        is_hard = chance.random() < 0.4
        words = chance.choices(HARD if is_hard else EASY, k=8)
        fails = chance.random() < (1 - noise if is_hard else noise)
        found.append(Labelled(" ".join(words), 1.0, 0.0 if fails else 1.0))
    return found


def learned(of: Sequence[Labelled]) -> Model:
    return load(fit(of, lambda done: None))


_SMALL = fit(rows(60, 1), lambda done: None)
_SMALL_MODEL = load(_SMALL)


@pytest.fixture(scope="module")
def model() -> Model:
    return learned(rows(400, 1))


class TestDifficulty(SignalContract):
    declared = SIGNALS

    def signal(self) -> Signal:
        return Difficulty(_SMALL_MODEL)


def test_hard_prompts_score_above_easy_ones(model: Model) -> None:
    assert model.chance("an integral over the entropy of a manifold") > 0.6
    assert model.chance("the capital of the country and its river") < 0.3


def test_a_chance_is_what_happens(model: Model) -> None:
    fresh = rows(2_000, 2)
    for low, high in ((0.0, 0.5), (0.5, 1.0)):
        group = [(model.chance(row.prompt), row.strong > row.cheap) for row in fresh]
        group = [(chance, happened) for chance, happened in group if low <= chance < high]
        expected = sum(chance for chance, _ in group) / len(group)
        assert abs(expected - sum(happened for _, happened in group) / len(group)) < 0.06


def test_what_it_has_not_met_is_as_likely_as_anything(model: Model) -> None:
    mean = sum(row.strong > row.cheap for row in rows(400, 1)) / 400
    strange = model.chance("zxqv wvut kjhg poiu")
    assert abs(strange - mean) < 0.12
    assert abs(model.chance("") - mean) < 0.12


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_it_knows_what_it_has_not_met_in_a_table_that_other_words_have_filled(share: float) -> None:
    chance, table = random.Random(3), bytearray(BUCKETS)
    for at in range(SHAPES, BUCKETS):
        table[at] = 9 if chance.random() < share else 0
    met, strange = (" ".join(map("".join, product(letters, repeat=5))) for letters in ("abcd", "efgh"))
    for at in (*features(met).words, *features(met).apart):
        table[at] = 9
    model = Model(Artefact(weights=zlib.compress(bytes(table)), unit=1e-3, slope=1.0, offset=0.0, prompts=1))
    assert model.chance(met) > 0.6
    assert abs(model.chance(strange) - 0.5) < 0.25 * (model.chance(met) - 0.5)


def test_of_a_full_table_nothing_is_known() -> None:
    table = zlib.compress(b"\x09" * BUCKETS)
    assert Model(Artefact(weights=table, unit=1.0, slope=1.0, offset=0.0, prompts=1)).chance("some words") == 0.5


def test_length_alone_is_learned_where_words_say_nothing() -> None:
    chance = random.Random(5)
    found = []
    for at in range(200):
        is_long = chance.random() < 0.5
        words = said_at_random(chance, 60 if is_long else 20)
        found.append(Labelled(words, 1.0, 0.0 if is_long == (at % 10 != 0) else 1.0))
    model = learned(found)
    short, long = ([model.chance(said_at_random(chance, count)) for _ in range(20)] for count in (20, 60))
    assert min(long) > max(short)


def said_at_random(chance: random.Random, count: int) -> str:
    return " ".join(f"w{chance.randrange(50)}" for _ in range(count))


def test_every_fold_has_its_part_of_every_gain() -> None:
    gains = [1.0] * 10 + [0.0] * 30 + [-1.0] * 20
    held = folds(gains, 5, 1)
    assert sorted(at for fold in held for at in fold) == list(range(60))
    assert {tuple(sorted(gains[at] for at in fold)) for fold in held} == {(-1.0,) * 4 + (0.0,) * 6 + (1.0,) * 2}


def test_the_descent_ends_at_the_ridge() -> None:
    # There the residual of each row is its dual times the strength; what rows have alone is put back first.
    strength = 8.0
    found = [features(row.prompt) for row in rows(12, 6)]
    gains = [row.strong - row.cheap for row in rows(12, 6)]
    ready = prepared(found, [""] * len(found))
    weights, duals = learned_weights(ready, gains, range(12), strength)
    table = [0.0] * BUCKETS
    for bucket, weight in spread_out(found, ready, weights, duals).items():
        table[bucket] = weight
    for row, one, gain, dual in zip(ready.rows, found, gains, duals.values(), strict=True):
        assert sum_of(table, one) == pytest.approx(said(weights, row) + row.alone * dual)
        assert gain - sum_of(table, one) == pytest.approx(strength * dual, abs=2e-3)


def test_what_the_largest_source_alone_says_counts_less() -> None:
    found = [features(word) for word in ("proof", "song") * 60]
    sources = ["large"] * 60 + ["a"] * 30 + ["b"] * 30
    everywhere = [1.0, -1.0] * 60
    contested = [gain if source == "large" else -gain / 2 for gain, source in zip(everywhere, sources, strict=True)]
    alike, apart = (of_proof(found, contested, of) for of in ([""] * 120, sources))
    assert 0 < apart < alike / 2
    alike, apart = (of_proof(found, everywhere, of) for of in ([""] * 120, sources))
    assert alike / 2 < apart < alike


def of_proof(found: Sequence[Features], gains: Sequence[float], sources: Sequence[str]) -> float:
    ready = prepared(found, sources)
    weights, duals = learned_weights(ready, gains, range(len(found)), 8.0)
    return spread_out(found, ready, weights, duals)[features("proof").words[0]]


def test_of_several_sources_the_descent_ends_at_the_ridge_too() -> None:
    # Each prompt is told by the shared weights and, as much, by those that its source alone makes of its duals.
    found, sources = [features(row.prompt) for row in rows(12, 6)], ["a", "b", "b"] * 4
    gains = [row.strong - row.cheap for row in rows(12, 6)]
    ready = prepared(found, sources)
    weights, duals = learned_weights(ready, gains, range(12), 8.0)
    for source in "ab":
        own = {at: dual for at, dual in duals.items() if sources[at] == source}
        alone = spread_out(found, ready, weights_of(ready, own), own)
        table = spread_out(found, ready, weights, duals)
        for at, dual in own.items():
            told = sum_of([table.get(bucket, 0.0) + alone.get(bucket, 0.0) for bucket in range(BUCKETS)], found[at])
            assert gains[at] - told == pytest.approx(8.0 * dual, abs=2e-3)


def weights_of(ready: Prepared, duals: Mapping[int, float]) -> list[float]:
    """What the rows with these duals make of the weights, half of it: by the definition."""
    weights = [0.0] * len(ready.numbers)
    for at, dual in duals.items():
        for shared, scale in ready.rows[at].groups:
            for number in shared:
                weights[number] += dual * scale
    return [weight * ready.variances[at] / 2 for weight, at in zip(weights, ready.numbers, strict=True)]


def test_a_word_says_the_more_the_fewer_prompts_have_it() -> None:
    found = [features(f"the {word}") for word in ("proof", "proof", "river", "song")]
    variances = prepared(found, [""] * len(found)).variances
    the, proof, river = (variances[features(word).words[0]] for word in ("the", "proof", "river"))
    assert 0 < the < proof < river
    assert sum(sum(variances[at] for at in one.words) / len(one.words) for one in found) / 4 == pytest.approx(1)
    assert {variances[at] for one in found for at in one.shape} == {0.5}


def test_words_apart_count_half() -> None:
    found = [features(words) for words in ("the proof is", "the song is", "a river was")]
    variances = prepared(found, [""] * len(found)).variances
    assert sum(variances[at] for one in found for at in one.apart) / 3 == pytest.approx(0.5)
    assert 0 < variances[found[0].apart[0]] < variances[found[2].apart[0]]


def test_the_same_rows_give_the_same_bytes() -> None:
    assert fit(rows(60, 1), lambda done: None) == _SMALL


def test_where_nothing_is_to_be_learned_every_prompt_is_alike() -> None:
    same = learned([Labelled(row.prompt, 1.0, 1.0) for row in rows(60, 1)])
    assert same.chance("an integral over a manifold") == pytest.approx(same.chance("the capital"), abs=1e-9)
    assert same.chance("the capital") < 0.05


def test_it_learns_as_a_signal_and_tells_how_far_it_is() -> None:
    signal = Difficulty(_SMALL_MODEL)
    assert isinstance(signal, Trainable)
    told: list[float] = []
    assert load(signal.fit(rows(60, 3), told.append)).prompts == 60
    assert sum(told) == pytest.approx(1)


@calmly
@given(st.text())
def test_case_and_blanks_change_nothing(text: str) -> None:
    words = " ".join(text.split())
    again = f"  {'   '.join(words.casefold().split())}\n"
    assert sorted(features(again).words) == sorted(features(words.casefold()).words)


def test_words_pairs_and_shape_have_buckets_of_their_own() -> None:
    found = features("the capital of the country")
    assert sorted(single(found.words)) == sorted(
        features(word).words[0] for word in ("the", "capital", "of", "country")
    )
    assert (len(found.words), len(found.apart)) == (4 + 4, 3)
    assert not set(found.words) & set(found.apart) and min(*found.words, *found.apart) >= SHAPES > max(found.shape)
    every = features('$ 12 34, "x" (_ = ^ % \\ ```)! - ; ' + "word, and. " * 4_000 + "9" * 30 + "a" * 50)
    assert len(set(every.shape)) == len(every.shape) > 140


@calmly
@given(st.text())
def test_every_value_is_between_0_and_1(text: str) -> None:
    assert 0 <= _SMALL_MODEL.chance(text) <= 1


def test_of_a_long_text_the_head_and_the_tail_are_read() -> None:
    head, tail = "abc " * READ_CHARS, "xyz " * READ_CHARS
    assert sorted(features(head + "middle " * 10_000 + tail).words) == sorted(features(head + tail).words)


async def test_the_one_that_ships_is_used_until_there_is_one_beside_the_file(tmp_path: Path) -> None:
    (kind,) = register_signals()
    request = a_request("an integral over the entropy of a manifold")
    async with open_context(tmp_path) as context:
        async with open_difficulty(DifficultySettings(), context) as shipped:
            before = shipped.measure(request)
        (tmp_path / USUAL).write_bytes(_SMALL)
        async with open_difficulty(DifficultySettings(), context) as own:
            after = own.measure(request)
    assert before.keys() == after.keys() == kind.signals.keys() == {"difficulty"}
    assert before != after


@pytest.mark.parametrize("data", [b"", b"x" * 100, _SMALL[:-20], msgspec.msgpack.encode({"version": 1})])
async def test_a_file_that_is_no_artefact_is_an_error(data: bytes, tmp_path: Path) -> None:
    (tmp_path / USUAL).write_bytes(data)
    async with open_context(tmp_path) as context:
        with pytest.raises(ConfigInvalid, match=r"difficulty\.model: no artefact"):
            async with open_difficulty(DifficultySettings(), context):
                pass


def test_an_artefact_of_another_version_is_told_so() -> None:
    artefact: dict[str, object] = msgspec.msgpack.decode(_SMALL)
    with pytest.raises(NotAnArtefact, match="version 9; this reads version 3"):
        load(msgspec.msgpack.encode(artefact | {"version": 9}))
    with pytest.raises(NotAnArtefact, match="version 2; this reads version 3: train it again"):
        load(msgspec.msgpack.encode(artefact | {"version": 2}))
