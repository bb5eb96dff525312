"""One model for one request: a candidate with its costs, or the gate that keeps it out. Pure."""

from muxer.access import may_use
from muxer.budgets import Target
from muxer.catalog import Model
from muxer.estimates import TYPICAL_OUTPUT_TOKENS, Estimate
from muxer.gates import Excluded, Gate
from muxer.plans import Candidate, Question, Rules, with_retries
from muxer.types import Needs, Usage

# Under a hard budget every request has an output cap; without the operator's own this is the most we insert.
INSERTED_CAP_TOKENS = 4_096


def judge(rules: Rules, question: Question, model: Model, route: str) -> Candidate | Excluded:
    """One model through all gates: a candidate with its costs, or the gate that removed it."""
    removed = _gate(question, model)
    if removed is not None:
        return removed
    met = rules.limits.met(question.caller, Target(model.name, route), question.now)
    is_hard = met.is_hard
    price, bound_input = model.price, question.measured.bound_tokens
    if is_hard and price is None:
        return Excluded(model.name, "price_unknown", "its price is unknown")
    if is_hard and bound_input is None:
        return Excluded(model.name, "cost_unbounded", "the cost has no upper bound")
    inserted = _inserted_cap(rules, question, model, is_hard)
    needs = question.measured.needs
    cap = inserted or needs.cap_tokens or model.max_output_tokens or INSERTED_CAP_TOKENS
    if needs.embeddings:
        cap = 0  # a vector is no output: what it costs is its input
    sizes = question.measured.estimate_tokens, bound_input or question.measured.estimate_tokens
    bound = price.bound_nanos(sizes[1], needs.n * cap) if price else 0
    floor_cap = min(cap, rules.defaults.min_output_tokens) if inserted else cap
    # Of a rate an amount that does not depend on what was learned: a burst that fits today fits tomorrow.
    tokens = sizes[0] + needs.n * min(cap, TYPICAL_OUTPUT_TOKENS)
    drawn = met.drawn(tokens)
    never = next((quota for quota in drawn if quota.amount > quota.capacity), None)
    if never is not None:
        detail = f"about {never.amount} {never.unit} at once; {never.limit} lets {never.capacity} burst"
        return Excluded(model.name, "burst", detail)
    estimate = question.estimates.of(model.name, route)
    likely = _likely(question, model, estimate, cap)
    return Candidate(
        model=model,
        bound_nanos=bound,
        likely=likely,
        floor_nanos=price.bound_nanos(sizes[1], needs.n * floor_cap) if price and floor_cap != cap else bound,
        expected_nanos=min(bound, with_retries(price.cost_nanos(likely), estimate.retry_share)) if price else 0,
        long_output_tokens=round(needs.n * estimate.long_output_tokens(cap)),
        retry_share=estimate.retry_share,
        claims=met.claims,
        quotas=drawn,
        bound_input_tokens=sizes[1],
        inserted_cap=inserted,
    )


def _likely(question: Question, model: Model, estimate: Estimate, cap: int) -> Usage:
    """The tokens this request will likely take."""
    measured, affinity = question.measured, question.affinity
    tokens = round(measured.estimate_tokens * estimate.input_ratio)
    if measured.bound_tokens is not None:
        tokens = min(tokens, measured.bound_tokens)
    is_here = affinity.model == model.name  # then what it still has is known
    cached = min(tokens, affinity.cached_tokens if is_here else round(tokens * estimate.cached_share))
    return Usage(
        input_tokens=tokens,
        output_tokens=round(measured.needs.n * estimate.output_tokens(cap)),
        cached_input_tokens=cached,
        cache_write_tokens=min(tokens - cached, round(tokens * estimate.written_share)),
    )


def _inserted_cap(rules: Rules, question: Question, model: Model, is_hard: bool) -> int | None:
    """The output cap we add: the operator's default, or under a hard budget one that makes the cost finite (S3)."""
    asked = question.measured.needs.cap_tokens
    # Some servers take a cap of 0 for none at all, so under a hard budget it bounds nothing.
    if question.measured.needs.embeddings or (asked is not None and (asked > 0 or not is_hard)):
        return None
    wanted = rules.defaults.max_tokens or (INSERTED_CAP_TOKENS if is_hard else None)
    if wanted is None or model.max_output_tokens is None:
        return wanted
    return min(wanted, model.max_output_tokens)


def _gate(question: Question, model: Model) -> Excluded | None:
    """Why this model cannot take this request, money aside; None when it can."""
    name, measured, cap = model.name, question.measured, question.measured.needs.cap_tokens
    if not may_use(question.caller, name):
        return Excluded(name, "not_allowed", "not allowed for this key")
    if model.unavailable:
        return Excluded(name, "unavailable", model.unavailable)
    cooling = question.is_cooling(model)
    if cooling:
        return Excluded(name, "cooling", cooling)
    if measured.needs.embeddings and model.embeds is False:
        return Excluded(name, "embeddings", "makes no embeddings")
    if not measured.needs.embeddings and model.embeds:
        return Excluded(name, "embeddings", "makes embeddings only")
    lacking = _lacks(model, measured.needs)
    if lacking is not None:
        return Excluded(name, lacking, f"cannot do {lacking}")
    if model.context_tokens is not None and measured.longest_tokens > model.context_tokens:
        return Excluded(name, "context", f"takes {model.context_tokens} tokens")
    if cap is not None and model.max_output_tokens is not None and cap > model.max_output_tokens:
        return Excluded(name, "output_cap", f"writes at most {model.max_output_tokens} tokens")
    return None


def _lacks(model: Model, needs: Needs) -> Gate | None:
    """The first thing this request needs that the model is known not to do."""
    if model.can is None:
        return None
    if needs.tools and "tools" not in model.can:
        return "tools"
    if needs.images and "images" not in model.can:
        return "images"
    if needs.json and "json" not in model.can:
        return "json"
    if needs.logprobs and "logprobs" not in model.can:
        return "logprobs"
    return None


def sent_cap(candidate: Candidate, granted_nanos: int, needs: Needs) -> int | None:
    """The output cap that goes upstream: the caller's, or the inserted one as far as a grant pays for it (S4)."""
    cap, price, n = candidate.inserted_cap, candidate.model.price, needs.n
    if cap is None:
        return needs.cap_tokens
    if price is None or granted_nanos >= candidate.bound_nanos:
        return cap
    # bound_nanos grows with the cap, so the largest cap within the grant is found by halving.
    low, high = 0, cap
    while low < high:
        middle = (low + high + 1) // 2
        if price.bound_nanos(candidate.bound_input_tokens, n * middle) <= granted_nanos:
            low = middle
        else:
            high = middle - 1
    return low
