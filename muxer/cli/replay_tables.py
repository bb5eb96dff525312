"""How a replay is printed: what changes in all, by route, by pair of models, and where it changes most."""

from collections.abc import Callable
from datetime import UTC, datetime

from rich.text import Text

from muxer.cli.output import NOTHING, Cell, Column, bad, counted, good, print_table, warned
from muxer.errors import MuxerError
from muxer.money import usd
from muxer.replay.amounts import change_words, dollars
from muxer.replay.run import Story, by_change, by_requests, summary
from muxer.replay.sides import Decided, Side
from muxer.replay.tally import Sum
from muxer.types import Record

MOST_ROWS = 20
_NUMBERS = (
    Column("requests", is_number=True),
    Column("moved", is_number=True),
    Column("before $", is_number=True),
    Column("after $", is_number=True),
    Column("change", is_number=True),
)


def print_tally(story: Story) -> None:
    """Prints the whole of it."""
    tally = story.tally
    total, write = tally.total, dollars(tally.total)
    begin, end = (datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M") for at in (tally.first_s, tally.last_s))
    sample = f", a sample of {story.of:,}" if story.is_sample else ""
    print(f"{counted(total.requests, 'request')} of {story.log}{sample}, {begin} to {end} UTC")
    print(f"before: {story.old}\nafter:  {story.new}\n")
    print_table((Column(""), *_NUMBERS), [["all", *_cells(total, write)]])
    print()
    for line in summary(story):
        print(line)
    _print_routes(story, write)
    _print_moves(story, write)
    _print_largest(story)


def _print_routes(story: Story, write: Callable[[int], str]) -> None:
    routes = story.tally.routes
    print("\nby route, as it was")
    names = by_change(routes)[:MOST_ROWS]
    print_table((Column("route"), *_NUMBERS), [[name or NOTHING, *_cells(routes[name], write)] for name in names])
    _print_rest(len(routes))


def _print_moves(story: Story, write: Callable[[int], str]) -> None:
    moves = story.tally.moves
    if not moves:
        return
    columns = (Column("from"), Column("to"), *(column for column in _NUMBERS if column.title != "moved"))
    print("\nmoved, from model to model")
    rows: list[list[Cell]] = []
    for pair in by_requests(moves)[:MOST_ROWS]:
        requests, _, *rest = _cells(moves[pair], write)
        rows.append([pair[0], warned(pair[1]) if pair[1].startswith("refused") else pair[1], requests, *rest])
    print_table(columns, rows)
    _print_rest(len(moves))


def _print_largest(story: Story) -> None:
    largest = story.tally.largest
    if not largest:
        return
    columns = (
        Column("id"),
        Column("from", is_spare=True),
        Column("to"),
        Column("before $", is_number=True),
        Column("after $", is_number=True),
    )
    print("\nlargest single changes (muxer replay --explain ID)")
    rows: list[list[Cell]] = [
        [
            one.id,
            one.before.model or "refused",
            one.after.model or "refused",
            usd(one.before.cost_nanos),
            usd(one.after.cost_nanos),
        ]
        for one in largest
    ]
    print_table(columns, rows)


def _print_rest(count: int) -> None:
    if count > MOST_ROWS:
        print(f"and {count - MOST_ROWS:,} more; --json has all")


def _cells(one: Sum, write: Callable[[int], str]) -> list[Cell]:
    words = change_words(one)
    change: Text = good(words) if one.change_nanos < 0 else bad(words) if one.change_nanos > 0 else Text(words)
    return [f"{one.requests:,}", f"{one.moved:,}", write(one.before_nanos), write(one.after_nanos), change]


async def print_explained(record: Record, before: Side, after: Decided, old: str, new: str) -> None:
    """Prints the decision on one request by both sides."""
    at = datetime.fromtimestamp(record.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    tokens = f"{record.usage.input_tokens:,} tokens in, {record.usage.output_tokens:,} out"
    print(f"{record.id}, {at}, {record.user}, asked for {record.requested_model or 'auto'}, {tokens}")
    print(", ".join(f"{name} {_shown(value)}" for name, value in record.signals.items()))
    for title, name, side in (("before", old, before), ("after", new, after)):
        print(f"\n{title}: {name}")
        if isinstance(side, Decided):
            _print_decision(record, side)
        outcome = await side.outcome(record)
        if outcome.unknown:
            print(f"cannot be told without {outcome.unknown}")
        elif isinstance(side, Decided):
            print(f"-> {outcome.goes_to}: ${usd(outcome.cost_nanos)}")
        else:
            print(f"{record.reason}\n-> {outcome.goes_to}: ${usd(outcome.cost_nanos)}")


def _print_decision(record: Record, side: Decided) -> None:
    """The candidates in their order, then those passed over."""
    try:
        decided = side.plan(record)
    except KeyError:
        return  # the outcome names the signal
    except MuxerError as error:
        print(error)
        return
    print(decided.reason)
    rows: list[list[Cell]] = []
    for one in decided.candidates:
        price = one.model.price
        cost = usd(price.cost_nanos(record.usage)) if price else NOTHING
        rows.append([one.model.name, usd(one.expected_nanos), cost, ""])
    rows += [[one.model, NOTHING, NOTHING, warned(f"{one.gate}: {one.detail}")] for one in decided.excluded]
    numbers = (Column("expected $", is_number=True), Column("at its tokens $", is_number=True))
    print_table((Column("model"), *numbers, Column("passed over", wraps=True)), rows)


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
