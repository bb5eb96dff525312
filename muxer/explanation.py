"""Why a request is decided as it is: everything the live decision looked at, told instead of acted on."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from muxer.errors import MuxerError, StoreUnavailable
from muxer.gates import Excluded
from muxer.interfaces import HasEvidence, Signal
from muxer.money import Price, usd
from muxer.plans import Candidate, Plan, Question, Rules
from muxer.routing import Asked, asked, consider, elsewhere, nobody
from muxer.standings import budget_fields, remaining_nanos
from muxer.stores import HoldChoice, QuotaStanding, Standing
from muxer.types import ChatRequest, Usage

_QUOTES = 5
Stand = Callable[[HoldChoice], Awaitable[tuple[Sequence[Standing], Sequence[QuotaStanding]]]]


class Explanation(Struct, frozen=True, kw_only=True):
    """One decision with all that led to it. `error` is what the request would be refused with, money aside."""

    question: Question
    plan: Plan | None
    error: MuxerError | None
    rules: tuple[Asked, ...]
    evidence: Mapping[str, Sequence[str]]
    limits: tuple[dict[str, Any], ...]
    limits_unknown: str
    others: Mapping[str, Candidate | Excluded]

    @property
    def chosen(self) -> Candidate | None:
        """The candidate asked first: where the budget may choose, the first that fits it."""
        if self.plan is None or not self.plan.candidates:
            return None
        offered = self.plan.offered
        short = {limit["model"] for limit in self.limits if not limit["fits"]}
        return next((one for one in offered if one.model.name not in short), offered[0])


async def explain(
    rules: Rules,
    question: Question,
    request: ChatRequest,
    signals: Mapping[str, Signal],
    stand: Stand,
) -> Explanation:
    """Explains one question by the code that decides it; nothing is held and nobody is called. `stand` says how the
    limits of a choice stand, or raises StoreUnavailable."""
    plan, error = None, None
    try:
        plan = consider(rules, question)
    except MuxerError as refused:
        error = refused
    if plan is not None and not plan.candidates:
        error = nobody(plan.excluded, question)
    limits, unknown = await _limits(plan, stand)
    return Explanation(
        question=question,
        plan=plan,
        error=error,
        rules=_rules(rules, question, plan),
        evidence=_evidence(request, signals),
        limits=limits,
        limits_unknown=unknown,
        others={} if plan is None else elsewhere(rules, question, plan.route),
    )


def _rules(rules: Rules, question: Question, plan: Plan | None) -> tuple[Asked, ...]:
    """Those that were asked, the last of them the one that decided; none when the caller named a model or a route."""
    if question.requested != "auto" or question.measured.needs.embeddings:
        return ()
    found = [rule for _, rule in asked(rules, question)]
    decided = next((index for index, rule in enumerate(found) if rule.decides), len(found))
    return tuple(islice(found, decided + 1))


def _evidence(request: ChatRequest, signals: Mapping[str, Signal]) -> dict[str, Sequence[str]]:
    found: dict[str, Sequence[str]] = {}
    for signal in signals.values():
        quoted = signal.evidence(request) if isinstance(signal, HasEvidence) else {}
        found |= {word: tuple(quotes)[:_QUOTES] for word, quotes in quoted.items() if quotes}
    return found


async def _limits(plan: Plan | None, stand: Stand) -> tuple[tuple[dict[str, Any], ...], str]:
    """How the limits stand that the offered candidates would meet; and why that is not known, where it is not."""
    found: list[dict[str, Any]] = []
    try:
        for candidate in plan.offered if plan is not None else ():
            found += await _of(candidate.choice, stand)
    except StoreUnavailable as error:
        return (), error.message
    return tuple(found), ""


async def _of(choice: HoldChoice, stand: Stand) -> list[dict[str, Any]]:
    budgets, quotas = await stand(choice)
    found: list[dict[str, Any]] = []
    for claim, at in zip(choice.claims, budgets, strict=True):
        least = choice.expected_nanos if claim.soft else choice.floor_nanos
        asks = choice.expected_nanos if claim.soft else choice.bound_nanos
        fits = claim.limit_nanos is None or least == 0 or least <= remaining_nanos(at)
        found.append(
            {"model": choice.model, "limit": at.limit, **budget_fields(at), "asks_usd": usd(asks), "fits": fits}
        )
    for quota, stands in zip(choice.quotas, quotas, strict=True):
        found.append(
            {
                "model": choice.model,
                "limit": stands.limit,
                "per": stands.per,
                "subject": stands.subject,
                "unit": stands.unit,
                "capacity": stands.capacity,
                "remaining": stands.remaining,
                "asks": quota.amount,
                "fits": quota.amount <= stands.remaining,
            }
        )
    return found


def as_json(explanation: Explanation) -> dict[str, Any]:
    """The explanation as `POST /v1/route` and `muxer explain --json` give it; amounts are decimal dollars."""
    plan, chosen, error = explanation.plan, explanation.chosen, explanation.error
    question, measured, affinity = explanation.question, explanation.question.measured, explanation.question.affinity
    return {
        "requested": question.requested,
        "route": plan.route if plan else None,
        "model": chosen.model.name if chosen else None,
        "provider": chosen.model.provider if chosen else None,
        "reason": plan.reason if plan else None,
        "branch": plan.branch if plan else None,
        "cascade": _cascade(plan) if plan else None,
        "conversation": question.conversation,
        "affinity": {"model": affinity.model, "cached_tokens": affinity.cached_tokens} if affinity.model else None,
        "error": None if error is None else {"status": error.status, "code": error.code, "message": error.message},
        "caller": {
            "user": question.caller.user,
            "team": question.caller.team,
            "key": question.caller.key,
            "tags": list(question.caller.tags),
        },
        "signals": {name: list(one) if isinstance(one, tuple) else one for name, one in measured.values.items()},
        "evidence": {name: list(quotes) for name, quotes in explanation.evidence.items()},
        "tokens": {"estimate": measured.estimate_tokens, "bound": measured.bound_tokens},
        "rules": [_rule(rule) for rule in explanation.rules],
        "candidates": _candidates(explanation),
        "limits": list(explanation.limits),
        "limits_unknown": explanation.limits_unknown or None,
        "elsewhere": [{"model": name, **_judged(one)} for name, one in explanation.others.items()],
    }


def _cascade(plan: Plan) -> dict[str, Any] | None:
    """Until how sure who is asked on, stage by stage."""
    cascade = plan.cascade
    if cascade is None:
        return None
    stages: dict[int, list[str]] = {}
    for candidate in plan.candidates:
        stages.setdefault(cascade.stages[candidate.model.name], []).append(candidate.model.name)
    return {
        "confidence": cascade.threshold,
        "by": cascade.by,
        "stages": [names for _, names in sorted(stages.items())],
    }


def _rule(rule: Asked) -> dict[str, Any]:
    compared = [
        {"source": one.source, "operands": [_plain(value) for value in one.operands], "holds": one.result}
        for one in rule.compared()
    ]
    return {
        "name": rule.name,
        "line": rule.line or None,
        "when": rule.when,
        "holds": rule.holds,
        "share": rule.share,
        "drawn": rule.is_drawn,
        "decides": rule.decides,
        "compared": compared,
    }


def _plain(value: object) -> object:
    return sorted(map(str, value)) if isinstance(value, (tuple, frozenset, set)) else value


def _candidates(explanation: Explanation) -> list[dict[str, Any]]:
    """In the order they would be asked, then those passed over."""
    plan = explanation.plan
    if plan is None:
        return []
    judged: list[Candidate | Excluded] = [*plan.candidates, *plan.excluded]
    chosen = explanation.chosen
    return [
        {
            "model": one.model if isinstance(one, Excluded) else one.model.name,
            "chosen": chosen is not None and one is chosen,
            **_judged(one),
        }
        for one in judged
    ]


def _judged(one: Candidate | Excluded) -> dict[str, Any]:
    if isinstance(one, Excluded):
        costs = dict.fromkeys(("bound_usd", "expected_usd", "expected"))
        return {"provider": None, "gate": one.gate, "why": one.detail, **costs}
    price = one.model.price
    return {
        "provider": one.model.provider,
        "gate": None,
        "why": None,
        "bound_usd": usd(one.bound_nanos) if price else None,
        "expected_usd": usd(one.expected_nanos) if price else None,
        "expected": _parts(price, one) if price else None,
    }


def _parts(price: Price, one: Candidate) -> dict[str, Any]:
    """The expected cost by what it is for; the parts add up to it."""
    likely, rates = one.likely, Price(price.rates_for(one.likely.input_tokens))
    fresh, written = _fresh_tokens(likely), likely.cache_write_tokens
    answered = min(one.expected_nanos, price.cost_nanos(likely))
    for_input = min(answered, price.cost_nanos(replace(likely, output_tokens=0)))
    for_fresh = min(for_input, rates.cost_nanos(Usage(input_tokens=fresh)))
    for_written = min(for_input - for_fresh, rates.cost_nanos(Usage(written, cache_write_tokens=written)))
    return {
        "input_tokens": fresh,
        "cached_tokens": likely.cached_input_tokens,
        "cache_write_tokens": written,
        "output_tokens": likely.output_tokens,
        "input_usd": usd(for_fresh),
        "cached_usd": usd(for_input - for_fresh - for_written),
        "cache_write_usd": usd(for_written),
        "output_usd": usd(answered - for_input),
        "retries_usd": usd(one.expected_nanos - answered),
        "nine_in_ten_usd": usd(one.high_nanos),
    }


def _fresh_tokens(likely: Usage) -> int:
    return likely.input_tokens - likely.cached_input_tokens - likely.cache_write_tokens
