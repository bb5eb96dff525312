"""Three charts as SVG: lines over time, pairs of bars, and streams from one column to another."""

from collections.abc import Callable, Sequence

from msgspec import Struct

from muxer.replay.markup import Markup, joined, tag

WIDTH = 920
_LEFT, _TOP, _BOTTOM = 64, 12, 26
_TICKS = 4


class Point(Struct, frozen=True):
    """One place on the axis of time, and what stands there on each line."""

    label: str
    before: float
    after: float


class Stream(Struct, frozen=True):
    """So many from here to there; `tone` is a class of the page's style."""

    source: str
    target: str
    count: int
    tone: str
    words: str


def _svg(height: float, words: str, *inner: str) -> Markup:
    title = tag("title", words)
    return tag("svg", title, *inner, viewBox=f"0 0 {WIDTH} {height:g}", role="img", aria_label=words)


def _text(x: float, y: float, words: str, **attributes: object) -> Markup:
    return tag("text", words, x=f"{x:.1f}", y=f"{y:.1f}", **attributes)


def _clipped(words: str, most: int) -> str:
    return words if len(words) <= most else f"{words[: most - 1]}…"


def _round_up(value: float) -> float:
    """The next number that people like at the end of an axis."""
    if value <= 0:
        return 1.0
    power = 10.0 ** (len(f"{int(value)}") - 1) if value >= 1 else 1.0
    while power > value:
        power /= 10
    return next(step * power for step in (1, 2, 2.5, 4, 5, 8, 10, 20) if step * power >= value)


def lines(points: Sequence[Point], write: Callable[[float], str], words: str) -> Markup:
    """Two lines over time, before and after."""
    height, most = 260, _round_up(max(max(point.before, point.after) for point in points))
    floor = height - _BOTTOM
    step = (WIDTH - _LEFT - 12) / max(1, len(points) - 1)

    def path(values: Sequence[float]) -> str:
        places = [(_LEFT + step * at, floor - (floor - _TOP) * value / most) for at, value in enumerate(values)]
        return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)

    grid = []
    for tick in range(_TICKS + 1):
        y = floor - (floor - _TOP) * tick / _TICKS
        grid.append(tag("line", x1=_LEFT, x2=WIDTH - 12, y1=f"{y:.1f}", y2=f"{y:.1f}", class_="grid"))
        grid.append(_text(_LEFT - 8, y + 4, write(most * tick / _TICKS), class_="tick end"))
    every = max(1, -(-len(points) // 6))
    for at in range(0, len(points), every):
        anchor = "tick" if at == 0 else "tick end" if at == len(points) - 1 else "tick middle"
        grid.append(_text(_LEFT + step * at, height - 6, points[at].label, class_=anchor))
    drawn = [
        tag("path", d=path([getattr(point, side) for point in points]), class_=f"line {side}")
        for side in ("before", "after")
    ]
    if len(points) == 1:  # a line of one point is none
        drawn = [
            tag(
                "circle",
                cx=_LEFT,
                cy=f"{floor - (floor - _TOP) * getattr(points[0], side) / most:.1f}",
                r=5,
                class_=f"bar {side}",
            )
            for side in ("before", "after")
        ]
    return _svg(height, words, *grid, *drawn)


def bars(points: Sequence[Point], write: Callable[[float], str], words: str) -> Markup:
    """Two bars for each label, before and after, with their values at the end."""
    row, left, right = 46, 150, 96
    most = max(max(point.before, point.after) for point in points) or 1.0
    parts: list[Markup] = []
    for at, point in enumerate(points):
        y = 4 + row * at
        parts.append(_text(left - 12, y + 23, _clipped(point.label, 20), class_="name end"))
        for offset, side in ((2, "before"), (20, "after")):
            value = getattr(point, side)
            width = max(1.0, (WIDTH - left - right) * value / most)
            parts.append(
                tag(
                    "rect",
                    tag("title", f"{point.label}, {side}: {write(value)}"),
                    x=left,
                    y=y + offset,
                    width=f"{width:.1f}",
                    height=15,
                    rx=2,
                    class_=f"bar {side}",
                )
            )
            parts.append(_text(left + width + 8, y + offset + 12, write(value), class_="tick"))
    return _svg(row * len(points) + 4, words, *parts)


def streams(found: Sequence[Stream], words: str) -> Markup:
    """Bands from the names on the left to those on the right, as thick as their counts."""
    height, gap, left, right = 340.0, 10.0, 190.0, WIDTH - 190.0
    total = sum(one.count for one in found) or 1
    columns = [_stacked([(getattr(one, side), one.count) for one in found]) for side in ("source", "target")]
    most = max(len(column) for column in columns)
    scale = (height - gap * (most - 1) - 8) / total
    parts: list[Markup] = []
    places: list[dict[str, float]] = []
    for column, x, anchor in zip(columns, (left, right), ("end", ""), strict=True):
        y, starts = 4.0, dict[str, float]()
        for name, count in column.items():
            thick = max(1.5, count * scale)
            starts[name] = y
            parts.append(tag("rect", x=f"{x - 5:.1f}", y=f"{y:.1f}", width=10, height=f"{thick:.1f}", class_="node"))
            at = x - 14 if anchor else x + 14
            label = f"{_clipped(name, 24)} {count / total:.0%}"
            parts.append(_text(at, y + thick / 2 + 4, label, class_=f"name {anchor}".strip()))
            y += max(thick, 14.0) + gap
        places.append(starts)
        height = max(height, y)
    bands = [
        _band(one, places, max(0.75, one.count * scale), (left + 5, right - 5)) for one in _in_order(found, columns)
    ]
    return _svg(height, words, joined(*bands), joined(*parts))


def _stacked(counts: Sequence[tuple[str, int]]) -> dict[str, int]:
    """The sum of each name, the largest first."""
    sums: dict[str, int] = {}
    for name, count in counts:
        sums[name] = sums.get(name, 0) + count
    return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))


def _in_order(found: Sequence[Stream], columns: Sequence[dict[str, int]]) -> list[Stream]:
    """In the order of the columns, so that bands cross as little as they must."""
    sources, targets = (list(column) for column in columns)
    return sorted(found, key=lambda one: (sources.index(one.source), targets.index(one.target)))


def _band(one: Stream, places: Sequence[dict[str, float]], thick: float, ends: tuple[float, float]) -> Markup:
    """A band; what it takes of both ends is moved on for the next."""
    (x0, x1), middle = ends, sum(ends) / 2
    y0, y1 = places[0][one.source], places[1][one.target]
    places[0][one.source] += thick
    places[1][one.target] += thick
    shape = (
        f"M{x0:.1f} {y0:.1f}C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"
        f"v{thick:.1f}C{middle:.1f} {y1 + thick:.1f} {middle:.1f} {y0 + thick:.1f} {x0:.1f} {y0 + thick:.1f}Z"
    )
    return tag("path", tag("title", one.words), d=shape, class_=f"band {one.tone}")
