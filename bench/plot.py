"""Draws figures as SVG, with no library.

It has no command; the other benchmarks use it.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from html import escape

from muxer.evaluation.sheet import sheet
from muxer.replay.markup import Markup

COLOURS = (
    "#9aa0a6", "#5f6368", "#1a73e8", "#e8710a", "#d93025", "#188038", "#9334e6", "#12b5cb", "#b06000", "#c5221f",
)  # fmt: skip
ROW, LEFT, WIDTH = 18, 300, 620


def bars(figures: Mapping[str, Mapping[str, list[float]]], names: Sequence[str]) -> str:
    """The median of each measure as a ratio to bare, one bar a gateway; a measure that bare has not is left out."""
    rows: list[str] = []
    shown = {measure: found for measure, found in figures.items() if found.get("bare")}
    ratios = {
        (measure, name): statistics.median(found[name]) / statistics.median(found["bare"])
        for measure, found in shown.items()
        for name in names
        if found.get(name)
    }
    scale = WIDTH / max([*ratios.values(), 1.0])
    y = 10
    for measure in shown:
        rows.append(f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(measure)}</text>')
        for colour, name in zip(COLOURS, names, strict=False):
            if (measure, name) not in ratios:
                continue
            ratio = ratios[measure, name]
            rows.append(
                f'<rect x="{LEFT}" y="{y + 2}" width="{ratio * scale:.1f}" height="{ROW - 4}" fill="{colour}"/>'
            )
            rows.append(f'<text x="{LEFT + ratio * scale + 4:.1f}" y="{y + 13}">{escape(name)} {ratio:.2f}</text>')
            y += ROW
        y += ROW // 2
    return sheet("Ratios to a bare pass-through", LEFT + WIDTH + 140, y + 10, Markup("\n".join(rows)))


def curves(found: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """A line for each thing that grows, both axes logarithmic; every point has its figure."""
    points = [point for line in found.values() for point in line]
    most_x = max(math.log10(x) for x, _ in points) or 1
    low, high = math.log10(min(y for _, y in points)), math.log10(max(y for _, y in points))
    rows: list[str] = []
    for colour, (name, line) in zip(COLOURS[1:], found.items(), strict=False):
        places = [
            (60 + math.log10(x) / most_x * WIDTH, 330 - (math.log10(y) - low) / ((high - low) or 1) * 300, y)
            for x, y in line
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
        rows.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        rows += [f'<text x="{x:.1f}" y="{y - 5:.1f}" fill="{colour}">{us:.0f} us</text>' for x, y, us in places]
        rows.append(f'<text x="{places[-1][0] + 50:.1f}" y="{places[-1][1]:.1f}" fill="{colour}">{escape(name)}</text>')
    decades = range(int(most_x) + 1)
    rows += [f'<text x="{60 + n / most_x * WIDTH:.1f}" y="350">{10**n:,}</text>' for n in decades]
    return sheet("What grows with what", WIDTH + 260, 360, Markup("\n".join(rows)))
