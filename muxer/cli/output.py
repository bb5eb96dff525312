"""What commands print: tables with colour on a terminal and plain when piped, JSON, CSV."""

import csv
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

GAP = 2
_READABLE = 24  # a text that wraps gives way to others down to here
_NARROWEST = 4
_JOINT = re.compile(r"(?<=[-/@_.])(?=[^\W\d])")
NOTHING = "-"
"""What stands in a cell that has nothing to say."""

Cell = str | Text


class Column(Struct, frozen=True):
    """One column. Numbers stand under each other by their point and are never cut. A narrow terminal leaves out the
    spare columns, the last of them first; then it breaks the lines of texts, of those that wrap first."""

    title: str
    is_number: bool = False
    is_spare: bool = False
    wraps: bool = False


class _Laid(Struct, frozen=True):
    """A column as it is printed: title, cells and total, numbers padded to one width."""

    column: Column
    title: Text
    cells: list[Text]
    total: Text

    @property
    def width(self) -> int:
        return max(text.cell_len for text in (self.title, self.total, *self.cells))


def good(words: str) -> Text:
    """A cell that says all is well."""
    return Text(words, "green")


def warned(words: str) -> Text:
    """A cell that somebody should look at."""
    return Text(words, "yellow")


def bad(words: str) -> Text:
    """A cell that says something failed."""
    return Text(words, "red")


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], total: Sequence[Cell] = ()) -> None:
    """Prints rows under their titles; `total` stands apart at the end."""
    console = Console(highlight=False)
    laid = [_laid(column, [row[at] for row in rows], total[at] if total else "") for at, column in enumerate(columns)]
    if not console.is_terminal:
        _print_plain(laid, has_total=bool(total))
        return
    laid = _fitting(laid, console.width)
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0), show_footer=bool(total))
    widths = _widths(laid, console.width)
    for one, width in zip(laid, widths, strict=True):
        table.add_column(one.title, one.total, width=width, overflow="fold")
    for index in range(len(rows)):
        table.add_row(*(_broken(one.cells[index], width) for one, width in zip(laid, widths, strict=True)))
    console.print(table)


def print_json(value: object) -> None:
    """Prints a value as indented JSON, in colour on a terminal."""
    console, words = Console(), json.dumps(value, indent=2)
    if console.is_terminal:
        console.print_json(words, ensure_ascii=True)
        return
    print(words)


def print_csv(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints rows as comma-separated values with a line of titles."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows(rows)


def print_error(words: object) -> None:
    """Says on stderr why a command did not do what was asked."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(_visible(str(words)), "red"))


def print_note(words: str) -> None:
    """Says on stderr what a person should know of the answer and a program need not."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(_visible(words), "dim"))


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Shows a person what is being waited for: the words last said, as long as the context is open."""
    with Console(stderr=True).status("") as status:
        yield lambda words: status.update(Text(words))


@contextmanager
def progress_bar(total: int, words: str) -> Iterator[Callable[[int], None]]:
    """Shows a person how far the work is, on a terminal; what it gives is told how much more is done."""
    console = Console(stderr=True)
    parts = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*parts, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(words, total=total)
        yield lambda more: bar.advance(task, more)


def counted(number: int, word: str) -> str:
    """`1 model`, `2 models`."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _laid(column: Column, cells: Sequence[Cell], total: Cell) -> _Laid:
    title, *texts, last = [_text(cell) for cell in (Text(column.title, "bold"), *cells, total)]
    last.stylize("bold")
    if column.is_number:
        _align([*texts, last])
        width = max(text.cell_len for text in (title, *texts, last))
        for text in (title, *texts, last):
            text.pad_left(width - text.cell_len)
    return _Laid(column, title, texts, last)


def _text(cell: Cell) -> Text:
    return Text(_visible(cell)) if isinstance(cell, str) else Text(_visible(cell.plain), cell.style)


def _visible(words: str) -> str:
    """Names come from callers and vendors: their control characters must not reach the terminal."""
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in words)


def _align(cells: Sequence[Text]) -> None:
    """Pads numbers on the right so that their decimal points stand under each other."""
    decimals = {id(cell): len(cell.plain.partition(".")[2]) for cell in cells if cell.plain[:1].isdigit()}
    most = max(decimals.values(), default=0)
    for cell in cells:
        fraction = decimals.get(id(cell), most)
        if fraction < most:
            cell.append(" " * (most - fraction + (fraction == 0)))


def _fitting(laid: list[_Laid], width: int) -> list[_Laid]:
    """The columns without as many spare ones as it takes to fit the width."""
    kept = list(laid)
    for one in reversed(laid):
        if sum(other.width for other in kept) + GAP * (len(kept) - 1) <= width:
            break
        if one.column.is_spare:
            kept.remove(one)
    return kept


def _widths(laid: Sequence[_Laid], width: int) -> list[int]:
    """As wide as what is in them, or what is left for texts beside the numbers: the widest give way first."""
    widths = [one.width for one in laid]
    least = [one.width if one.column.is_number else min(one.width, _least(one.column)) for one in laid]
    too_much = sum(widths) + GAP * (len(laid) - 1) - width
    for _ in range(too_much):
        able = [at for at in range(len(laid)) if widths[at] > least[at]]
        if not able:
            break
        wrapping = [at for at in able if laid[at].column.wraps and widths[at] > _READABLE]
        widths[max(wrapping or able, key=widths.__getitem__)] -= 1
    return widths


def _broken(cell: Text, width: int) -> Text:
    """The cell in lines of that width: broken between words, and a word that is longer where a name has a joint."""
    if cell.cell_len <= width:
        return cell
    lines = [""]
    for word in cell.plain.split():
        gap = " "
        for part in [word] if len(word) <= width else _JOINT.split(word):
            if len(f"{lines[-1]}{gap}{part}") <= width:
                lines[-1] += f"{gap if lines[-1] else ''}{part}"
            else:
                lines.append(part)
            gap = ""
    return Text("\n".join(line for line in lines if line), cell.style)


def _least(column: Column) -> int:
    return max(_NARROWEST, *(len(word) for word in column.title.split()), 0)


def _print_plain(laid: Sequence[_Laid], *, has_total: bool) -> None:
    columns = [[one.title, *one.cells, *([one.total] if has_total else [])] for one in laid]
    for row in zip(*columns, strict=True):
        words = (text.plain + " " * (one.width - text.cell_len) for text, one in zip(row, laid, strict=True))
        print((" " * GAP).join(words).rstrip())
