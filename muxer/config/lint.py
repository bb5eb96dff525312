"""What is valid and cannot be meant: rules no request can reach, candidates that can never serve what theirs matches.

Sound, not complete: what is warned of is so, whatever the signals are; more may be wrong than is seen.
"""

import ast
import math
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from muxer.config.checks import Models
from muxer.config.notes import Notes
from muxer.config.settings import Component, RouteSettings
from muxer.prices import PriceTable

_NEEDS = {"has_tools": "tools", "has_images": "images", "wants_json": "json"}
_MIRRORED: Mapping[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.Gt,
    ast.LtE: ast.GtE,
    ast.Gt: ast.Lt,
    ast.GtE: ast.LtE,
    ast.Eq: ast.Eq,
}


class _Range(Struct, frozen=True):
    """The numbers from `low` to `high`; each end belongs to it unless it is open."""

    low: float = -math.inf
    high: float = math.inf
    is_low_open: bool = False
    is_high_open: bool = False

    def within(self, other: "_Range") -> bool:
        """Whether all of it is in the other."""
        low = self.low > other.low or (self.low == other.low and (self.is_low_open or not other.is_low_open))
        high = self.high < other.high or (self.high == other.high and (self.is_high_open or not other.is_high_open))
        return low and high

    def both(self, other: "_Range") -> "_Range":
        """What is in both."""
        low, is_low_open = max((self.low, self.is_low_open), (other.low, other.is_low_open))
        high, closed = min((self.high, not self.is_high_open), (other.high, not other.is_high_open))
        return _Range(low, high, is_low_open, not closed)

    @property
    def is_empty(self) -> bool:
        """Whether no number is in it."""
        return self.low > self.high or (self.low == self.high and (self.is_low_open or self.is_high_open))


class Region(Struct, frozen=True):
    """What a condition lets through, name by name. It lets through no more than that; if `is_exact`, no less either."""

    ranges: Mapping[str, _Range]
    values: Mapping[str, frozenset[object]]
    is_exact: bool

    def within(self, other: "Region") -> bool:
        """Whether all that this lets through, the other lets through for sure."""
        return (
            other.is_exact
            and all(self.ranges.get(name, _Range()).within(one) for name, one in other.ranges.items())
            and all(name in self.values and self.values[name] <= one for name, one in other.values.items())
        )

    @property
    def is_empty(self) -> bool:
        """Whether it lets nothing through."""
        return any(one.is_empty for one in self.ranges.values()) or not all(self.values.values())


def region_of(when: str) -> Region:
    """The region of a condition that was compiled before."""
    ranges: dict[str, _Range] = {}
    values: dict[str, frozenset[object]] = {}
    is_exact = True
    for part in _conjuncts(ast.parse(when, mode="eval").body):
        found = _compared(part)
        if found is None:
            is_exact = False
            continue
        name, allowed = found
        if isinstance(allowed, _Range):
            ranges[name] = ranges.get(name, _Range()).both(allowed)
        else:
            values[name] = values[name] & allowed if name in values else allowed
    return Region(ranges, values, is_exact)


def _conjuncts(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        for value in node.values:
            yield from _conjuncts(value)
    elif isinstance(node, ast.Compare) and len(node.ops) > 1:  # 1 < a < 2
        for left, op, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            yield ast.Compare(left, [op], [right])
    else:
        yield node


def _compared(node: ast.expr) -> tuple[str, _Range | frozenset[object]] | None:
    """A name and what it may be; None for what says nothing so simple."""
    if isinstance(node, ast.Name):
        return node.id, frozenset({True})
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not) and isinstance(node.operand, ast.Name):
        return node.operand.id, frozenset({False})
    if not isinstance(node, ast.Compare):
        return None
    left, (op,), (right,) = node.left, node.ops, node.comparators
    if isinstance(left, ast.Name):
        return _allowed(left.id, type(op), right)
    return _allowed(right.id, _MIRRORED.get(type(op)), left) if isinstance(right, ast.Name) else None


def _allowed(name: str, op: type[ast.cmpop] | None, other: ast.expr) -> tuple[str, _Range | frozenset[object]] | None:
    try:
        value = ast.literal_eval(other)
    except ValueError:
        return None
    if op is ast.In and isinstance(value, (tuple, list, set)):
        return name, frozenset(value)
    if isinstance(value, (str, bool)):
        return (name, frozenset({value})) if op is ast.Eq else None
    if not isinstance(value, (int, float)):
        return None
    ranges = {
        ast.Lt: _Range(high=value, is_high_open=True),
        ast.LtE: _Range(high=value),
        ast.Gt: _Range(low=value, is_low_open=True),
        ast.GtE: _Range(low=value),
        ast.Eq: _Range(value, value),
    }
    return (name, ranges[op]) if op in ranges else None


def lint_routes(
    notes: Notes,
    routes: Sequence[RouteSettings | None],
    models: Models,
    providers: Mapping[str, Component | None],
    table: PriceTable | None,
) -> None:
    """Warns of each rule that no request can reach, and of candidates that can serve nothing that theirs matches. None
    is a route with faults."""
    regions = [None if route is None or route.when is None else region_of(route.when) for route in routes]
    for index, (route, region) in enumerate(zip(routes, regions, strict=True)):
        if route is None or region is None:
            continue
        if region.is_empty:
            notes.add(("routes", index, "when"), "no request can match this", "its parts exclude each other")
            continue
        before = [
            (at, one)
            for at, (one, its) in enumerate(zip(regions[:index], routes[:index], strict=True))
            if one is not None and its is not None and its.takes_all
        ]
        earlier = next((at for at, one in before if region.within(one)), None)
        if earlier is not None:
            what = f"never reached: routes[{earlier}] matches all that this does"
            notes.add(("routes", index, "when"), what, "move it up, or narrow that one")
        for need in (need for name, need in _NEEDS.items() if region.values.get(name) == frozenset({True})):
            lacking = [name for name in opened(route.use, models) if _lacks(name, need, models, providers, table)]
            if lacking and set(lacking) == set(opened(route.use, models)):
                what = f"none of these can do {need}, which the rule asks for"
                notes.add(("routes", index, "use"), what, "add a model that can, or say so under its can")


def opened(use: Sequence[str], models: Models) -> list[str]:
    """The models behind names, groups replaced by theirs; what leads back to itself (a fault) once."""
    found: list[str] = []
    seen: set[str] = set()
    waiting = list(use)
    while waiting:
        name = waiting.pop(0)
        model = models.get(name)
        if model is None or name in seen:
            continue
        seen.add(name)
        if model.use:
            waiting[:0] = model.use
        else:
            found.append(name)
    return found


def _lacks(
    name: str, need: str, models: Models, providers: Mapping[str, Component | None], table: PriceTable | None
) -> bool:
    """Whether a model is known not to do it."""
    model = models[name]
    if model is None or model.provider is None:
        return False
    if model.can is not None:
        return need not in model.can
    provider = providers.get(model.provider)
    facts = table.facts(provider.vendor, model.name or name, provider.base_url) if table and provider else None
    return facts is not None and facts.can is not None and need not in facts.can
