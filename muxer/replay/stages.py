"""Cascades in a replay: what the records say of one, and what the confidence in them makes of another."""

from collections.abc import Mapping, Sequence

from muxer.catalog import Model
from muxer.plans import Candidate, Cascade, Plan
from muxer.replay.outcomes import Outcome
from muxer.types import Attempt, Record


def climbed(record: Record, models: Mapping[str, Model]) -> Outcome:
    """What a recorded cascade came to: the model that answered, at the cost of all whose answers were judged, too. A
    model that is not in the file costs what it was billed."""
    answered = [one for one in record.attempts if one.confidence is not None or one is record.answered]
    costs = [_cost(one, models.get(one.model), record) for one in answered]
    last = record.answered or answered[-1]
    outcome = Outcome(record.route, last.model, last.upstream)
    missing = next((one.model for one, cost in zip(answered, costs, strict=True) if cost is None), "")
    if missing:
        return Outcome(outcome.route, outcome.model, outcome.upstream, unknown=f"the price of {missing}")
    total = sum(cost or 0 for cost in costs) + _checks(record, {one.model for one in answered})
    return Outcome(outcome.route, outcome.model, outcome.upstream, total)


def would_climb(record: Record, plan: Plan, cascade: Cascade, candidates: Sequence[Candidate]) -> Outcome:
    """What a cascade would come to, by the confidence that was recorded of the same models' answers."""
    total, asked = 0, list(candidates)
    while True:
        model = asked[0].model
        if model.price is None:
            return Outcome(plan.route, model.name, model.upstream, unknown=f"the price of {model.name}")
        total += model.price.cost_nanos(record.usage)
        following = cascade.after(model.name, asked)
        if not following:
            break
        sure = _confidence(record, model)
        if sure is None:
            return Outcome(plan.route, model.name, model.upstream, unknown=f"how sure {model.name} would be")
        total += _checks(record, {model.name})
        if sure >= cascade.threshold:
            break
        asked = list(following)
    return Outcome(plan.route, model.name, model.upstream, total)


def _cost(attempt: Attempt, model: Model | None, record: Record) -> int | None:
    """At the recorded tokens, as everywhere in a replay."""
    if model is not None and model.upstream == attempt.upstream:
        return model.price.cost_nanos(record.usage) if model.price else None
    return attempt.cost_nanos if attempt.outcome == "exact" else None


def _confidence(record: Record, model: Model) -> float | None:
    return next(
        (
            one.confidence
            for one in record.attempts
            if one.confidence is not None and (one.model, one.upstream) == (model.name, model.upstream)
        ),
        None,
    )


def _checks(record: Record, names: set[str]) -> int:
    """What asking these models how sure they are was billed: the same tokens, so the same again."""
    return sum(one.cost_nanos for one in record.attempts if one.is_check and one.model in names)
