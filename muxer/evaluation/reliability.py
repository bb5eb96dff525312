"""How often what was said to happen with a chance did happen: prompts in groups by their chance, and a picture."""

from collections.abc import Sequence

from msgspec import Struct

from muxer.branches import wilson
from muxer.replay.markup import Markup, tag

GROUPS = 10
_SIZE, _EDGE = 420, 52
_STYLE = ".said{fill:#2563eb}.range{stroke:#2563eb;stroke-width:1.5}.ideal{stroke:#999;stroke-dasharray:6 5}"


class Group(Struct, frozen=True):
    """Prompts of about the same chance: the mean of what was said, the share that happened, its 95 % interval."""

    said: float
    happened: float
    low: float
    high: float
    count: int


def groups(chances: Sequence[float], happened: Sequence[bool]) -> list[Group]:
    """At most ten of about the same size, by rising chance; equal chances are in one."""
    ranked = sorted(zip(chances, happened, strict=True))
    found: list[Group] = []
    begin = 0
    for at in range(1, len(ranked) + 1):
        is_full = (at - begin) * GROUPS >= len(ranked)
        if at == len(ranked) or (is_full and ranked[at][0] > ranked[at - 1][0]):
            found.append(_group(ranked[begin:at]))
            begin = at
    return found


def _group(ranked: Sequence[tuple[float, bool]]) -> Group:
    count, hits = len(ranked), sum(hit for _, hit in ranked)
    share = hits / count
    low, high = wilson(share, count)
    return Group(said=sum(said for said, _ in ranked) / count, happened=share, low=low, high=high, count=count)


def drawn(found: Sequence[Group]) -> Markup:
    """What was said across, what happened upwards; on the dashed line both are the same."""

    def x(value: float) -> str:
        return f"{_EDGE + (_SIZE - 2 * _EDGE) * value:.1f}"

    def y(value: float) -> str:
        return f"{_SIZE - _EDGE - (_SIZE - 2 * _EDGE) * value:.1f}"

    parts = [tag("title", "Chance that was said, and share that happened"), tag("style", _STYLE)]
    for tick in range(0, 101, 25):
        at = tick / 100
        parts.append(tag("line", x1=x(0), x2=x(1), y1=y(at), y2=y(at), class_="grid"))
        parts.append(tag("text", f"{tick} %", x=x(0), y=y(at), dx="-8", dy="4", text_anchor="end"))
        parts.append(tag("text", f"{tick} %", x=x(at), y=y(0), dy="18", text_anchor="middle"))
    parts.append(tag("line", x1=x(0), x2=x(1), y1=y(0), y2=y(1), class_="ideal"))
    for group in found:
        across = x(group.said)
        parts.append(tag("line", x1=across, x2=across, y1=y(group.low), y2=y(group.high), class_="range"))
        parts.append(tag("circle", cx=across, cy=y(group.happened), r=4, class_="said"))
    parts.append(tag("text", "said", x=x(0.5), y=_SIZE - 10, text_anchor="middle"))
    parts.append(tag("text", "happened", x=8, y=y(1), dy="-14"))
    box, style = f"0 0 {_SIZE} {_SIZE}", f"max-width:{_SIZE}px"
    return tag("svg", *parts, xmlns="http://www.w3.org/2000/svg", viewBox=box, style=style, role="img")
