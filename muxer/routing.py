"""From a measured request to a plan: which rule, which candidates in which order, and why not the others. Pure."""

import math
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from muxer.access import may_use
from muxer.catalog import Catalog, Group
from muxer.config.settings import Order, RouteSettings
from muxer.draws import drawn, is_drawn
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
from muxer.gates import Excluded, Gate
from muxer.judging import judge
from muxer.plans import Candidate, Plan, Question, Rules, Terms
from muxer.staging import cascade_of
from muxer.valuing import KEEP, valued

_ORDERED: Mapping[Order, str] = {"cheapest": "; cheapest first", "value": "; best value first"}
PINNED = "pinned"
DEFAULT = "default"


def plan(rules: Rules, question: Question) -> Plan:
    """Decides. Raises ModelNotFound, or the error that tells why no candidate is left."""
    considered = consider(rules, question)
    if not considered.candidates:
        raise nobody(considered.excluded, question)
    return considered


def consider(rules: Rules, question: Question) -> Plan:
    """The same, but a plan without candidates is one too. Raises ModelNotFound, or InvalidRequest where there is no
    rule."""
    route, reason, branch = _route(rules, question)

    judged_once = _Judged(rules, question, route.name)
    names = _expand(rules.catalog, route, route.name, question.id, judged_once)
    judged = [judged_once(name) for name in names]
    candidates, kept = _kept(route, question, [one for one in judged if isinstance(one, Candidate)])
    excluded = [one for one in judged if isinstance(one, Excluded)]
    cascade, staged = cascade_of(rules, route, question, candidates)
    if question.decided is None:
        reason += _ORDERED.get(route.order, "") + kept + staged
    return Plan(
        route=route.name,
        branch=branch,
        is_sticky=route.sticky is not None,
        learns=route.learn,
        reason=reason,
        candidates=tuple(candidates),
        excluded=tuple(excluded),
        downgrades=route.on_budget == "downgrade",
        timeout_s=route.timeout_s,
        terms=Terms(fallback_on=route.fallback_on, hedge_after_s=route.hedge_after_s),
        cascade=cascade,
    )


def _kept(route: RouteSettings, question: Question, candidates: list[Candidate]) -> tuple[list[Candidate], str]:
    """The candidates of a sticky route with the conversation's own model in front, and what to say of it. Another stays
    there if this request likely costs less at it, though it has to read the whole conversation."""
    if route.sticky is None:
        return candidates, ""
    name = question.affinity.model
    place = next((index for index, one in enumerate(candidates) if one.model.name == name), 0)
    if place == 0:
        return candidates, ""
    first, own = candidates[0], candidates[place]
    if first.model.price and own.model.price and first.expected_nanos < own.expected_nanos:
        return candidates, f"; the conversation leaves {name}, which costs more even with what it has read"
    return [own, *candidates[:place], *candidates[place + 1 :]], f"; the conversation stays on {name}"


def elsewhere(rules: Rules, question: Question, route: str) -> dict[str, Candidate | Excluded]:
    """What this request would be at every model, by the same judgement."""
    return {name: judge(rules, question, model, route) for name, model in rules.catalog.models.items()}


class Asked(Struct, frozen=True):
    """A rule that a request of these facts was held against. `is_drawn` is whether the request is in the rule's share,
    where it has one and its condition holds."""

    name: str
    line: int
    when: str
    holds: bool
    condition: Expression | None
    facts: Mapping[str, object]
    share: float | None = None
    is_drawn: bool | None = None

    def values(self) -> Mapping[str, object]:
        """What its condition reads."""
        return self.condition.read(self.facts) if self.condition else {}

    def compared(self) -> Sequence[Compared]:
        """How its condition came out."""
        return self.condition.explain(self.facts) if self.condition else ()

    @property
    def decides(self) -> bool:
        """Whether the request is this rule's."""
        return self.holds and self.is_drawn is not False

    @property
    def branch(self) -> str:
        """On which side of the share the request is; '' where it is on neither."""
        if self.is_drawn is None:
            return ""
        return self.name if self.is_drawn else f"not {self.name}"


def asked(rules: Rules, question: Question, *, only_held: bool = False) -> Iterator[tuple[RouteSettings, Asked]]:
    """The rules in their order, each as it is asked; the first that `decides` does, and nobody asks on. `only_held`
    passes over those whose condition does not hold: of a thousand rules, those are nearly all of the time."""
    facts = _facts(question)
    lines = rules.lines or (0,) * len(rules.routes)
    for route, condition, line in zip(rules.routes, rules.conditions, lines, strict=True):
        holds = condition is None or condition(facts)
        if only_held and not holds:
            continue
        share = route.share
        in_share = is_drawn(share, f"{question.conversation}/{route.name}") if holds and share is not None else None
        yield route, Asked(route.name, line, route.when or "", holds, condition, facts, share, in_share)


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


