"""What the records say was decided, what a file decides on them, and what cannot be told."""

import pytest
from msgspec.structs import replace

from muxer.gates import Excluded
from muxer.keyring import Known
from muxer.plans import Rules
from muxer.replay.outcomes import Outcome
from muxer.replay.sides import Decided, Past, Recorded
from muxer.types import Affinity, Attempt, Caller, Needs, Record, Usage
from tests.replay.values import a_request_of, a_route, some_rules

RULES = some_rules(a_route("code", "dear", when="code >= 0.2"), a_route("any", "cheap", "dear"))


async def decided(rules: object = RULES, keys: tuple[Known, ...] = (), **changes: object) -> Outcome:
    return await Decided(rules, keys, None).outcome(a_request_of(**changes))  # type: ignore[arg-type]


async def test_the_recorded_signals_decide() -> None:
    assert await decided() == Outcome("any", "cheap", "cheap-1", 1_200)
    assert await decided(signals={"code": 0.3}) == Outcome("code", "dear", "dear-1", 12_000)


async def test_a_signal_that_was_not_recorded_is_not_guessed() -> None:
    rules = some_rules(a_route("hard", "dear", when="difficulty > 0.5"), a_route("any", "cheap"))
    assert await decided(rules) == Outcome(unknown="the signal difficulty")
    assert (await decided(rules, signals={"difficulty": 0.4})).model == "cheap"


async def test_a_signal_behind_the_rule_that_matches_is_not_missed() -> None:
    rules = some_rules(a_route("short", when="chars < 100"), a_route("hard", when="difficulty > 0.5"))
    assert (await decided(rules)).route == "short"


async def test_a_model_without_price_is_not_guessed() -> None:
    found = await decided(some_rules(a_route("any", "unpriced")))
    assert (found.model, found.unknown) == ("unpriced", "the price of unpriced")


def turns(*models: str, cached: int = 0) -> list[Record]:
    """The turns of one conversation, each a minute after the other; each on the model of the one before."""
    on = [Affinity(), *(Affinity(model, cached) for model in models)]
    return [
        a_request_of(number, model, conversation="c", affinity=on[number], usage=Usage(5_000, 100))
        for number, model in enumerate(models)
    ]


async def models_of(rules: Rules, records: list[Record]) -> list[str]:
    side = Decided(rules, (), None)
    return [(await side.outcome(record)).model for record in records]


@pytest.mark.parametrize(("sticky", "goes_to"), [("conversation", "cheap"), (None, "dear")])
async def test_a_conversation_stays_where_the_changed_rules_took_it(sticky: str | None, goes_to: str) -> None:
    changed = some_rules(
        a_route("first", "cheap", when="turns < 2", sticky=sticky), a_route("next", "dear", "cheap", sticky=sticky)
    )
    records = turns("dear", "dear", "dear")
    for number, record in enumerate(records):
        record.signals["turns"] = number + 1
    assert await models_of(changed, records) == ["cheap", goes_to, goes_to]


async def test_a_conversation_that_is_back_goes_on_as_recorded() -> None:
    rules = some_rules(
        a_route("once", "cheap", when="turns < 2", sticky="conversation"),
        a_route("back", "dear", when="turns < 3", sticky="conversation"),
        a_route("next", "dearest", "cheap", "dear", sticky="conversation"),
    )
    records = turns("dear", "dear", "dear")
    for number, record in enumerate(records):
        record.signals["turns"] = number + 1
    assert await models_of(rules, records) == ["cheap", "dear", "dear"]


async def test_what_could_not_be_asked_then_is_not_asked_now() -> None:
    away = (Excluded("cheap", "cooling", "rests for 30 s"),)
    assert (await decided(excluded=away)).model == "dear"
    assert (await decided(excluded=(Excluded("cheap", "budget"),))).model == "cheap"


async def test_nobody_to_serve_is_told_by_the_code_of_the_error() -> None:
    found = await decided(requested_model="auto:gone")
    assert (found.goes_to, found.cost_nanos) == ("refused: model_not_found", 0)


async def test_a_key_brings_its_models() -> None:
    known = Known(digest="d", caller=Caller(key="k", user="other", models=("dear*",)))
    found = await decided(keys=(known,))
    assert found.model == "dear"
    assert (await decided(keys=(known,), key="another")).model == "cheap"


async def test_an_embedding_goes_to_the_model_it_names() -> None:
    found = await decided(requested_model="dear", needs=Needs(embeddings=True))
    assert (found.route, found.model) == ("pinned", "dear")


async def test_the_record_tells_who_was_asked_first_not_who_answered() -> None:
    failed = Attempt(model="dear", provider="p", upstream="dear-1", outcome="none", error="upstream_timeout")
    answered = Attempt(model="cheap", provider="p", upstream="cheap-1", outcome="exact", cost_nanos=1_200)
    record = a_request_of(attempts=(failed, answered))
    assert await Recorded(RULES).outcome(record) == Outcome("r", "dear", "dear-1", 12_000)


