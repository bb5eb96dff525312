"""Records as they are kept, JSON beside what changes after it was written, and their reading in pages."""

from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from muxer import Record, Usage
from muxer_redis.calls import Calls

encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Record).decode
_FILTERS = ("user", "team", "key", "route", "model", "provider", "state")
GROUPS = (*_FILTERS, "config", "day")
PAGE = 200  # a server does one thing at a time: this is about a millisecond of it


class Line(Struct, frozen=True):
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


decode_line = msgspec.json.Decoder(Line).decode


class Row(Struct, frozen=True, array_like=True):
    """A record as a script returns it."""

    id: bytes
    json: bytes
    state: bytes
    cost: bytes
    presumed: bytes
    held: bytes
    feedback: bytes = b""

    def record(self) -> Record:
        """The record as it stands now."""
        return replace(
            _decode(self.json),
            state=self.state.decode(),
            cost_nanos=int(self.cost),
            presumed_nanos=int(self.presumed),
            feedback=float(self.feedback) if self.feedback else None,
        )


async def read(
    calls: Calls, now: str, since_s: float, where: Mapping[str, str], most: float, before_s: str = ""
) -> AsyncIterator[Row]:
    """Rows newest first, of the user's own index where one is named; at most `most` when nothing has to be filtered."""
    index = f"at:{where['user']}" if "user" in where else "at"
    after = b""
    while True:
        size = int(min(PAGE, most)) if not set(where) - {"user"} else PAGE
        reply = await calls.run("page", now, index, after, repr(since_s), str(size), before_s)
        page = msgspec.convert(reply, list[Row])
        for row in page:
            if row.json and matches(row, where):
                yield row
        if len(page) < size:
            return
        after = page[-1].id


def check(where: Mapping[str, str], by: Sequence[str] = ()) -> None:
    """Raises KeyError for a field that cannot be filtered or grouped by."""
    unknown = sorted(set(where) - set(_FILTERS) | set(by) - set(GROUPS))
    if unknown:
        raise KeyError(f"records cannot be filtered or grouped by {', '.join(unknown)}")


def matches(row: Row, where: Mapping[str, str]) -> bool:
    """Whether a row has these values."""
    if "state" in where and row.state.decode() != where["state"]:
        return False
    names = [name for name in where if name != "state"]
    if not names:
        return True
    line = decode_line(row.json)
    return all(getattr(line, name) == where[name] for name in names)
