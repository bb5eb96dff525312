"""What an evaluation reads: prompts, and how good and how dear the answer of each model to them was."""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from muxer.errors import InvalidRequest, MuxerError

_PER_MILLION = 1e6
_MOST_NAMED = 20


class Cell(Struct, frozen=True):
    """One model's answer: its quality `s` from 0 to 1, its cost in dollars or its tokens where they are known, and how
    sure the model was of it, as a cascade judges it."""

    s: float
    cost: float | None = None
    input_tokens: float | None = msgspec.field(name="in", default=None)
    output_tokens: float | None = msgspec.field(name="out", default=None)
    confidence: float | None = None


class Row(Struct, frozen=True):
    """One line of the data; what else it says is of no concern here."""

    prompt: str
    models: dict[str, Cell]
    id: str = ""
    category: str = ""


class Price(Struct, frozen=True):
    """Dollars per million tokens."""

    input: float = msgspec.field(name="in")
    output: float = msgspec.field(name="out")


class Pair(Struct, frozen=True):
    """One prompt as a choice between two models: the qualities, and both costs in dollars or neither."""

    strong: float
    cheap: float
    strong_usd: float | None = None
    cheap_usd: float | None = None


def certainty(row: Row, name: str) -> float:
    """How sure a model was of its answer. Raises InvalidRequest where the row does not say."""
    sure = row.models[name].confidence
    if sure is None:
        raise InvalidRequest(
            f"a cascade asks {name!r} and goes by how sure it was of its answer, which the data does not say: "
            f"give `confidence` beside `s`"
        )
    return sure


def certainties(rows: Sequence[Row], name: str) -> list[float]:
    """How sure a model was of each answer. Raises InvalidRequest, which names the prompt, where the data does not
    say."""
    found = []
    for number, row in enumerate(rows):
        with named(row, number):
            found.append(certainty(row, name))
    return found


@contextmanager
def named(row: Row, number: int) -> Iterator[None]:
    """Names the row in the error of what is made of it, which becomes an InvalidRequest."""
    try:
        yield
    except MuxerError as error:
        raise InvalidRequest(f"prompt {row.id or number}: {error}") from error


def read_rows(paths: Iterable[Path]) -> Iterator[Row]:
    """The rows of some files of JSON lines, gzipped where the name ends in .gz. Raises InvalidRequest, which names file
    and line, for what is no row or has a mark out of range, and OSError."""
    decoder = msgspec.json.Decoder(Row)
    for path in paths:
        for number, line in read_lines(path):
            try:
                row = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise InvalidRequest(f"{path.name}:{number}: {error}") from error
            if wrong := _out_of_range(row):
                raise InvalidRequest(f"{path.name}:{number}: {wrong}")
            yield row


def _out_of_range(row: Row) -> str:
    for name, cell in row.models.items():
        if not 0 <= cell.s <= 1:
            return f"`s` of {name!r} is {cell.s}, which is not from 0 to 1: put marks on that scale"
        if cell.confidence is not None and not 0 <= cell.confidence <= 1:
            return f"`confidence` of {name!r} is {cell.confidence}, which is not from 0 to 1: take a probability"
    return ""


def rows_with(rows: Iterable[Row], strong: str, cheap: str) -> list[Row]:
    """Those that have both models. Raises InvalidRequest, which names the models there are, where none has."""
    counts: Counter[str] = Counter()
    found, is_empty = [], True
    for row in rows:
        is_empty = False
        counts.update(list(row.models))
        if strong in row.models and cheap in row.models:
            found.append(row)
    if is_empty:
        raise InvalidRequest("the data has no row")
    if not found:
        known = ", ".join(f"{name} ({count:,})" for name, count in counts.most_common(_MOST_NAMED)) or "none"
        more = f" and {len(counts) - _MOST_NAMED:,} more" if len(counts) > _MOST_NAMED else ""
        raise InvalidRequest(f"no row of the data has both {strong!r} and {cheap!r}; its models: {known}{more}")
    return found


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not blank, each with its number; gzipped where the name ends in .gz. Raises
    InvalidRequest for what is no whole gzip file, and OSError."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidRequest(f"{path.name}: no whole gzip file: {error}") from error


def read_prices(path: Path) -> dict[str, Price]:
    """Prices by the names of the rows; names that begin with an underscore are remarks. Raises InvalidRequest and
    OSError."""
    try:
        entries = msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw])
        return {
            name: msgspec.json.decode(entry, type=Price) for name, entry in entries.items() if not name.startswith("_")
        }
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"{path.name}: {error}") from error


def cost_usd(cell: Cell, price: Price | None) -> float | None:
    """What an answer cost: as measured, else its tokens at the price, else unknown."""
    if cell.cost is not None:
        return cell.cost
    if price is None or cell.input_tokens is None:
        return None
    return (cell.input_tokens * price.input + (cell.output_tokens or 0) * price.output) / _PER_MILLION


def pairs(rows: Sequence[Row], strong: str, cheap: str, prices: Mapping[str, Price]) -> list[Pair]:
    """The choices between two models that every row has. Costs are known for all prompts, or count for none."""
    found = [
        Pair(
            strong=row.models[strong].s,
            cheap=row.models[cheap].s,
            strong_usd=cost_usd(row.models[strong], prices.get(strong)),
            cheap_usd=cost_usd(row.models[cheap], prices.get(cheap)),
        )
        for row in rows
    ]
    if any(pair.strong_usd is None or pair.cheap_usd is None for pair in found):
        return [Pair(pair.strong, pair.cheap) for pair in found]
    return found