def _route(rules: Rules, question: Question) -> tuple[RouteSettings, str, str]:
    """The route, the reason for it, and the sides of the shares that were met on the way."""
    requested, decided = question.requested, question.decided
    if decided is not None and (again := _named(rules, decided.route)) is not None:
        return again, decided.reason, decided.branch
    if question.measured.needs.embeddings and requested.partition(":")[0] == "auto":
        raise InvalidModel(
            "model: vectors of different models do not compare, so no route picks one; name a model or a group",
            param="model",
        )
    if requested == "auto":
        return _matching(rules, question)
    if requested.startswith("auto:"):
        named = _named(rules, requested[5:])
        if named is None:
            raise not_found(requested)
        return named, f"route {named.name} named by the caller", ""
    if requested not in rules.catalog or not may_use(question.caller, requested):
        raise not_found(requested)
    fallbacks = rules.catalog.models[requested].fallbacks if requested in rules.catalog.models else ()
    return RouteSettings(name=PINNED, use=(requested, *fallbacks)), "model named by the caller", ""


def _matching(rules: Rules, question: Question) -> tuple[RouteSettings, str, str]:
    branches = []
    for route, rule in asked(rules, question, only_held=True):
        if rule.branch:
            branches.append(rule.branch)
        if rule.decides:
            part = f", in its share of {100 * rule.share:g} %" if rule.share is not None else ""
            return route, f"rule {route.name}: {route.when or 'matches everything'}{part}", ", ".join(branches)
    return _fallback_route(rules), "no rule matches; defaults.model", ", ".join(branches)


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


class _Judged:
    """The models of one request, each judged once."""

    def __init__(self, rules: Rules, question: Question, route: str) -> None:
        self._rules = rules
        self._question = question
        self._route = route
        self._known: dict[str, Candidate | Excluded] = {}

    def __call__(self, name: str) -> Candidate | Excluded:
        found = self._known.get(name)
        if found is None:
            found = judge(self._rules, self._question, self._rules.catalog.models[name], self._route)
            self._known[name] = found
        return found

    def by_value(self, names: Sequence[str], keep: float) -> list[str]:
        """The names by value; what is beaten is passed over from now on."""
        candidates = [one for one in map(self, names) if isinstance(one, Candidate)]
        ranked, beaten = valued(candidates, self._question, self._route, keep)
        self._known |= {one.model.name: one for one in ranked} | {one.model: one for one in beaten}
        first = [one.model.name for one in ranked]
        return [*first, *(name for name in names if name not in first)]


def _expand(catalog: Catalog, opened: Group | RouteSettings, name: str, id: str, judge: _Judged) -> list[str]:
    """The models of a route or a group in its order, inner groups opened in theirs, each named once."""
    members = drawn(opened.use, opened.weights, f"{id}/{name}") if opened.order == "weighted" else opened.use
    models: list[str] = []
    for member in members:
        group = catalog.groups.get(member)
        models += [member] if group is None else _expand(catalog, group, member, id, judge)
    models = list(dict.fromkeys(models))
    if opened.order == "value":
        own = opened.keep_quality if isinstance(opened, RouteSettings) else None
        return judge.by_value(models, KEEP if own is None else own)
    return sorted(models, key=lambda model: _cost(judge(model))) if opened.order == "cheapest" else models


def _cost(judged: Candidate | Excluded) -> float:
    """For sorting: what it will likely cost, where nobody knows more than all that is known."""
    if isinstance(judged, Excluded) or judged.model.price is None:
        return math.inf
    return judged.expected_nanos


_CALLERS_TO_MEND: frozenset[Gate] = frozenset(
    {"embeddings", "tools", "images", "json", "logprobs", "context", "output_cap", "burst"}
)


def nobody(excluded: Sequence[Excluded], question: Question) -> MuxerError:
    """The error where every candidate was passed over: the caller's to mend if all gates are, else ours. Of models that
    its key may not use it tells nothing (B25)."""
    told = [one for one in excluded if one.gate != "not_allowed"]
    reasons = "; ".join(f"{one.model}: {one.detail}" for one in told)
    gates = {one.gate for one in told}
    if excluded and not told:
        if question.requested.partition(":")[0] != "auto":
            return not_found(question.requested)
        message = "the request goes to models that this API key may not use; GET /v1/models lists those it may"
        return ModelNotFound(message, param="model")
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
