"""A picture as an SVG file that needs nothing else and is read on light pages and on dark ones."""

import math

from muxer.replay.markup import Markup, tag

# Each is seen on both papers.
COLOURS = ("#7d8590", "#d0621c", "#8b5cf6", "#1f9a55", "#2f7fe0")
# The names are those of a sheet alone: in a page the style of one picture is that of all.
_STYLE = """
.sheet{fill:#1d2430;font:13px system-ui,sans-serif}.sheet .paper{fill:#fff}.sheet .grid{stroke:#e3e6ea}
.sheet .curve{fill:none;stroke-width:2}
@media (prefers-color-scheme:dark){.sheet{fill:#e6eaf0}.sheet .paper{fill:#1a2028}.sheet .grid{stroke:#2c343f}}
"""


def sheet(title: str, width: float, height: float, *parts: str) -> str:
    """The whole file. What has no colour of its own has that of ink; `grid` and `curve` are classes of its style."""
    paper = tag("rect", width=f"{width:g}", height=f"{height:g}", class_="paper")
    head = (tag("title", title), tag("style", Markup(_STYLE)), paper)
    box = f"0 0 {width:g} {height:g}"
    return tag("svg", *head, *parts, xmlns="http://www.w3.org/2000/svg", viewBox=box, role="img", class_="sheet") + "\n"


def ticks(low: float, high: float, most: int = 9) -> list[float]:
    """Round numbers from low to high for an axis, a few."""
    power = 10.0 ** (math.floor(math.log10(high - low)) - 1)
    step = next(one * power for one in (1, 2, 5, 10, 20, 50) if (high - low) / (one * power) <= most)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def text(x: float, y: float, words: str, anchor: str = "start", **attributes: object) -> Markup:
    """Words at a place, which is their start, middle or end."""
    return tag("text", words, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, **attributes)
