"""The curves of an evaluation as one SVG: quality over cost, or over the share of strong calls without prices."""

from collections.abc import Sequence

from msgspec import Struct

from muxer.evaluation.curves import Curve
from muxer.evaluation.sheet import COLOURS, sheet, text, ticks
from muxer.evaluation.story import Judged
from muxer.replay.markup import Markup, tag

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 450, 64, 20, 44, 52
_LETTER = 6.8  # about the width of one
_MOST_PLACES = 200  # a place every few pixels; a curve has one a prompt


class Line(Struct, frozen=True):
    """A curve with its name; dashed for what is only there to compare with."""

    name: str
    curve: Curve
    is_dashed: bool = False


class Dot(Struct, frozen=True):
    """A policy that is one place: its share of strong calls or its mean dollars, and its quality."""

    name: str
    x: float
    quality: float


class _Frame(Struct, frozen=True):
    """From what is measured to places in the picture."""

    most_x: float
    least_y: float
    most_y: float

    def x(self, value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * value / self.most_x

    def y(self, value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (self.most_y - value) / (self.most_y - self.least_y)


def lines(judged: Sequence[Judged]) -> list[Line]:
    """The curves of some orders."""
    return [Line(one.name, one.ordered.curve(), one.is_bound) for one in judged]


def picture(title: str, drawn: Sequence[Line], dots: Sequence[Dot]) -> str:
    """The whole file. All curves have costs or none has; dots are in the same unit."""
    has_usd = all(line.curve.usd is not None for line in drawn)
    # Dollars a thousand prompts: one prompt costs too little to read.
    places = [(line, _places(line.curve, has_usd=has_usd)) for line in drawn]
    marks = [Dot(dot.name, dot.x * (1000 if has_usd else 100), dot.quality) for dot in dots]
    xs = [x for _, path in places for x, _ in path] + [dot.x for dot in marks]
    ys = [y for _, path in places for _, y in path] + [dot.quality for dot in marks]
    margin = (max(ys) - min(ys)) * 0.06 or 0.01
    frame = _Frame(max(xs) or 1.0, min(ys) - margin, max(ys) + margin)
    parts = _axes(frame, "US$ per 1,000 prompts" if has_usd else "% of calls to the strong model")
    parts += _legend([line for line, _ in places])
    for at, (line, path) in enumerate(places):
        parts.append(_curve("L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in path), line, at))
    for dot in marks:
        x, y = f"{frame.x(dot.x):.1f}", frame.y(dot.quality)
        parts.append(tag("circle", cx=x, cy=f"{y:.1f}", r=5))
        is_right = frame.x(dot.x) > _WIDTH / 2
        parts.append(text(frame.x(dot.x) + (-9 if is_right else 9), y - 8, dot.name, "end" if is_right else "start"))
    return sheet(title, _WIDTH, _HEIGHT, *parts)


def _places(curve: Curve, *, has_usd: bool) -> list[tuple[float, float]]:
    xs = [1000 * usd for usd in curve.usd or ()] if has_usd else [100 * share for share in curve.shares]
    every = max(1, len(xs) // _MOST_PLACES)
    kept = sorted({*range(0, len(xs), every), len(xs) - 1})
    return [(xs[at], curve.qualities[at]) for at in kept]


def _curve(places: str, line: Line, at: int) -> Markup:
    dash = {"stroke_dasharray": "6 5"} if line.is_dashed else {}
    return tag("path", d=f"M{places}", class_="curve", stroke=COLOURS[at % len(COLOURS)], **dash)


def _legend(drawn: Sequence[Line]) -> list[Markup]:
    """Above the curves, which may be anywhere below."""
    parts: list[Markup] = []
    x = float(_LEFT)
    for at, line in enumerate(drawn):
        parts += [_curve(f"{x:.1f} 14h24", line, at), text(x + 30, 18, line.name)]
        x += 30 + _LETTER * len(line.name) + 22
    return parts


def _axes(frame: _Frame, words: str) -> list[Markup]:
    parts = [text((_WIDTH + _LEFT) / 2, _HEIGHT - 10, words, "middle"), text(8, _TOP - 10, "quality")]
    floor = _HEIGHT - _BOTTOM
    for x in ticks(0.0, frame.most_x):
        parts.append(text(frame.x(x), floor + 18, f"{x:.6g}", "middle"))
    for y in ticks(frame.least_y, frame.most_y):
        across = f"{frame.y(y):.1f}"
        parts.append(tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=across, y2=across, class_="grid"))
        parts.append(text(_LEFT - 8, frame.y(y) + 4, f"{y:.6g}", "end"))
    return parts
