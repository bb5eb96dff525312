"""From a measured request to a plan: which rule, which candidates in which order, and why not the others. Pure."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from muxer.access import may_use
from muxer.budgets import Calendar, Target, claims, quotas
from muxer.catalog import Catalog, Group, Model
from muxer.config.settings import DefaultsSettings, RouteSettings
from muxer.draws import drawn
from muxer.errors import (
    ContextTooLong,
    CostUnbounded,
    InvalidModel,
    InvalidRequest,
    ModelNotFound,
    ModelPriceUnknown,
    MuxerError,
    NoCandidate,
)
from muxer.expressions import Compared, Expression
from muxer.limits import Line
from muxer.signals import Measured
from muxer.stores import BudgetClaim, HoldChoice, Quota
from muxer.types import Caller, Excluded, FallbackCause, Gate, Needs, Usage

# Under a hard budget every request has an output cap; without the operator's own this is the most we insert.
INSERTED_CAP_TOKENS = 4_096
# What a model likely writes, until its own answers have taught better.
TYPICAL_OUTPUT_TOKENS = 400
PINNED = "pinned"
DEFAULT = "default"


class Rules(Struct, frozen=True, kw_only=True):
    """All that decides, taken from one configuration: a request keeps the rules it began with. `lines` are where the
    routes stand in the file, counted from 1."""

    catalog: Catalog
    routes: tuple[RouteSettings, ...]
    conditions: tuple[Expression | None, ...]
    limits: tuple[Line, ...]
    calendar: Calendar
    defaults: DefaultsSettings
    config: str
    strict: bool = False
    lines: tuple[int, ...] = ()


class Candidate(Struct, frozen=True, kw_only=True):
    """A model that could serve the request, with the most and the likely cost, and the limits it would touch.

    `inserted_cap` is the output cap we add because the caller set none; it may shrink to what fits (S4).
    """

    model: Model
    bound_nanos: int
    floor_nanos: int
    expected_nanos: int
    claims: tuple[BudgetClaim, ...]
    quotas: tuple[Quota, ...]
    bound_input_tokens: int
    inserted_cap: int | None = None

    @property
    def choice(self) -> HoldChoice:
        """This candidate as the ledger takes it."""
        return HoldChoice(
            model=self.model.name,
            bound_nanos=self.bound_nanos,
            floor_nanos=self.floor_nanos,
            expected_nanos=self.expected_nanos,
            claims=self.claims,
            quotas=self.quotas,
        )

    @property
    def unasked(self) -> HoldChoice:
        """The same where nobody has to be asked: it is a request, and costs nothing."""
        quotas = tuple(quota for quota in self.quotas if quota.unit == "requests")
        return replace(self.choice, bound_nanos=0, floor_nanos=0, expected_nanos=0, quotas=quotas)


class Plan(Struct, frozen=True, kw_only=True):
    """The decision: candidates in the order they would be tried, those passed over, and the reason in words."""

    route: str
    reason: str
    candidates: tuple[Candidate, ...]
    excluded: tuple[Excluded, ...]
    downgrades: bool = False
    timeout_s: float | None = None
    fallback_on: tuple[FallbackCause, ...] = ()

    @property
    def offered(self) -> tuple[Candidate, ...]:
        """Those that a hold may be for: the first, or where the route lets the budget decide, all."""
        return self.candidates if self.downgrades else self.candidates[:1]


class Question(Struct, frozen=True, kw_only=True):
    """Everything a plan depends on besides the rules. `is_cooling` tells why a model is set aside just now, or ''.

    `settled` is the plan made before a guard of its route changed the request: its route stands, its costs do not.
    """

    id: str
    now: float
    caller: Caller
    requested: str
    measured: Measured
    is_cooling: Callable[[Model], str]
    settled: Plan | None = None


def plan(rules: Rules, question: Question) -> Plan:
    """Decides. Raises ModelNotFound, or the error that tells why no candidate is left."""
    considered = consider(rules, question)
    if not considered.candidates:
        raise nobody(considered.excluded, question)
    return considered


def consider(rules: Rules, question: Question) -> Plan:
    """The same, but a plan without candidates is one too. Raises ModelNotFound, or InvalidRequest where there is no
    rule."""
    route, reason = _route(rules, question)

    known: dict[str, Candidate | Excluded] = {}

    def judge(name: str) -> Candidate | Excluded:
        found = known.get(name)
        if found is None:
            found = known[name] = _judge(rules, question, rules.catalog.models[name], route.name)
        return found

    judged = [judge(name) for name in _expand(rules.catalog, route, route.name, question.id, judge)]
    candidates = [one for one in judged if isinstance(one, Candidate)]
    excluded = [one for one in judged if isinstance(one, Excluded)]
    return Plan(
        route=route.name,
        reason=f"{reason}; cheapest first" if route.order == "cheapest" and question.settled is None else reason,
        candidates=tuple(candidates),
        excluded=tuple(excluded),
        downgrades=route.on_budget == "downgrade",
        timeout_s=route.timeout_s,
        fallback_on=route.fallback_on,
    )


def elsewhere(rules: Rules, question: Question, route: str) -> dict[str, Candidate | Excluded]:
    """What this request would be at every model, by the same judgement."""
    return {name: _judge(rules, question, model, route) for name, model in rules.catalog.models.items()}


class Asked(Struct, frozen=True):
    """A rule that a request was held against; `compared` tells how."""

    name: str
    line: int
    when: str
    holds: bool
    compared: Callable[[], Sequence[Compared]]


def asked(rules: Rules, question: Question) -> Iterator[tuple[RouteSettings, Asked]]:
    """The rules in their order, each as it is asked; the first that holds decides, and nobody asks on."""
    facts = _facts(question)
    lines = rules.lines or (0,) * len(rules.routes)
    for route, condition, line in zip(rules.routes, rules.conditions, lines, strict=True):
        holds = condition is None or condition(facts)
        compared = partial(condition.explain, facts) if condition is not None else list
        yield route, Asked(route.name, line, route.when or "", holds, compared)


def _facts(question: Question) -> Mapping[str, object]:
    """What a rule may ask about: signals, and who asks."""
    caller = question.caller
    return {
        **question.measured.values,
        "key": caller.key,
        "user": caller.user,
        "team": caller.team,
        "model": question.requested,
        "tags": caller.tags,
    }


def _route(rules: Rules, question: Question) -> tuple[RouteSettings, str]:
    requested, settled = question.requested, question.settled
    if settled is not None and (again := _named(rules, settled.route)) is not None:
        return again, settled.reason
    if question.measured.needs.embeddings and requested.partition(":")[0] == "auto":
        raise InvalidModel(
            "model: vectors of different models do not compare, so no route picks one; name a model or a group",
            param="model",
        )
    if requested == "auto":
        for route, rule in asked(rules, question):
            if rule.holds:
                return route, f"rule {route.name}: {route.when or 'matches everything'}"
        return _fallback_route(rules), "no rule matches; defaults.model"
    if requested.startswith("auto:"):
        named = _named(rules, requested[5:])
        if named is None:
            raise not_found(requested)
        return named, f"route {named.name} named by the caller"
    if requested not in rules.catalog or not may_use(question.caller, requested):
        raise not_found(requested)
    fallbacks = rules.catalog.models[requested].fallbacks if requested in rules.catalog.models else ()
    return RouteSettings(name=PINNED, use=(requested, *fallbacks)), "model named by the caller"


def _named(rules: Rules, name: str) -> RouteSettings | None:
    return next((route for route in rules.routes if route.name == name), None)


def _fallback_route(rules: Rules) -> RouteSettings:
    if rules.defaults.model is None:
        raise InvalidRequest(
            "no rule of routing.yaml matches this request; name a model, or add a route without `when`", param="model"
        )
    return RouteSettings(name=DEFAULT, use=(rules.defaults.model,))


def not_found(requested: str) -> ModelNotFound:
    """The error of a name. The same words for a model that does not exist and one this key may not use (B25)."""
    shown = "".join(c if c.isprintable() else "?" for c in requested[:64])
    return ModelNotFound(
        f"the model {shown!r} does not exist or you do not have access to it; GET /v1/models lists yours",
        param="model",
    )


Judge = Callable[[str], Candidate | Excluded]


def _expand(catalog: Catalog, opened: Group | RouteSettings, name: str, id: str, judge: Judge) -> list[str]:
    """The models of a route or a group in its order, inner groups opened in theirs, each named once."""
    members = drawn(opened.use, opened.weights, f"{id}/{name}") if opened.order == "weighted" else opened.use
    models: list[str] = []
    for member in members:
        group = catalog.groups.get(member)
        models += [member] if group is None else _expand(catalog, group, member, id, judge)
    models = list(dict.fromkeys(models))
    return sorted(models, key=lambda model: _cost(judge(model))) if opened.order == "cheapest" else models


def _cost(judged: Candidate | Excluded) -> float:
    """For sorting: what it will likely cost, where nobody knows more than all that is known."""
    if isinstance(judged, Excluded) or judged.model.price is None:
        return math.inf
    return judged.expected_nanos


def _judge(rules: Rules, question: Question, model: Model, route: str) -> Candidate | Excluded:
    """One model through all gates: a candidate with its costs, or the gate that removed it."""
    removed = _gate(question, model)
    if removed is not None:
        return removed
    target = Target(model.name, route)
    touched = claims(rules.limits, rules.calendar, question.caller, target, question.now)
    is_hard = any(not claim.soft for claim in touched)
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
    likely = Usage(input_tokens=sizes[0], output_tokens=needs.n * min(cap, TYPICAL_OUTPUT_TOKENS))
    bound = price.bound_nanos(sizes[1], needs.n * cap) if price else 0
    floor_cap = min(cap, rules.defaults.min_output_tokens) if inserted else cap
    drawn = quotas(rules.limits, question.caller, target, likely.input_tokens + likely.output_tokens)
    never = next((quota for quota in drawn if quota.amount > quota.capacity), None)
    if never is not None:
        detail = f"about {never.amount} {never.unit} at once; {never.limit} lets {never.capacity} burst"
        return Excluded(model.name, "burst", detail)
    return Candidate(
        model=model,
        bound_nanos=bound,
        floor_nanos=price.bound_nanos(sizes[1], needs.n * floor_cap) if price and floor_cap != cap else bound,
        expected_nanos=min(bound, price.cost_nanos(likely)) if price else 0,
        claims=touched,
        quotas=drawn,
        bound_input_tokens=sizes[1],
        inserted_cap=inserted,
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


def output_cap(candidate: Candidate, granted_nanos: int, n: int) -> int | None:
    """The inserted cap that a grant pays for: the full one, or as many tokens as fit (S4)."""
    cap, price = candidate.inserted_cap, candidate.model.price
    if cap is None or price is None or granted_nanos >= candidate.bound_nanos:
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


_CALLERS_TO_MEND: frozenset[Gate] = frozenset(
    {"embeddings", "tools", "images", "json", "logprobs", "context", "output_cap", "burst"}
)


def nobody(excluded: Sequence[Excluded], question: Question) -> MuxerError:
    """The error where every candidate was passed over: the caller's to mend if all gates are, else ours."""
    reasons = "; ".join(f"{one.model}: {one.detail}" for one in excluded)
    gates = {one.gate for one in excluded}
    if gates == {"not_allowed"}:
        return not_found(question.requested)
    if gates == {"context"}:
        tokens = question.measured.longest_tokens
        return ContextTooLong(f"the prompt has about {tokens} tokens ({reasons})", param=question.measured.field)
    if gates == {"price_unknown"}:
        return ModelPriceUnknown(f"a budget applies ({reasons}); set price_usd_per_million or `price: free`")
    if gates == {"cost_unbounded"}:
        return CostUnbounded(f"a budget applies ({reasons}): files and tools that run at the vendor are refused")
    if gates <= _CALLERS_TO_MEND:
        return InvalidRequest(f"no model can take this request ({reasons})")
    return NoCandidate(f"no model is available for this request ({reasons})")
