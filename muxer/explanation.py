"""Why a request is decided as it is: everything the live decision looked at, told instead of acted on."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from muxer.errors import MuxerError, StoreUnavailable
from muxer.gates import TOO_DEAR, Excluded
from muxer.interfaces import HasEvidence, Signal
from muxer.money import Price, usd
from muxer.plans import Candidate, Plan, Question, Rules
from muxer.routing import Asked, asked, consider, elsewhere, nobody
from muxer.standings import budget_fields, refusal_of, remaining_nanos
from muxer.stores import BudgetClaim, HoldChoice, QuotaStanding, Refusal, Refused, Standing
from muxer.types import ChatRequest, Usage

_QUOTES = 5
Stand = Callable[[HoldChoice], Awaitable[tuple[Sequence[Standing], Sequence[QuotaStanding]]]]


class Explanation(Struct, frozen=True, kw_only=True):
    """One decision with all that led to it. `error` is what the request would be refused with; `short` are the offered
    candidates that do not fit the limits as they stand."""

    question: Question
    plan: Plan | None
    error: MuxerError | None
    rules: tuple[Asked, ...]
    evidence: Mapping[str, Sequence[str]]
    limits: tuple[dict[str, Any], ...]
    limits_unknown: str
    short: frozenset[str]
    others: Mapping[str, Candidate | Excluded]

    @property
    def chosen(self) -> Candidate | None:
        """The candidate asked first: where the budget may choose, the first that fits it; None for a refusal."""
        if self.plan is None or self.error is not None:
            return None
        return next((one for one in self.plan.offered if one.model.name not in self.short), None)


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
    limits, refusals, unknown = await _limits(plan, stand)
    if refusals and len(refusals) == len(plan.offered if plan else ()):
        error = refusal_of(Refused(refusals=refusals), rules.budget_status)
    return Explanation(
        question=question,
        plan=plan,
        error=error,
        rules=_rules(rules, question, plan),
        evidence=_evidence(request, signals),
        limits=limits,
        limits_unknown=unknown,
        short=frozenset(refusal.model for refusal in refusals),
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


async def _limits(plan: Plan | None, stand: Stand) -> tuple[tuple[dict[str, Any], ...], tuple[Refusal, ...], str]:
    """How the limits stand that the offered candidates would meet, why some of these do not fit; and why all that is
    not known, where it is not."""
    found: list[dict[str, Any]] = []
    refusals: list[Refusal] = []
    try:
        for candidate in plan.offered if plan is not None else ():
            choice = candidate.choice
            budgets, quotas = await stand(choice)
            found += _told(choice, budgets, quotas)
            refusals += _refusals(choice, budgets, quotas)[:1]
    except StoreUnavailable as error:
        return (), (), error.message
    return tuple(found), tuple(refusals), ""


def _refusals(choice: HoldChoice, budgets: Sequence[Standing], quotas: Sequence[QuotaStanding]) -> list[Refusal]:
    """What a hold of this choice would be refused for, in the order in which stores look: rates, then money."""
    rates = [at for quota, at in zip(choice.quotas, quotas, strict=True) if quota.amount > at.remaining]
    found = [Refusal(model=choice.model, standing=at, asked_nanos=0) for at in rates]
    for claim, at in zip(choice.claims, budgets, strict=True):
        if not _fits(choice, claim, at):
            found.append(Refusal(model=choice.model, standing=at, asked_nanos=_least(choice, claim)))
    return found


def _least(choice: HoldChoice, claim: BudgetClaim) -> int:
    """The smallest amount that a hold may take under a limit."""
    return choice.expected_nanos if claim.soft else choice.floor_nanos


def _fits(choice: HoldChoice, claim: BudgetClaim, at: Standing) -> bool:
    return claim.limit_nanos is None or _least(choice, claim) <= remaining_nanos(at)


def _told(choice: HoldChoice, budgets: Sequence[Standing], quotas: Sequence[QuotaStanding]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for claim, at in zip(choice.claims, budgets, strict=True):
        asks, fits = choice.expected_nanos if claim.soft else choice.bound_nanos, _fits(choice, claim, at)
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


def for_caller(explanation: Explanation) -> dict[str, Any]:
    """The explanation as `POST /v1/route` gives it: without the models that the caller's key may not use (B25), unless
    it may see everybody's."""
    told = as_json(explanation)
    if explanation.question.caller.role not in ("viewer", "admin"):
        for part in ("candidates", "elsewhere"):
            told[part] = [one for one in told[part] if one["gate"] != "not_allowed"]
    return told


def as_json(explanation: Explanation) -> dict[str, Any]:
    """The whole explanation, as `muxer explain --json` gives it; amounts are decimal dollars."""
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
        "signals": measured.values,
        "evidence": {name: list(quotes) for name, quotes in explanation.evidence.items()},
        "tokens": {"estimate": measured.estimate_tokens, "bound": measured.bound_tokens},
        "rules": [_rule(rule) for rule in explanation.rules],
        "candidates": _candidates(explanation),
        "hedge": _hedge(plan, chosen),
        "limits": list(explanation.limits),
        "limits_unknown": explanation.limits_unknown or None,
        "elsewhere": [{"model": name, **_judged(explanation, one)} for name, one in explanation.others.items()],
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
        "basis": cascade.basis,
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
        "values": {name: _plain(value) for name, value in rule.values().items()},
        "holds": rule.holds,
        "share": rule.share,
        "drawn": rule.is_drawn,
        "decides": rule.decides,
        "compared": compared,
    }


def _plain(value: object) -> object:
    return sorted(map(str, value)) if isinstance(value, (tuple, frozenset, set)) else value


def _candidates(explanation: Explanation) -> list[dict[str, Any]]:
    """In the order they would be asked, then those passed over; before the chosen one are those too dear for the
    budget, which keep their costs."""
    plan, chosen = explanation.plan, explanation.chosen
    if plan is None:
        return []
    found: list[dict[str, Any]] = []
    for one in plan.candidates:
        gated = {"gate": "budget", "why": TOO_DEAR} if one.model.name in explanation.short else {}
        found.append({"model": one.model.name, "chosen": one is chosen, **_judged(explanation, one), **gated})
    return found + [{"model": one.model, "chosen": False, **_judged(explanation, one)} for one in plan.excluded]


def _hedge(plan: Plan | None, chosen: Candidate | None) -> dict[str, Any] | None:
    """After how long another model is asked beside a slow one, and which: None where it would be nobody."""
    if plan is None or chosen is None or plan.terms.hedge_after_s is None:
        return None
    further = plan.candidates[plan.candidates.index(chosen) + 1 :]
    other = further[0] if further else chosen if chosen.model.retry_uncertain else None
    return None if other is None else {"after_s": plan.terms.hedge_after_s, "model": other.model.name}


def _judged(explanation: Explanation, one: Candidate | Excluded) -> dict[str, Any]:
    if isinstance(one, Excluded):
        costs = dict.fromkeys(("bound_usd", "expected_usd", "expected", "quality"))
        return {"provider": None, "gate": one.gate, "why": one.detail, **costs}
    price, route = one.model.price, explanation.plan.route if explanation.plan else ""
    learned_from = explanation.question.estimates.of(one.model.name, route).requests
    return {
        "provider": one.model.provider,
        "gate": None,
        "why": None,
        "bound_usd": usd(one.bound_nanos) if price else None,
        "expected_usd": usd(one.expected_nanos) if price else None,
        "expected": {"learned_from": learned_from, **_parts(price, one)} if price else None,
        "quality": one.quality,
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
