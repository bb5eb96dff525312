"""Which model is worth its dollars: by tiers, difficulty, scores, and what this request costs at each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from muxer.estimates import Estimates
from muxer.money import FREE, Price, Rates
from muxer.plans import Plan
from muxer.routing import plan
from muxer.scores import Scored, Scores
from muxer.testing import a_request
from tests.test_routing import a_model, a_question, a_route, names, some_rules
from tests.values import measured

MODELS = {
    name: a_model(name, tier=tier, price=Price(Rates(input=picos, output=4 * picos)))
    for name, tier, picos in (("small", 1, 100), ("middle", 2, 400), ("large", 3, 2_000), ("dull", 1, 900))
}


def decided(
    difficulty: float | None,
    use: tuple[str, ...] = ("small", "large"),
    scores: dict[str, Scored] | None = None,
    **changes: object,
) -> Plan:
    asked = measured(a_request("How many are there?"))
    values = asked.values | ({} if difficulty is None else {"difficulty": difficulty})
    known = Scores(models={(name, "r"): one for name, one in (scores or {}).items()})
    question = a_question(measured=replace(asked, values=values), estimates=Estimates(scores=known))
    models = changes.pop("models", MODELS)
    return plan(some_rules(a_route("r", use, order="value", **changes), models=models), question)  # type: ignore[arg-type]


@pytest.mark.parametrize(("difficulty", "first"), [(0.02, "small"), (0.18, "small"), (0.21, "large"), (0.9, "large")])
def test_an_easy_question_goes_to_the_cheap_model_and_a_hard_one_to_the_strong(difficulty: float, first: str) -> None:
    found = decided(difficulty)
    assert names(found)[0] == first and len(found.candidates) == 2
    assert found.reason == "rule r: matches everything; best value first"


def test_a_model_between_is_chosen_where_the_last_step_is_not_worth_it() -> None:
    assert names(decided(0.15, ("small", "middle", "large")))[0] == "middle"
    assert names(decided(0.40, ("small", "middle", "large")))[0] == "large"


def test_what_quality_is_worth_is_said_by_the_route() -> None:
    assert names(decided(0.2, keep_quality=0.75))[0] == "small"
    assert names(decided(0.05, keep_quality=0.99))[0] == "large"
    assert names(decided(0.9, keep_quality=0.0))[0] == "small", "where quality is worth nothing"


def test_where_the_strong_model_is_hardly_dearer_it_is_worth_it_for_easy_questions() -> None:
    close = {**MODELS, "large": replace(MODELS["large"], price=Price(Rates(input=105, output=420)))}
    assert names(decided(0.02, models=close))[0] == "large"


def test_without_a_difficulty_the_tiers_decide() -> None:
    assert names(decided(None)) == ["large", "small"]


def test_a_dominated_model_is_passed_over_with_the_reason() -> None:
    found = decided(0.5, ("dull", "small", "large"))
    assert "dull" not in names(found)
    (excluded,) = found.excluded
    assert (excluded.model, excluded.gate) == ("dull", "dominated")
    assert excluded.detail.startswith("small is as good (0.50 >= 0.50) and costs $0.")


def test_one_that_is_as_weak_and_scored_better_is_not_dominated() -> None:
    better = {"dull": Scored(200, 0.95), "small": Scored(200, 0.4)}
    assert "dull" in names(decided(0.5, ("dull", "small", "large"), better))


def test_a_dominated_model_serves_while_the_better_one_cannot() -> None:
    asked = a_question(is_cooling=lambda model: "it rests" if model.name == "small" else "")
    assert "dull" in names(plan(some_rules(a_route("r", ("dull", "small"), order="value"), models=MODELS), asked))


def test_scores_correct_what_tiers_say() -> None:
    assert names(decided(0.4, scores={"small": Scored(500, 0.97), "large": Scored(500, 0.98)}))[0] == "small"
    assert names(decided(0.02, scores={"small": Scored(500, 0.3), "large": Scored(500, 0.9)}))[0] == "large"


def test_scores_of_easy_questions_say_less_of_a_hard_one() -> None:
    easy = {"small": Scored(500, 0.95, 0.05), "large": Scored(500, 0.95, 0.6)}
    assert names(decided(0.05, scores=easy))[0] == "small"
    assert names(decided(0.6, scores=easy))[0] == "large"


def test_a_model_without_a_price_comes_last_and_free_ones_go_by_quality() -> None:
    unpriced = {**MODELS, "small": replace(MODELS["small"], price=None)}
    assert names(decided(0.0, models=unpriced)) == ["large", "small"]
    free = {name: replace(model, price=FREE) for name, model in MODELS.items()}
    assert names(decided(0.3, models=free)) == ["large", "small"]


PICOS = st.integers(0, 3_000)


@given(
    tiers=st.lists(st.tuples(st.integers(0, 3), PICOS), min_size=1, max_size=5),
    difficulty=st.floats(0, 1),
    keep=st.floats(0, 1),
)
def test_nothing_cheaper_is_as_good_as_what_is_chosen(
    tiers: list[tuple[int, int]], difficulty: float, keep: float
) -> None:
    models = {
        f"m{number}": a_model(f"m{number}", tier=tier, price=Price(Rates(input=picos, output=picos)))
        for number, (tier, picos) in enumerate(tiers)
    }
    found = decided(difficulty, tuple(models), models=models, keep_quality=keep)
    first, *rest = found.candidates
    assert len(found.candidates) + len(found.excluded) == len(models)
    for other in rest:
        cheaper, quality = other.expected_nanos < first.expected_nanos, other.quality or 0.0
        assert not (
            cheaper and quality >= (first.quality or 0.0) and (other.model.tier or 0) >= (first.model.tier or 0)
        )
