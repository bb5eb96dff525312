"""Draws what `bench.routing` found: APGR with its interval of each set, and quality over cost of some sets.

It has no command; `bench.routing --plot` uses it.
"""

from msgspec import Struct

from bench.routing_found import LEFT_OUT, RULES, WITHIN, Found, OfSet, Ranked
from muxer.evaluation.chart import Line, picture
from muxer.evaluation.sheet import COLOURS, sheet, text, ticks
from muxer.replay.markup import Markup, tag

# The largest set, and the one where what was learned from others does worst.
CURVES = ("routellm_mmlu", "alpaca_eval")
_WAYS = {"length": COLOURS[0], RULES: COLOURS[1], WITHIN: COLOURS[2], LEFT_OUT: COLOURS[3]}
_LEFT, _RIGHT, _TOP, _FOOT, _WIDTH = 180, 20, 54, 34, 760
_ROW, _BETWEEN, _MARGIN = 10, 10, 0.04


def drawn(found: Found) -> dict[str, str]:
    """The pictures by the names of their files."""
    files = {"routing-apgr.svg": apgr(found)}
    for name in CURVES:
        if name in found.sets:
            files[f"routing-{name.replace('_', '-')}.svg"] = quality(name, found.sets[name])
    return files


def quality(name: str, one: OfSet) -> str:
    """Quality over cost as `muxer eval --plot` draws it, without the oracle, beside which all others look alike."""
    lines = [Line(way, one.ranked[way].curve, way == "random") for way in ("random", RULES, WITHIN, LEFT_OUT)]
    return picture(f"{name}, {one.strong} and {one.cheap}: quality over cost", lines, ())


class _Frame(Struct, frozen=True):
    """From APGR to places across. It holds every value and chance, but not every interval."""

    least: float
    most: float

    def x(self, value: float) -> float:
        inside = min(max(value, self.least), self.most)
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (inside - self.least) / (self.most - self.least)

    def holds(self, value: float) -> bool:
        return self.least <= value <= self.most


def apgr(found: Found) -> str:
    """A group a set, a row a way to rank; an interval that leaves the frame ends in an arrow."""
    values = [0.5, *(one.ranked[way].apgr for one in found.sets.values() for way in _WAYS)]
    frame = _Frame(min(values) - _MARGIN, max(values) + _MARGIN)
    group = _ROW * len(_WAYS) + _BETWEEN
    floor = _TOP + group * len(found.sets)
    parts = [*_legend(), *_axis(frame, floor)]
    for at, (name, one) in enumerate(found.sets.items()):
        top = _TOP + group * at
        parts.append(tag("line", x1=0, x2=_WIDTH, y1=top, y2=top, class_="grid"))
        parts.append(text(_LEFT - 14, top + group / 2 + 4, name, "end"))
        for row, (way, colour) in enumerate(_WAYS.items()):
            parts += _row(frame, one.ranked[way], top + (_BETWEEN + _ROW) / 2 + _ROW * row, colour)
    return sheet("APGR of each set with its 95 % interval", _WIDTH, floor + _FOOT, *parts)


def _legend() -> list[Markup]:
    parts = []
    for at, (way, colour) in enumerate(_WAYS.items()):
        x = _LEFT + at * (_WIDTH - _LEFT) / len(_WAYS) - 40
        parts += [tag("circle", cx=f"{x:.1f}", cy=16, r=4, fill=colour), text(x + 10, 20, way)]
    return parts


def _axis(frame: _Frame, floor: float) -> list[Markup]:
    parts = []
    for tick in ticks(frame.least, frame.most):
        parts.append(_upright(frame.x(tick), floor, class_="grid"))
        parts.append(text(frame.x(tick), floor + 18, f"{tick:.6g}", "middle"))
    parts.append(_upright(frame.x(0.5), floor, stroke=COLOURS[0], stroke_width=2, stroke_dasharray="6 5"))
    parts.append(text(frame.x(0.5), _TOP - 8, "chance", "middle"))
    return parts


def _upright(x: float, floor: float, **attributes: object) -> Markup:
    return tag("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=_TOP, y2=floor, **attributes)


def _row(frame: _Frame, ranked: Ranked, y: float, colour: str) -> list[Markup]:
    low, high = frame.x(ranked.low), frame.x(ranked.high)
    parts = [tag("path", d=f"M{low:.1f} {y:g}H{high:.1f}", class_="curve", stroke=colour)]
    for end, to in ((ranked.low, -5), (ranked.high, 5)):
        if not frame.holds(end):
            parts.append(tag("path", d=f"M{frame.x(end) + to:.1f} {y:g}l{-to} -4v8Z", fill=colour))
    words = f"{ranked.apgr:.3f} [{ranked.low:.3f}, {ranked.high:.3f}]"
    parts.append(tag("circle", tag("title", words), cx=f"{frame.x(ranked.apgr):.1f}", cy=f"{y:g}", r=4, fill=colour))
    return parts
