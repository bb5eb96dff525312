"""What requests add up to, from the totals of whole days; only what no total has is read from records."""

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from muxer import Record, Summary
from muxer_redis import records
from muxer_redis.calls import Calls
from muxer_redis.replies import pack

_DAY_S = 86_400
_Amounts = tuple[int, int, int, int, int, int, int]


class _Group(Struct, frozen=True, array_like=True):
    """All that a day's total is kept by, as in common.lua."""

    user: str
    team: str
    key: str
    route: str
    model: str
    provider: str
    config: str
    state: str


class _Total(Struct, frozen=True, array_like=True):
    requests: int
    input: int
    cached: int
    output: int
    cost: int
    presumed: int


class _Day(Struct, frozen=True, array_like=True):
    """Groups and their sums by turns, and the open requests, which no total has."""

    totals: list[bytes]
    open: list[records.Row]


_decode_group = msgspec.msgpack.Decoder(_Group).decode
_decode_total = msgspec.msgpack.Decoder(_Total).decode


def of(record: Record) -> tuple[bytes, bytes]:
    """What the settlement of a record adds to its day: the group and the tokens."""
    group = (
        record.user, record.team, record.key, record.route, record.model, record.provider, record.config, record.state,
    )  # fmt: skip
    usage = record.usage
    return pack(group), pack((usage.input_tokens, usage.cached_input_tokens, usage.output_tokens))


async def summary(calls: Calls, now: str, by: Sequence[str], since_s: float, where: Mapping[str, str]) -> list[Summary]:
    """Spend by groups, dearest first; without groups one line of everything."""
    sums: dict[tuple[str, ...], list[int]] = {}
    async for day, group, amounts in _parts(calls, now, since_s, where):
        if all(getattr(group, name) == value for name, value in where.items()):
            values = tuple(_date(day) if name == "day" else str(getattr(group, name)) for name in by)
            sums[values] = [sum(pair) for pair in zip(sums.get(values, [0] * 7), amounts, strict=True)]
    if not by and not sums:
        sums[()] = [0] * 7
    lines = [Summary(dict(zip(by, values, strict=True)), *found) for values, found in sums.items()]
    return sorted(lines, key=lambda line: -line.cost_nanos)


async def _parts(
    calls: Calls, now: str, since_s: float, where: Mapping[str, str]
) -> AsyncIterator[tuple[int, _Group, _Amounts]]:
    """Everything since then, each request in one part. A day's totals and its open requests are one reading."""
    first = max(0, math.ceil(since_s / _DAY_S))
    if since_s > 0 and first * _DAY_S != since_s:
        async for row in records.read(calls, now, since_s, where, math.inf, str(first * _DAY_S)):
            yield first - 1, *_of_row(row)
    days = msgspec.convert(await calls.run("days", now, str(first)), list[bytes])
    for number in sorted(int(day) for day in days):
        day = msgspec.convert(await calls.run("day", now, str(number)), _Day)
        for row in day.open:
            yield number, *_of_row(row)
        for group, total in zip(day.totals[::2], day.totals[1::2], strict=True):
            found = _decode_total(total)
            amounts = found.requests, found.input, found.cached, found.output, found.cost, 0, found.presumed
            yield number, _decode_group(group), amounts


def _of_row(row: records.Row) -> tuple[_Group, _Amounts]:
    line = records.decode_line(row.json)
    state = row.state.decode()
    group = _Group(line.user, line.team, line.key, line.route, line.model, line.provider, line.config, state)
    usage = line.usage
    tokens = usage.input_tokens, usage.cached_input_tokens, usage.output_tokens
    return group, (1, *tokens, int(row.cost), int(row.held), int(row.presumed))


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * _DAY_S, UTC).strftime("%Y-%m-%d")
