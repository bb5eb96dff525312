"""From a measured request to a plan: which rule, which candidates in which order, and why not the others. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from msgspec import Struct

from muxer.access import may_use
from muxer.catalog import Catalog, Group
from muxer.config.settings import RouteSettings
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
from muxer.expressions import Compared
from muxer.gates import Excluded, Gate
from muxer.judging import judge
from muxer.plans import Candidate, Plan, Question, Rules, Terms

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

    known: dict[str, Candidate | Excluded] = {}

    def judged_once(name: str) -> Candidate | Excluded:
        found = known.get(name)
        if found is None:
            found = known[name] = judge(rules, question, rules.catalog.models[name], route.name)
        return found

    judged = [judged_once(name) for name in _expand(rules.catalog, route, route.name, question.id, judged_once)]
    candidates, kept = _kept(route, question, [one for one in judged if isinstance(one, Candidate)])
    excluded = [one for one in judged if isinstance(one, Excluded)]
    if question.settled is None:
        reason += ("; cheapest first" if route.order == "cheapest" else "") + kept
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
    )


def _kept(route: RouteSettings, question: Question, candidates: list[Candidate]) -> tuple[list[Candidate], str]:
    """The candidates of a sticky route with the conversation's own model in front, and what to say of it. Another stays
    there if this request likely costs less at it, though it has to read the whole conversation."""
    name = question.affinity.model
    place = next((index for index, one in enumerate(candidates) if one.model.name == name), 0)
    if route.sticky is None or place == 0:
        return candidates, ""
    first, own = candidates[0], candidates[place]
    if first.model.price and own.model.price and first.expected_nanos < own.expected_nanos:
        return candidates, f"; the conversation leaves {name}, which costs more even with what it has read"
    return [own, *candidates[:place], *candidates[place + 1 :]], f"; the conversation stays on {name}"


def elsewhere(rules: Rules, question: Question, route: str) -> dict[str, Candidate | Excluded]:
    """What this request would be at every model, by the same judgement."""
    return {name: judge(rules, question, model, route) for name, model in rules.catalog.models.items()}


class Asked(Struct, frozen=True):
    """A rule that a request was held against; `values` are those that its condition reads, `compared` how it came out.
    `is_drawn` is whether the request is in the rule's share, where it has one and its condition holds."""

    name: str
    line: int
    when: str
    holds: bool
    compared: Callable[[], Sequence[Compared]]
    values: Callable[[], Mapping[str, object]]
    share: float | None = None
    is_drawn: bool | None = None

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


def asked(rules: Rules, question: Question) -> list[Asked]:
    """The rules in their order, each as it is asked; the first that `decides` does, and nobody asks on."""
    facts = _facts(question)
    return [_asked(rules, question, facts, place) for place in range(len(rules.routes))]


def _asked(rules: Rules, question: Question, facts: Mapping[str, object], place: int) -> Asked:
    route, condition = rules.routes[place], rules.conditions[place]
    holds = condition is None or condition(facts)
    return Asked(
        name=route.name,
        line=rules.lines[place] if rules.lines else 0,
        when=route.when or "",
        holds=holds,
        compared=partial(condition.explain, facts) if condition is not None else list,
        values=partial(condition.read, facts) if condition is not None else dict,
        share=route.share,
        is_drawn=_is_drawn(question, route) if holds else None,
    )


def _is_drawn(question: Question, route: RouteSettings) -> bool | None:
    return None if route.share is None else is_drawn(route.share, f"{question.conversation}/{route.name}")


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
    requested, settled = question.requested, question.settled
    if settled is not None and (again := _named(rules, settled.route)) is not None:
        return again, settled.reason, settled.branch
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
    branches, facts = [], _facts(question)
    for place, condition in enumerate(rules.conditions):
        # A rule that does not hold is not described: of a thousand that cost more than asking them.
        if condition is not None and not condition(facts):
            continue
        rule = _asked(rules, question, facts, place)
        if rule.branch:
            branches.append(rule.branch)
        if rule.decides:
            route = rules.routes[place]
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
