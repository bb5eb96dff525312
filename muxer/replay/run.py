"""Goes through recorded requests in the order in which they began and asks both sides about each."""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence

from msgspec import Struct

from muxer.money import usd
from muxer.replay.sides import Past, Side
from muxer.replay.tally import Sum, Tally
from muxer.types import Record

NO_TOKENS = "token counts: the request did not end well, or nobody was asked"
_HASHES = 2**64


class Story(Struct, frozen=True, kw_only=True):
    """A replay and what it was of: the files by their names, and how many requests the log has of those asked for."""

    tally: Tally
    new: str
    old: str
    log: str
    of: int
    is_sample: bool
    has_limits: bool


async def replay(
    batches: AsyncIterator[Sequence[Record]],
    before: Side,
    after: Side,
    done: Callable[[int], None],
    past: Past | None = None,
) -> Tally:
    """Asks both sides about every request; `done` hears of how many more now and then, `past` of each that is over."""
    tally = Tally()
    async for batch in batches:
        for record in batch:
            if record.usage.input_tokens or record.usage.output_tokens:
                tally.add(record, await before.outcome(record), await after.outcome(record))
            else:
                tally.leave_out(NO_TOKENS)
            if past is not None:
                past.add(record)
        done(len(batch))
    return tally


def sampled(share: float) -> Callable[[str], bool]:
    """Whether a request is in a sample of this share of all: by a hash of its id, so that it is the same each time."""
    most = int(share * _HASHES)

    def is_in(id: str) -> bool:
        return int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8).digest()) < most

    return is_in


def summary(story: Story) -> list[str]:
    """What a table of sums does not say, a sentence each."""
    tally = story.tally
    lines = [_moved(tally)] if tally.total.moved else ["no request would move"]
    if not story.has_limits:
        lines.append("limits are not simulated on a part of the requests")
    elif tally.newly_refused:
        reasons = ", ".join(f"{reason} {after:,}" for reason, (_, after) in sorted(tally.refusals.items()) if after)
        lines.append(f"refused that were not: {tally.newly_refused:,} ({reasons})")
    if tally.unknown:
        reasons = "; ".join(f"{count:,} for {reason}" for reason, count in tally.unknown.most_common(5))
        lines.append(f"unknown, in no sum: {tally.unknown.total():,} ({reasons})")
    return lines


def _moved(tally: Tally) -> str:
    counts = ((tally.cheaper, "to a cheaper model"), (tally.dearer, "to a dearer one"), (tally.level, "at equal cost"))
    told = [f"{count:,} ({100 * count / tally.total.requests:.1f} %) {words}" for count, words in counts if count]
    return f"moved: {', '.join(told)}" if told else "moved: none from model to model"


def as_json(tally: Tally) -> dict[str, object]:
    """The whole of it; dollars as exact decimal strings."""
    routes, moves = tally.routes, tally.moves
    return {
        **_fields(tally.total),
        "cheaper": tally.cheaper,
        "dearer": tally.dearer,
        "level": tally.level,
        "refused": tally.newly_refused,
        "refusals": [
            {"reason": reason, "before": before, "after": after}
            for reason, (before, after) in sorted(tally.refusals.items())
        ],
        "unknown": tally.unknown.total(),
        "unknown_reasons": [{"reason": reason, "requests": count} for reason, count in tally.unknown.most_common()],
        "routes": [{"route": route, **_fields(routes[route])} for route in by_change(routes)],
        "moves": [{"from": pair[0], "to": pair[1], **_fields(moves[pair])} for pair in by_requests(moves)],
        "largest": [
            {
                "id": one.id,
                "from": one.before.goes_to,
                "to": one.after.goes_to,
                "before_usd": usd(one.before.cost_nanos),
                "after_usd": usd(one.after.cost_nanos),
            }
            for one in tally.largest
        ],
    }


def by_change(sums: dict[str, Sum]) -> list[str]:
    """The names whose costs change most come first."""
    return sorted(sums, key=lambda name: (-abs(sums[name].change_nanos), -sums[name].requests, name))


def by_requests(sums: dict[tuple[str, str], Sum]) -> list[tuple[str, str]]:
    """The pairs that most requests move between come first."""
    return sorted(sums, key=lambda pair: (-sums[pair].requests, pair))


def _fields(one: Sum) -> dict[str, object]:
    return {
        "requests": one.requests,
        "moved": one.moved,
        "before_usd": usd(one.before_nanos),
        "after_usd": usd(one.after_nanos),
    }
