"""A replay as one page of HTML that needs nothing else: charts, and under each its numbers as a table."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from muxer.money import NANOS_PER_USD, usd
from muxer.replay.amounts import change_words, dollars
from muxer.replay.charts import Point, Stream, bars, lines, streams
from muxer.replay.markup import Markup, joined, tag
from muxer.replay.run import Story, by_change, by_requests, summary
from muxer.replay.style import whole_page
from muxer.replay.tally import Sum, Tally

MOST_POINTS, MOST_BARS, MOST_STREAMS = 56, 12, 24
_NUMBERS = ("requests", "moved", "before $", "after $", "change")
_BEFORE_AFTER = (("before", "before"), ("after", "after"))
_TONES = (
    ("stays", "stays where it was"),
    ("cheaper", "to a cheaper model"),
    ("dearer", "to a dearer model"),
    ("same", "moved at the same cost"),
    ("refused", "refused"),
)


def page(story: Story, passed: Sequence[str]) -> str:
    """The whole page; `passed` are the bounds that do not hold."""
    tally = story.tally
    write = dollars(tally.total)
    title = f"Replay of {story.new}"
    body = [tag("h1", title), _about(story), _tiles(story, write)]
    if passed:
        body.append(tag("section", tag("h2", "Over the bound"), *(tag("p", words) for words in passed), class_="over"))
    if tally.total.requests:
        body += [_over_time(tally, write), _by_route(tally, write), _from_to(tally, write), _largest(tally)]
    return whole_page(title, body)


def _about(story: Story) -> Markup:
    tally = story.tally
    begin, end = (datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M") for at in (tally.first_s, tally.last_s))
    sample = f", a sample of {story.of:,}" if story.is_sample else ""
    of = f"{tally.total.requests:,} requests of {story.log}{sample}"
    first = f"compared with {story.old}, over {of}, {begin} to {end} UTC"
    return joined(*(tag("p", f"{line[:1].upper()}{line[1:]}.", class_="soft") for line in (first, *summary(story))))


def _tiles(story: Story, write: Callable[[int], str]) -> Markup:
    tally, total = story.tally, story.tally.total
    tone = "good" if total.change_nanos < 0 else "bad" if total.change_nanos > 0 else ""
    share = f"{total.moved / total.requests:.1%}" if total.requests else "0"
    refused = f"{tally.newly_refused:,}" if story.has_limits else "not simulated"
    return tag(
        "div",
        _tile(f"${write(total.after_nanos)}", f"instead of ${write(total.before_nanos)}"),
        _tile(change_words(total), "change of cost", tone),
        _tile(share, f"{total.moved:,} requests move"),
        _tile(refused, "refused by limits or gates that were not"),
        class_="tiles",
    )


def _tile(number: str, words: str, tone: str = "") -> Markup:
    return tag("div", tag("b", number, class_=tone), tag("span", words), class_="tile")


def _over_time(tally: Tally, write: Callable[[int], str]) -> Markup:
    """Dollars by hour, or by as many hours as it takes to have few enough points."""
    first, last = min(tally.hours), max(tally.hours)
    hours = next(
        size for size in (1, 2, 3, 6, 12, 24, 24 * 7, 24 * 28, 24 * 365) if _places(first, last, size) <= MOST_POINTS
    )
    size_s = hours * 3_600
    sums = {at: Sum() for at in range(first // size_s * size_s, last + 1, size_s)}
    for at, one in tally.hours.items():
        into = sums[at // size_s * size_s]
        into.requests += one.requests
        into.moved += one.moved
        into.before_nanos += one.before_nanos
        into.after_nanos += one.after_nanos
    names = {at: datetime.fromtimestamp(at, UTC).strftime("%m-%d" if hours >= 24 else "%m-%d %H:%M") for at in sums}
    largest = max(sums.values(), key=lambda one: max(one.before_nanos, one.after_nanos))
    fine = dollars(largest)
    points = [_point(names[at], one) for at, one in sums.items()]
    chart = lines(points, lambda value: f"${value:,.4g}", "Dollars over time, before and after")
    rows = [[names[at], *_cells(one, fine)] for at, one in sums.items()]
    table = _table(f"Each row is {hours} h, from the time in UTC", ("from", *_NUMBERS), rows)
    return tag(
        "section",
        tag("h2", "Cost over time"),
        _legend(_BEFORE_AFTER),
        chart,
        tag("details", tag("summary", "as a table"), table),
    )


def _places(first: int, last: int, hours: int) -> int:
    return last // (hours * 3_600) - first // (hours * 3_600) + 1


def _by_route(tally: Tally, write: Callable[[int], str]) -> Markup:
    routes = tally.routes
    names = by_change(routes)
    points = [_point(name or "-", routes[name]) for name in names[:MOST_BARS]]
    chart = bars(points, lambda value: f"${write(round(value * NANOS_PER_USD))}", "Dollars by route, before and after")
    rows = [[name or "-", *_cells(routes[name], write)] for name in names]
    table = _table("Requests by the route they went down before", ("route", *_NUMBERS), rows)
    return tag("section", tag("h2", "By route"), _legend(_BEFORE_AFTER), chart, table)


def _from_to(tally: Tally, write: Callable[[int], str]) -> Markup:
    flows = tally.flows
    pairs = by_requests(flows)
    drawn = [_stream(*pair, flows[pair], write) for pair in pairs[:MOST_STREAMS]]
    tones = {one.tone for one in drawn}
    chart = streams(drawn, "Requests from the model before to the model after")
    rows = [[*pair, *_cells(flows[pair], write)] for pair in pairs]
    left_out = f"; the chart has the first {MOST_STREAMS}" if len(pairs) > MOST_STREAMS else ""
    table = _table(f"Requests by model before and after{left_out}", ("from", "to", *_NUMBERS), rows)
    legend = _legend([(tone, words) for tone, words in _TONES if tone in tones])
    return tag("section", tag("h2", "Which model answers"), legend, chart, table)


def _stream(source: str, target: str, one: Sum, write: Callable[[int], str]) -> Stream:
    tone = "stays"
    if target.startswith("refused: "):
        tone = "refused" if one.moved else "stays"
    elif one.moved:
        tone = "cheaper" if one.change_nanos < 0 else "dearer" if one.change_nanos > 0 else "same"
    costs = f"${write(one.before_nanos)} before, ${write(one.after_nanos)} after"
    return Stream(source, target, one.requests, tone, f"{source} to {target}: {one.requests:,} requests, {costs}")


def _largest(tally: Tally) -> Markup:
    if not tally.largest:
        return joined()
    rows = [
        [one.id, one.before.goes_to, one.after.goes_to, usd(one.before.cost_nanos), usd(one.after.cost_nanos)]
        for one in tally.largest
    ]
    caption = "muxer replay --explain ID shows both decisions on one of them"
    return tag(
        "section",
        tag("h2", "Largest single changes"),
        _table(caption, ("id", "from", "to", "before $", "after $"), rows),
    )


def _point(label: str, one: Sum) -> Point:
    return Point(label, one.before_nanos / NANOS_PER_USD, one.after_nanos / NANOS_PER_USD)


def _cells(one: Sum, write: Callable[[int], str]) -> list[str]:
    costs = write(one.before_nanos), write(one.after_nanos)
    return [f"{one.requests:,}", f"{one.moved:,}", *costs, change_words(one)]


def _legend(entries: Sequence[tuple[str, str]]) -> Markup:
    colours = {"same": "after"}
    items = [tag("li", words, style=f"--swatch: var(--{colours.get(tone, tone)})") for tone, words in entries]
    return tag("ul", *items, class_="legend")


def _table(caption: str, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    numbers = {*_NUMBERS}
    head = tag("tr", *(tag("th", title, scope="col", class_="n" if title in numbers else "") for title in titles))
    body = [
        tag(
            "tr",
            *(tag("td", cell, class_="n" if title in numbers else "") for title, cell in zip(titles, row, strict=True)),
        )
        for row in rows
    ]
    return tag("div", tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body)), class_="wide")
