"""What a record keeps for the signal `difficulty`, and what it learns from that and one judged answer."""

import random
from base64 import b85encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from muxer_difficulty import DIFFICULTY, Difficulty, kept
from muxer_difficulty.features import BUCKETS, Features, features
from muxer_difficulty.fit import fit
from muxer_difficulty.lessons import examples
from muxer_difficulty.model import Model, load

from muxer import KeepsFeatures, Labelled, LearnsLater, Lesson
from muxer.lessons import MOST_FEATURES
from muxer.testing import a_request
from tests.plugins.test_muxer_difficulty import EASY, HARD, rows

calmly = settings(deadline=None)
SMALL = load(fit(rows(60, 1), lambda done: None))
SIGNAL = Difficulty(SMALL)
BUCKET = st.integers(0, BUCKETS - 1)


@calmly
@given(*(st.lists(BUCKET, unique=True, max_size=most) for most in (400, 300, 90)))
def test_what_is_kept_is_read_as_it_was(words: list[int], apart: list[int], shape: list[int]) -> None:
    assert kept.read(kept.write(Features(words, apart, shape))) == Features(sorted(words), sorted(apart), sorted(shape))


@calmly
@given(st.text())
def test_what_is_kept_measures_as_the_text_did(text: str) -> None:
    request = a_request(text)
    assert SIGNAL.recall(SIGNAL.features(request))[DIFFICULTY] == pytest.approx(SIGNAL.measure(request)[DIFFICULTY])


@pytest.mark.parametrize("step", [1, 80, 87, 127, 128, 129, 300])
def test_there_is_a_bound_on_what_is_kept(step: int) -> None:
    most = Features(*(list(range(first, BUCKETS, by)) for first, by in ((0, step), (1, 300), (7, 1_500))))
    assert len(kept.write(most)) <= 3_400 < MOST_FEATURES
    long = " ".join(f"word{number}" for number in range(3_000))
    assert len(SIGNAL.features(a_request(long))) <= 3_400


def test_of_long_texts_the_same_words_are_kept() -> None:
    words = [f"word{number}" for number in range(2_000)]
    one, other = (
        kept.read(kept.write(features(" ".join(chosen)))) for chosen in (words, [*words[1_000:], *words[:1_000]])
    )
    assert len(set(one.words) & set(other.words)) > 0.95 * len(one.words) == 0.95 * len(other.words)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "=",
        "é",
        "AQ",
        "Ag",
        "AQEB",
        kept.write(features("some words here"))[:-3],
        kept.write(features("some")) + "AA",
    ],
)
def test_what_was_not_kept_is_not_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        kept.read(text)


def test_what_was_hashed_otherwise_is_not_read() -> None:
    with pytest.raises(ValueError, match="in another way"):
        kept.read(b85encode(bytes((kept.HASHING + 1, 0, 0))).decode())


def test_a_text_hashes_to_what_it_always_did() -> None:
    # When this fails, records kept so far say nothing any more: raise HASHING, so that they are left out.
    assert (kept.HASHING, SIGNAL.features(a_request("Why is the sky blue? 42"))) == (
        3,
        "0}Gd*0g`6F<pIxz1B4~SJDiRWvzi6OiUN%;*t-D)x~>DLiwEx01O0Iz4FLfv3;`1X3jqNE0RaI40RaI49RUFW0RaI40s$uh",
    )


def test_it_says_that_it_learns_later() -> None:
    assert isinstance(SIGNAL, LearnsLater) and isinstance(SIGNAL, KeepsFeatures)


def lessons(count: int, seed: int, share: float = 0.5, noise: float = 0.1) -> list[Lesson]:
    """Answers by one model each: the strong one is good but by chance, the cheap one fails on hard prompts."""
    chance, found = random.Random(seed), []
    for _ in range(count):
        is_hard, is_strong = chance.random() < 0.4, chance.random() < share
        words = " ".join(chance.choices(HARD if is_hard else EASY, k=8))
        fails = chance.random() < (1 - noise if is_hard and not is_strong else noise)
        found.append(Lesson(SIGNAL.features(a_request(words)), 0.0 if fails else 1.0, is_strong))
    return found


def learned(of: list[Lesson], and_rows: list[Labelled] | None = None) -> Model:
    return load(SIGNAL.fit_with(and_rows or [], of, lambda done: None))


@pytest.mark.parametrize("share", [0.5, 0.2, 0.8])
def test_two_hundred_judged_answers_tell_hard_from_easy(share: float) -> None:
    model = learned(lessons(200, 5, share))
    hard, easy = ([model.chance(" ".join(words[at:] + words[:at])) for at in range(8)] for words in (HARD, EASY))
    assert min(hard) > max(easy) + 0.05


def test_a_chance_is_about_what_happens() -> None:
    # 4 in 10 prompts are hard; there the cheap one fails in 9 of 10 and the strong one answers in 9 of 10.
    model = learned(lessons(3_000, 6))
    hard, easy = (model.chance(" ".join(words)) for words in (HARD, EASY))
    assert abs(0.4 * hard + 0.6 * easy - (0.4 * 0.81 + 0.6 * 0.09)) < 0.08
    assert hard > 0.5 and easy < 0.35


@pytest.mark.parametrize(("count", "weight"), [(50, 1.0), (40, 1.5), (24, 3.0), (4, 3.0)])
def test_a_score_weighs_more_where_its_side_is_rare(count: int, weight: float) -> None:
    scores = [1.0, 0.0] * 50
    found = examples([Lesson(kept.write(Features([1], [], [2])), score, at < count) for at, score in enumerate(scores)])
    strong, cheap = found[:count], found[count:]
    assert sum(one.gain for one in found) / 100 == pytest.approx(0.0, abs=1e-2)
    assert strong[0].gain - strong[1].gain == pytest.approx(weight * (cheap[-1].gain - cheap[-2].gain))
    assert {one.is_better for one in found} == {0.5, 0.0}


def test_lessons_and_comparisons_are_learned_from_together() -> None:
    told: list[float] = []
    data = SIGNAL.fit_with(rows(60, 3), lessons(60, 4), told.append)
    assert load(data).prompts == 120 and sum(told) == pytest.approx(1)
    assert SIGNAL.fit_with(rows(60, 3), lessons(60, 4), told.append) == data
    assert SIGNAL.fit_with(rows(60, 1), [], told.append) == fit(rows(60, 1), lambda done: None)
