"""`muxer replay`: what a changed routing.yaml would have done to the requests that were recorded."""

import argparse
import asyncio
import gc
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from muxer.assemble import known_of, rules_of
from muxer.cli.archive import Log, log_of, open_archive
from muxer.cli.configuration import Loaded, read
from muxer.cli.output import print_error, print_json, progress_bar
from muxer.cli.recorded import duration, since_s
from muxer.cli.replay_tables import print_explained, print_tally
from muxer.interfaces import Archive, Context
from muxer.keyring import known
from muxer.opener import Meters
from muxer.plugins import find_kinds
from muxer.replay.bounds import Bounds
from muxer.replay.limits import Clock, Limits
from muxer.replay.page import page
from muxer.replay.run import Story, as_json, replay, sampled
from muxer.replay.sides import Decided, Past, Recorded, Side
from muxer.upstream import open_client


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the words of the command."""
    parser.add_argument("file", type=Path, metavar="NEW", help="the routing.yaml to try")
    words = "the file to compare with; default: what the records say was decided"
    parser.add_argument("--against", type=Path, metavar="OLD", help=words)
    parser.add_argument("--log", type=Path, metavar="DB", help="the muxer.db to read; default: the store of NEW")
    parser.add_argument("--since", type=duration, metavar="AGE", help="only the last 30m, 1h, 7d, ...; default: all")
    parser.add_argument("--route", help="only requests that went down this route; limits are not simulated then")
    words = "about so many requests, the same each time; limits are not simulated then"
    parser.add_argument("--sample", type=_count, metavar="N", help=words)
    words = "exit 1 when the requests would cost more than this above what they did"
    parser.add_argument("--max-cost-increase", type=_share, metavar="5%", help=words)
    words = "exit 1 when a larger share of the requests would go to another model"
    parser.add_argument("--max-moved", type=_share, metavar="20%", help=words)
    parser.add_argument("--explain", metavar="ID", help="show the decision on this request by both sides")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write it as one page with charts, too")


def run(arguments: argparse.Namespace) -> int:
    """Prints what would change; 1 past a bound, or when the one to explain is not there, 2 when there is nothing to
    tell."""
    loaded = read(arguments.file)
    against = None if arguments.against is None else read(arguments.against)
    log = log_of(loaded.configuration, arguments.log)
    if arguments.explain is not None:
        return asyncio.run(_explain(arguments, loaded, against, log))
    story = asyncio.run(_replay(arguments, loaded, against, log))
    if not (story.tally.total.requests or story.tally.unknown):
        print_error(f"nothing to replay: no finished request in {log.name} matches")
        return 2
    return _shown(arguments, story)


def _shown(arguments: argparse.Namespace, story: Story) -> int:
    bounds = Bounds(arguments.max_cost_increase, arguments.max_moved)
    passed = bounds.passed(story.tally.total)
    if arguments.html is not None:
        arguments.html.write_text(page(story, passed), encoding="utf-8")
    if arguments.json:
        print_json(as_json(story.tally) | {"limits_simulated": story.has_limits, "exceeded": passed})
    else:
        print_tally(story)
    for words in passed:
        print_error(words)
    return 1 if passed else 0


def _count(words: str) -> int:
    if not (words.isascii() and words.isdigit() and int(words) > 0):
        raise argparse.ArgumentTypeError(f"{words!r} is no number from 1")
    return int(words)


def _share(words: str) -> float:
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)\s?%", words)
    if found is None:
        raise argparse.ArgumentTypeError(f"{words!r} is no share: write a number and %, such as 5%")
    return float(found[1]) / 100


async def _replay(arguments: argparse.Namespace, loaded: Loaded, against: Loaded | None, log: Log) -> Story:
    begin_s = since_s(arguments)
    where = {} if arguments.route is None else {"route": arguments.route}
    async with open_archive(log) as archive:
        count = await archive.count(begin_s, where)
        share = 1.0 if arguments.sample is None else min(1.0, arguments.sample / max(1, count))
        is_whole = share == 1.0 and not where
        past = Past()
        async with _sides(loaded, against, archive, past, has_limits=is_whole) as (before, after):
            with progress_bar(round(count * share), "replaying") as advance, _without_collector():
                batches = archive.history(begin_s, where, None if share == 1.0 else sampled(share))
                tally = await replay(batches, before, after, advance, past)
    return Story(
        tally=tally,
        new=str(arguments.file),
        old="the records" if against is None else str(arguments.against),
        log=log.name,
        of=count,
        is_sample=share < 1.0,
        has_limits=is_whole,
    )


@contextmanager
def _without_collector() -> Iterator[None]:
    """Nothing that a replay makes refers to itself, and to look for what does takes a fifth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def _explain(arguments: argparse.Namespace, loaded: Loaded, against: Loaded | None, log: Log) -> int:
    async with open_archive(log) as archive:
        record = await archive.record(arguments.explain)
        if record is None:
            print_error(f"no request {arguments.explain!r} is recorded in {log.name}")
            return 1
        async with _sides(loaded, against, archive, Past(), has_limits=False) as (before, after):
            await print_explained(record, before, after, str(arguments.against or "the record"), str(arguments.file))
    return 0


@asynccontextmanager
async def _sides(
    loaded: Loaded, against: Loaded | None, archive: Archive, past: Past, *, has_limits: bool
) -> AsyncIterator[tuple[Side, Decided]]:
    """Both sides of the comparison, the old one first."""
    of_store = [known(key) for key in await archive.keys() if key.revoked_at is None]
    async with AsyncExitStack() as opened:

        async def decided(one: Loaded) -> Decided:
            limits = await opened.enter_async_context(_limits()) if has_limits else None
            of_file = [known_of(key) for key in one.configuration.settings.keys]
            return Decided(rules_of(one.configuration, one.table), [*of_store, *of_file], limits, past)

        after = await decided(loaded)
        yield (Recorded(after.rules) if against is None else await decided(against)), after


@asynccontextmanager
async def _limits() -> AsyncIterator[Limits]:
    """Limits that stand at nothing spent, counted by the ledger of the store in memory."""
    clock, kind = Clock(), find_kinds(["memory"]).stores["memory"]
    settings: Struct = msgspec.convert({"keep_records": 1}, kind.settings)
    async with open_client(max_connections=1) as http:
        context = Context(http=http, clock=clock, folder=Path(), log=_silent, meter=Meters())
        async with kind.open(settings, context) as store:
            yield Limits(store, clock)


def _silent(level: str, event: str, **fields: object) -> None:
    return None
