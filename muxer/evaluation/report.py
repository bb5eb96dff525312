"""What training made, as one page of HTML that needs nothing else: quality over cost, chances, and dollars."""

import math
from collections.abc import Sequence

from muxer.evaluation.chart import lines, picture
from muxer.evaluation.curves import measures
from muxer.evaluation.judged import lift
from muxer.evaluation.reliability import Group, drawn
from muxer.evaluation.story import Story
from muxer.replay.markup import Markup, tag
from muxer.replay.style import whole_page

_SAVED = (("save@eq", "at its quality"), ("save@99q", "at 99 % of it"), ("save@95g", "at 95 % of the gap"))


def report(story: Story, learned_from: int, records: int, found: Sequence[Group]) -> str:
    """The whole page; `story` judges what was held back, so many records among it; `found` are the chances that were
    said of the others."""
    title = f"Difficulty: {story.strong} or {story.cheap}"
    about = (
        f"Learned from {learned_from:,} prompts and judged on {len(story.pairs):,} others, which were held back both "
        "from it and from what it would replace."
    )
    if records:
        about += (
            f" {records:,} of those are records with one answer each: curves are estimated from them, "
            "and nothing is said of dollars."
        )
    body = [
        tag("h1", title),
        tag("p", about, class_="soft"),
        tag("section", tag("h2", "Quality over cost"), Markup(picture(title, lines(story.judged), ())), _ranked(story)),
    ]
    if found:
        body.append(_calibration(found))
    return whole_page(title, body)


def _calibration(found: Sequence[Group]) -> Markup:
    return tag(
        "section",
        tag("h2", "Is 30 % thirty in a hundred?"),
        tag("p", "Prompts by the chance that was said; bars are 95 % intervals.", class_="soft"),
        drawn(found),
        _reliability(found),
    )


def _ranked(story: Story) -> Markup:
    """APGR, the quality above chance, and where costs are known what is saved of what the strong model alone costs."""
    has_usd = story.strong_usd is not None
    names = ["", "APGR", "quality above chance", *(f"saved {words}" for _, words in _SAVED if has_usd)]
    rows = []
    for one in story.judged:
        found = one.measures or measures(one.ordered)
        cells = [one.name, _number(found["apgr"]), f"{lift(one.ordered):+.3f}"]
        if has_usd:
            bill = found["usd1k_strong"]
            cells += [f"{found[name]:.1%}, ${found[name] * bill:.3g} per 1,000 prompts" for name, _ in _SAVED]
        rows.append(cells)
    return _table(names, rows)


def _reliability(found: Sequence[Group]) -> Markup:
    rows = [
        [f"{one.said:.1%}", f"{one.happened:.1%}", f"{one.low:.1%} to {one.high:.1%}", f"{one.count:,}"]
        for one in found
    ]
    return _table(["said", "happened", "95 % interval", "prompts"], rows)


def _number(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.3f}"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    head = tag("tr", *(tag("th", name) for name in names))
    return tag("table", head, *(tag("tr", *(tag("td", cell) for cell in row)) for row in rows))
