"""What scores teach: the threshold that keeps so much quality, never below what was given, and steady over days."""

import random
from collections.abc import Iterable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxer.estimates import Estimates
from muxer.plans import Plan
from muxer.routing import plan
from muxer.scores import Curve, Scored, Scores, ScoreSamples, rising, threshold_held
from muxer.testing import a_record
from muxer.types import Attempt, Record, Usage
from tests.test_routing import a_model, a_question, a_route, some_rules
from tests.values import learned

STRONG = 0.9


def quality(confidence: float) -> float:
    """How often an answer of the cheap model that is so sure is right."""
    return confidence**2


def cascaded(number: int, confidence: float, threshold: float, chance: random.Random) -> Record:
    """A request of a cascade, and the score its answer got."""
    names = ("cheap",) if confidence >= threshold else ("cheap", "strong")
    attempts = [Attempt(model=name, provider="p", upstream=name, outcome="exact", status=200) for name in names]
    attempts[0] = Attempt(
        **{f: getattr(attempts[0], f) for f in Attempt.__struct_fields__} | {"confidence": confidence}
    )
    right = quality(confidence) if confidence >= threshold else STRONG
    return a_record(
        id=f"r{number}",
        state="done",
        route="r",
        model=names[-1],
        usage=Usage(10, 10),
        confidence=confidence,
        attempts=tuple(attempts),
        feedback=float(chance.random() < right),
    )


def learned_scores(records: Iterable[Record]) -> Scores:
    samples = ScoreSamples()
    for record in records:
        samples.add(record)
    return samples.scores()


def traffic(threshold: float, seed: int, count: int = 2_000) -> list[Record]:
    chance = random.Random(seed)
    return [cascaded(number, chance.random() ** 0.25, threshold, chance) for number in range(count)]


def kept(threshold: float) -> float:
    """The part of the strong model's quality that a threshold truly keeps."""
    chance = random.Random(1)
    drawn = [chance.random() ** 0.25 for _ in range(50_000)]
    return sum(quality(one) if one >= threshold else STRONG for one in drawn) / len(drawn) / STRONG


@pytest.mark.parametrize("keep", [0.9, 0.95, 0.99])
def test_the_learned_threshold_keeps_about_what_is_asked(keep: float) -> None:
    found = [learned_scores(traffic(0.5, seed)).curve("cheap", "r").threshold(keep) for seed in range(5)]
    truth = [kept(one) for one in found]
    assert sum(truth) / len(truth) == pytest.approx(keep, abs=0.02)
    assert min(truth) > keep - 0.05


def test_it_is_never_below_what_held_and_does_not_creep() -> None:
    threshold = 0.85
    for day in range(12):
        threshold = learned_scores(traffic(threshold, day)).curve("cheap", "r").threshold(0.8)
        assert threshold == pytest.approx(0.85, abs=0.01)


def test_an_answer_given_for_want_of_another_does_not_move_it() -> None:
    records = traffic(0.85, 1)
    chance = random.Random(2)
    unsure = [cascaded(10_000 + number, 0.2, 0.0, chance) for number in range(5)]
    assert learned_scores([*records, *unsure]).curve("cheap", "r").threshold(0.5) == pytest.approx(0.85, abs=0.01)


def test_where_nothing_keeps_enough_everything_is_asked_on() -> None:
    worthless = [
        Record(**{f: getattr(one, f) for f in Record.__struct_fields__} | {"feedback": float(one.model == "strong")})
        for one in traffic(0.5, 1)
    ]
    assert learned_scores(worthless).curve("cheap", "r").threshold(0.99) > 0.98


def decided(records: list[Record], **changes: object) -> Plan:
    models = {name: a_model(name) for name in ("cheap", "strong")}
    rules = some_rules(a_route("r", ("cheap", "strong"), order="cascade", **changes), models=models)
    return plan(rules, a_question(estimates=learned(records)))


def test_until_there_are_enough_scores_the_reason_says_so() -> None:
    few = decided(traffic(0.85, 1)[:30], keep_quality=0.99)
    assert few.cascade is not None and few.cascade.threshold == 0.85
    assert "; cascade at 0.85, until answers are scored: " in few.reason and " of 50 and " in few.reason
    begun = decided([], keep_quality=0.99, confidence=0.6)
    assert begun.cascade is not None and begun.cascade.threshold == 0.6


def test_then_it_says_what_it_keeps_by_how_many() -> None:
    found = decided(traffic(0.85, 1), keep_quality=0.9)
    assert found.cascade is not None and 0.84 <= found.cascade.threshold <= 1
    assert found.reason.endswith("which keeps 90 % by 2000 scores")


def test_a_route_without_enough_goes_by_the_model_on_all() -> None:
    scores = learned_scores(traffic(0.85, 1))
    assert scores.curve("cheap", "another").is_enough
    assert scores.of("cheap", "another") == scores.of("cheap", "r")
    assert scores.of("nobody", "r") == Scored()


def test_the_difficulty_of_what_was_scored_is_kept() -> None:
    records = [
        a_record(id=str(number), state="done", route="r", model="m", feedback=score, signals=signals)
        for number, (score, signals) in enumerate([(1.0, {"difficulty": 0.2}), (0.0, {"difficulty": 0.4}), (0.5, {})])
    ]
    found = learned_scores(records).of("m", "r")
    assert (found.count, found.mean) == (3, 0.5) and found.difficulty == pytest.approx(0.3)


def test_what_nobody_scored_teaches_nothing() -> None:
    assert learned([a_record(state="done", route="r", model="m")]).scores == Estimates().scores
    assert Curve().threshold(0.9) == 1.0


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30).map(sorted))
def test_fitted_scores_never_fall_and_keep_the_mean(pairs: list[tuple[float, float]]) -> None:
    steps = rising(pairs)
    assert [start for start, _ in steps] == sorted({start for start, _ in steps})
    assert all(before[1] < after[1] for before, after in pairwise(steps))

    def fitted() -> Iterator[float]:
        for confidence, _ in pairs:
            yield next(mean for start, mean in reversed(steps) if start <= confidence)

    assert sum(fitted()) == pytest.approx(sum(score for _, score in pairs), abs=1e-9)


def test_the_threshold_that_held_is_between_what_was_given_and_what_was_not() -> None:
    assert threshold_held([(0.3, False), (0.6, False), (0.8, True), (0.9, True)]) == pytest.approx(0.7)
    assert threshold_held([(0.3, True), (0.6, False), (0.8, True), (0.9, True)]) == pytest.approx(0.7)
    assert threshold_held([(0.3, True), (0.9, True)]) == 0.3
    assert threshold_held([(0.3, False), (0.9, False)]) == pytest.approx(0.95)
