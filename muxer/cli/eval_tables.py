"""What `muxer eval` prints: the models, each policy with its intervals, and the same as JSON."""

import math

import msgspec

from muxer.cli.output import NOTHING, Column, counted, print_note, print_table
from muxer.evaluation.cascades import KEEPS
from muxer.evaluation.story import Judged, Story

_SHARES = {"cpt50", "cpt80", "save@eq", "save@99q", "save@95g"}
_COLUMNS = {
    "apgr": "APGR",
    "cpt50": "CPT(50) %",
    "cpt80": "CPT(80) %",
    "save@eq": "saved at 100 % quality, %",
    "save@99q": "saved at 99 % quality, %",
}
_ALWAYS = ("apgr", "save@99q")  # what a narrow terminal keeps


def print_story(story: Story) -> None:
    """The two tables and a line of remarks."""
    _print_places(story)
    print()
    columns = [Column("ranked by"), *(Column(title, is_spare=name not in _ALWAYS) for name, title in _COLUMNS.items())]
    if any("save@99q" in one.measures for one in story.judged):
        columns.append(Column("$ saved per 1,000 prompts at 99 %", is_number=True, is_spare=True))
    print_table(columns, [_cells(one)[: len(columns)] for one in story.judged])
    strong, cheap = story.qualities
    if strong <= cheap:
        print_note(
            f"{story.strong} is no better than {story.cheap} here: there is no gap of which APGR and CPT are shares."
        )
    if story.strong_usd is None:
        print_note("No dollars: some answers have no cost. --prices FILE gives prices to those with tokens.")
    if story.thresholds is not None and len(story.thresholds) < len(KEEPS):
        print_note(
            f"No threshold asks again where {story.cheap} was quite sure, and it takes that to keep the quality."
        )
    print_note("In brackets 95 % intervals. Shares are of what the strong model alone does or costs.")


def _print_places(story: Story) -> None:
    strong, cheap = story.qualities
    rows = [
        ["always strong", *_place(story, strong, story.strong_usd), story.strong],
        ["always cheap", *_place(story, cheap, story.cheap_usd), story.cheap],
    ]
    if (policy := story.policy) is not None:
        usd = policy.usd if story.strong_usd is not None else None
        models = ", ".join(f"{name} {count:,}" for name, count in policy.counts.items())
        rows.append(["policy", *_place(story, policy.quality, usd), models])
    for one in story.thresholds or ():
        models = f"{story.strong} {one.asked_again:,}, {story.cheap} {len(story.pairs) - one.asked_again:,}"
        name = f"{one.keeps:.0%} with confidence: {one.confidence}".replace("%", " %")
        rows.append([name, *_place(story, one.quality, one.usd), models])
    titles = (Column("quality", True), Column("$ per 1,000", True), Column("saved", True), Column("models", wraps=True))
    print_table([Column(counted(len(story.pairs), "prompt")), *titles], rows)


def _place(story: Story, quality: float, usd: float | None) -> tuple[str, str, str]:
    saved = NOTHING if usd is None or not story.strong_usd else f"{100 * (1 - usd / story.strong_usd):.1f} %"
    return f"{quality:.4f}", NOTHING if usd is None else f"{1000 * usd:.4f}", saved


def _cells(one: Judged) -> list[str]:
    cells = [one.name, *(_cell(one, name) for name in _COLUMNS)]
    saved = one.measures.get("save@99q")
    return [*cells, NOTHING if saved is None else f"{saved * one.measures['usd1k_strong']:.4f}"]


def _cell(one: Judged, name: str) -> str:
    value = one.measures.get(name, math.nan)
    if math.isnan(value):
        return NOTHING
    scale, digits = (100, 1) if name in _SHARES else (1, 3)
    low, high = one.intervals.get(name, (math.nan, math.nan))
    words = f"{scale * value:.{digits}f}"
    return words if math.isnan(low) else f"{words} [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"


def as_json(story: Story) -> dict[str, object]:
    """The same as JSON, measures by the names of `muxer.evaluation.curves`; what does not exist is null."""
    strong, cheap = story.qualities
    policy = story.policy
    return {
        "prompts": len(story.pairs),
        "strong": {"model": story.strong, "quality": strong, "usd": story.strong_usd},
        "cheap": {"model": story.cheap, "quality": cheap, "usd": story.cheap_usd},
        "policy": None if policy is None else {"quality": policy.quality, "usd": policy.usd, "models": policy.counts},
        "thresholds": None if story.thresholds is None else [msgspec.to_builtins(one) for one in story.thresholds],
        "ranked": {
            one.name: {
                "value": {name: _known(value) for name, value in one.measures.items()},
                "ci95": {name: [_known(low), _known(high)] for name, (low, high) in one.intervals.items()},
            }
            for one in story.judged
        },
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