async def test_a_model_that_the_file_no_longer_has_costs_what_it_was_billed() -> None:
    gone = Attempt(model="gone", provider="p", upstream="gone-1", outcome="exact", cost_nanos=77)
    assert (await Recorded(RULES).outcome(a_request_of(attempts=(gone,)))).cost_nanos == 77
    renamed = Attempt(model="cheap", provider="p", upstream="cheap-0", outcome="exact", cost_nanos=78)
    assert (await Recorded(RULES).outcome(a_request_of(attempts=(renamed,)))).cost_nanos == 78


async def test_what_it_was_billed_may_be_unknown() -> None:
    gone = Attempt(model="gone", provider="p", upstream="gone-1", outcome="presumed", presumed_nanos=5)
    assert (await Recorded(RULES).outcome(a_request_of(attempts=(gone,)))).unknown == "the price of gone"


def test_what_is_likely_is_learned_from_the_requests_before() -> None:
    past = Past(most=4)
    for number in range(10):
        past.add(a_request_of(number))
        learned = past.estimates.of("cheap", "r").requests
        assert learned == [1, 2, 2, 4, 4, 4, 4, 4, 4, 4][number]


CASCADE = some_rules(a_route("r", "cheap", "dear", order="cascade", confidence=0.8))


def a_cascade(confidence: float, *, escalated: bool) -> Record:
    names = ("cheap", "dear") if escalated else ("cheap",)
    attempts = [Attempt(model=n, provider="p", upstream=f"{n}-1", outcome="exact", status=200) for n in names]
    attempts[0] = replace(attempts[0], confidence=confidence)
    return a_request_of(model=names[-1], confidence=confidence, attempts=tuple(attempts))


async def test_a_cascade_costs_all_that_answered_and_is_the_same_on_both_sides() -> None:
    for record, outcome in (
        (a_cascade(0.9, escalated=False), Outcome("r", "cheap", "cheap-1", 1_200)),
        (a_cascade(0.5, escalated=True), Outcome("r", "dear", "dear-1", 1_200 + 12_000)),
    ):
        assert await Recorded(CASCADE).outcome(record) == outcome
        assert await Decided(CASCADE, (), None).outcome(record) == outcome


async def test_another_threshold_is_held_against_the_recorded_confidence() -> None:
    bolder = some_rules(a_route("r", "cheap", "dear", order="cascade", confidence=0.4))
    record = a_cascade(0.5, escalated=True)
    assert (await Decided(bolder, (), None).outcome(record)).cost_nanos == 1_200
    warier = some_rules(a_route("r", "cheap", "dear", order="cascade", confidence=0.95))
    assert (await Decided(warier, (), None).outcome(a_cascade(0.9, escalated=False))).model == "dear"


async def test_how_sure_another_model_would_have_been_is_not_guessed() -> None:
    found = await Decided(CASCADE, (), None).outcome(a_request_of(model="dear"))
    assert found.unknown == "how sure cheap would be"
    others = some_rules(a_route("r", "dear", "dearest", order="cascade", confidence=0.8))
    assert (await Decided(others, (), None).outcome(a_cascade(0.9, escalated=False))).unknown


async def test_what_goes_in_plain_order_needs_no_confidence() -> None:
    assert (await Decided(CASCADE, (), None).outcome(a_request_of(needs=Needs(tools=True)))).model == "cheap"
    assert (await Decided(CASCADE, (), None).outcome(a_request_of(api="openai.completions"))).model == "cheap"


async def test_being_asked_how_sure_it_is_costs_what_it_was_billed() -> None:
    record = a_cascade(0.9, escalated=False)
    check = replace(record.attempts[0], confidence=None, is_check=True, cost_nanos=55)
    record = replace(record, attempts=(*record.attempts, check))
    assert (await Recorded(CASCADE).outcome(record)).cost_nanos == 1_255
    assert (await Decided(CASCADE, (), None).outcome(record)).cost_nanos == 1_255


async def test_a_cascade_learns_its_threshold_from_the_requests_before() -> None:
    past = Past()
    for number in range(200):
        sure = 0.95 if number % 2 else 0.4
        past.add(replace(a_cascade(sure, escalated=sure < 0.8), id=f"req_{number}", feedback=1.0))
    rules = some_rules(a_route("r", "cheap", "dear", order="cascade", keep_quality=0.9))
    untaught, taught = Decided(rules, (), None), Decided(rules, (), None, past)
    record = a_cascade(0.8, escalated=False)
    assert "until answers are scored" in untaught.plan(record).reason
    assert "which keeps 90 % by " in taught.plan(record).reason
    assert (await untaught.outcome(record)).model == "dear" and (await taught.outcome(record)).model == "cheap"
