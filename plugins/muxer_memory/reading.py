"""What was recorded, read back."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from muxer import Record, Summary
from muxer_memory.ledger import Request

_FILTERS = ("user", "team", "key", "route", "model", "provider", "state")
_GROUPS = (*_FILTERS, "config", "day")


def newest(records: Iterable[Record], limit: int) -> list[Record]:
    """Records from the newest to the oldest, at most `limit`."""
    return heapq.nlargest(limit, records, key=lambda record: (record.at, record.id))


def chosen(requests: Iterable[Request], since_s: float, where: Mapping[str, str]) -> list[Request]:
    """Requests since then with these values. Raises KeyError for a field that cannot be filtered by."""
    _check(where, _FILTERS, "filtered")
    return [
        request
        for request in requests
        if request.record.at >= since_s and all(getattr(request.record, name) == where[name] for name in where)
    ]


def summary(requests: Iterable[Request], by: Sequence[str]) -> list[Summary]:
    """Spend by groups, dearest first; without groups one line of everything. Raises KeyError for a field that cannot be
    grouped by."""
    _check(by, _GROUPS, "grouped")
    sums: dict[tuple[str, ...], list[int]] = {} if by else {(): [0] * 7}
    for request in requests:
        record, usage = request.record, request.record.usage
        held = request.held_nanos if record.state == "open" else 0
        tokens = usage.input_tokens, usage.cached_input_tokens, usage.output_tokens
        amounts = (1, *tokens, record.cost_nanos, held, record.presumed_nanos)
        group = tuple(_value(record, name) for name in by)
        sums[group] = [sum(pair) for pair in zip(sums.get(group, [0] * 7), amounts, strict=True)]
    lines = [Summary(dict(zip(by, group, strict=True)), *found) for group, found in sums.items()]
    return sorted(lines, key=lambda line: -line.cost_nanos)


def _check(names: Iterable[str], known: Sequence[str], done: str) -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise KeyError(f"records cannot be {done} by {', '.join(unknown)}")


def _value(record: Record, name: str) -> str:
    if name == "day":
        return datetime.fromtimestamp(record.at, UTC).strftime("%Y-%m-%d")
    return str(getattr(record, name))
