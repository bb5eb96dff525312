"""Draws figures as SVG, with no library.

It has no command; the other benchmarks use it.
"""

import statistics
from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#9aa0a6", "#5f6368", "#1a73e8", "#e8710a", "#d93025")
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
    return svg(LEFT + WIDTH + 140, y + 10, rows)


def svg(width: int, height: int, rows: Sequence[str]) -> str:
    """A picture of these elements."""
    space = 'xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="11"'
    head = f'<svg {space} viewBox="0 0 {width} {height}">'
    return "\n".join([head, f'<rect width="{width}" height="{height}" fill="white"/>', *rows, "</svg>", ""])
