"""Records as they are kept, JSON beside what changes after it was written, and their reading in pages."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from muxer import Record, Summary, Usage
from muxer_redis.calls import Calls

encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Record).decode
_FILTERS = ("user", "team", "key", "route", "model", "provider", "state")
_GROUPS = (*_FILTERS, "config", "day")
_PAGE = 200  # a server does one thing at a time: this is about a millisecond of it


class _Line(Struct, frozen=True):
    """What filters and sums need of a record: it is decoded much faster than the whole."""

    at: float
    user: str
    key: str
    team: str = ""
    route: str = ""
    model: str = ""
    provider: str = ""
    config: str = ""
    usage: Usage = Usage()


_decode_line = msgspec.json.Decoder(_Line).decode


class Row(Struct, frozen=True, array_like=True):
    """A record as a script returns it."""

    id: bytes
    json: bytes
    state: bytes
    cost: bytes
    presumed: bytes
    held: bytes

    def record(self) -> Record:
        """The record as it stands now."""
        changed = {"state": self.state.decode(), "cost_nanos": int(self.cost), "presumed_nanos": int(self.presumed)}
        return replace(_decode(self.json), **changed)


async def read(calls: Calls, now: str, since_s: float, where: Mapping[str, str], most: float) -> AsyncIterator[Row]:
    """Rows newest first, of the user's own index where one is named; at most `most` when nothing has to be filtered."""
    index = f"at:{where['user']}" if "user" in where else "at"
    after = b""
    while True:
        size = int(min(_PAGE, most)) if not set(where) - {"user"} else _PAGE
        reply = await calls.run("page", now, index, after, repr(since_s), str(size))
        page = msgspec.convert(reply, list[Row])
        for row in page:
            if row.json and _matches(row, where):
                yield row
        if len(page) < size:
            return
        after = page[-1].id


def check(where: Mapping[str, str], by: Sequence[str] = ()) -> None:
    """Raises KeyError for a field that cannot be filtered or grouped by."""
    unknown = sorted(set(where) - set(_FILTERS) | set(by) - set(_GROUPS))
    if unknown:
        raise KeyError(f"records cannot be filtered or grouped by {', '.join(unknown)}")


def _matches(row: Row, where: Mapping[str, str]) -> bool:
    if "state" in where and row.state.decode() != where["state"]:
        return False
    names = [name for name in where if name != "state"]
    if not names:
        return True
    line = _decode_line(row.json)
    return all(getattr(line, name) == where[name] for name in names)


async def summary(rows: AsyncIterator[Row], by: Sequence[str]) -> list[Summary]:
    """Spend by groups, dearest first; without groups one line of everything."""
    sums: dict[tuple[str, ...], list[int]] = {} if by else {(): [0] * 7}
    async for row in rows:
        line = _decode_line(row.json)
        group = tuple(_value(line, row, name) for name in by)
        usage = line.usage
        amounts = (
            1, usage.input_tokens, usage.cached_input_tokens, usage.output_tokens,
            int(row.cost), int(row.held), int(row.presumed),
        )  # fmt: skip
        sums[group] = [sum(pair) for pair in zip(sums.get(group, [0] * 7), amounts, strict=True)]
    lines = [_summary(dict(zip(by, group, strict=True)), found) for group, found in sums.items()]
    return sorted(lines, key=lambda line: -line.cost_nanos)


def _value(line: _Line, row: Row, name: str) -> str:
    if name == "state":
        return row.state.decode()
    if name == "day":
        return datetime.fromtimestamp(line.at, UTC).strftime("%Y-%m-%d")
    return str(getattr(line, name))


def _summary(group: dict[str, str], found: Sequence[int]) -> Summary:
    requests, input_tokens, cached, output_tokens, cost, held, presumed = found
    return Summary(
        group=group,
        requests=requests,
        input_tokens=input_tokens,
        cached_input_tokens=cached,
        output_tokens=output_tokens,
        cost_nanos=cost,
        held_nanos=held,
        presumed_nanos=presumed,
    )
