"""Which requests of an `order: cascade` have their answers judged, and in which stage each model is asked. Pure."""

from collections.abc import Sequence

from msgspec.structs import replace

from muxer.catalog import Catalog, Group
from muxer.config.settings import RouteSettings
from muxer.plans import Candidate, Cascade, Question, Rules
from muxer.scores import LEAST_NEXT, LEAST_OWN, Curve
from muxer.signals import Measured

START = 0.85
"""The threshold with `keep_quality` alone, until enough answers are scored."""
LONGEST_CAP_TOKENS = 4_096
"""A caller that asks for longer answers than this is not made to wait for the whole of one before it sees a word."""


def cascade_of(
    rules: Rules, route: RouteSettings, question: Question, candidates: Sequence[Candidate]
) -> tuple[Cascade | None, str]:
    """The cascade these candidates are asked in, and what to say of it; None where the first answer is given."""
    chooser = _chooser(rules.catalog, route)
    if chooser is None:
        return None, ""
    because = _plain_because(question.measured)
    if because:
        return None, f"; in plain order: {because}"
    stages: dict[str, int] = {}
    for stage, member in enumerate(chooser.use):
        for name in _models(rules.catalog, member):
            stages.setdefault(name, stage)
    cascade = Cascade(threshold=1.0, basis="", by=chooser.confidence_by, stages=stages)
    if not candidates or not cascade.after(candidates[0].model.name, candidates):
        return None, "; in plain order: nobody is left to ask next"
    threshold, basis = _threshold(chooser, question.estimates.scores.curve(candidates[0].model.name, route.name))
    said = f"; cascade at {threshold:.2f}, {basis}" if basis else f"; cascade at {threshold:g}"
    return replace(cascade, threshold=threshold, basis=basis or "the file"), said


def _threshold(chooser: RouteSettings | Group, curve: Curve) -> tuple[float, str]:
    """The confidence of the file; with `keep_quality` the one that keeps so much by the scores, if they are enough."""
    begins_at = START if chooser.confidence is None else chooser.confidence
    keep = chooser.keep_quality if isinstance(chooser, RouteSettings) else None
    if keep is None:
        return begins_at, ""
    if not curve.is_enough:
        scored = f"{min(curve.own, LEAST_OWN)} of {LEAST_OWN} and {min(curve.later, LEAST_NEXT)} of {LEAST_NEXT}"
        return begins_at, f"until answers are scored: {scored} so far"
    return curve.threshold(keep), f"which keeps {100 * keep:g} % by {curve.own + curve.later} scores"


def _chooser(catalog: Catalog, route: RouteSettings) -> RouteSettings | Group | None:
    """The route, or the group that is all it uses, that says `order: cascade`."""
    chooser: RouteSettings | Group | None = route
    while chooser is not None and chooser.order != "cascade":
        chooser = catalog.groups.get(chooser.use[0]) if len(chooser.use) == 1 else None
    return chooser


def _models(catalog: Catalog, name: str) -> list[str]:
    group = catalog.groups.get(name)
    return [name] if group is None else [model for member in group.use for model in _models(catalog, member)]


def _plain_because(measured: Measured) -> str:
    """Why an answer to this request cannot be judged, or should not be waited for; '' where it can."""
    needs = measured.needs
    if needs.embeddings or measured.field != "messages":
        return "it is no chat"
    if needs.tools:
        return "it offers tools"
    if needs.images:
        return "it has images"
    if needs.n > 1:
        return "it asks for several answers"
    if (needs.cap_tokens or 0) > LONGEST_CAP_TOKENS:
        return f"its answer may be longer than {LONGEST_CAP_TOKENS:,} tokens"
    return ""
