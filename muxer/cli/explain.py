"""`muxer explain`: how a request would be decided and why, by the code that decides live ones. It calls nobody."""

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from muxer.access import ANONYMOUS
from muxer.assemble import known_of, rules_of
from muxer.cli.configuration import Loaded, read
from muxer.cli.output import NOTHING, Cell, Column, bad, good, print_error, print_json, print_note, print_table, warned
from muxer.cli.recorded import fetch, note_event
from muxer.config.settings import Configuration
from muxer.errors import ConfigInvalid, Fault, MuxerError
from muxer.estimates import Estimates
from muxer.explanation import Explanation, as_json, explain
from muxer.fence import Fence, FencedSignal
from muxer.inbound import Inbound
from muxer.interfaces import Context, Signal
from muxer.learner import Learner
from muxer.opener import Meters
from muxer.plans import Question
from muxer.records import conversation_of, new_id
from muxer.signals import measure
from muxer.standings import untouched
from muxer.stores import HoldChoice, Store
from muxer.types import Caller, Record
from muxer.upstream import open_client
from muxer.wire import openai_inbound

_RULES = (
    Column(""),
    Column("line", is_number=True),
    Column("rule"),
    Column("when"),
    Column("holds"),
    Column("because", is_spare=True),
)
_CANDIDATES = (
    Column(""),
    Column("model"),
    Column("provider", is_spare=True),
    Column("expected $", is_number=True),
    Column("input $", is_number=True, is_spare=True),
    Column("output $", is_number=True, is_spare=True),
    Column("9 in 10 $", is_number=True, is_spare=True),
    Column("cached $", is_number=True, is_spare=True),
    Column("retries $", is_number=True, is_spare=True),
    Column("at most $", is_number=True),
    Column("passed over because", wraps=True),
)
_LIMITS = (Column("limit"), Column("of"), Column("left"), Column("asks"), Column("fits"))
_ELSEWHERE = (
    Column("model"),
    Column("expected $", is_number=True),
    Column("at most $", is_number=True),
    Column("but", wraps=True),
)


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the words of the command."""
    parser.add_argument("text", nargs="?", metavar="TEXT", help="a question; `-` reads it from standard input")
    parser.add_argument("-f", "--file", type=Path, metavar="FILE", help="a request body as JSON instead; - for stdin")
    parser.add_argument("--as", dest="key", metavar="KEY", help="the name of a key in the file; default: nobody's")
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: routing.yaml here, else the built-in one")
    parser.add_argument("--json", action="store_true", help="print it as POST /v1/route answers it")


def run(arguments: argparse.Namespace) -> int:
    """Prints the decision; 1 when the request would be refused, 2 when the question or the file is not valid."""
    if (arguments.text is None) == (arguments.file is None):
        print_error('say what: muxer explain "a question", or muxer explain -f request.json')
        return 2
    try:
        loaded = read(arguments.config, may_choose_demo=True)
        inbound = openai_inbound.CHAT.read(_body(arguments))
        caller = _caller(loaded.configuration, arguments.key)
        found = asyncio.run(_explained(loaded, caller, inbound))
    except (MuxerError, OSError) as error:
        print_error(error)
        return 2
    if arguments.json:
        print_json(as_json(found))
    else:
        _print(found, as_json(found), chose_demo=loaded.chose_demo)
    return 1 if found.error else 0


def _body(arguments: argparse.Namespace) -> bytes:
    if arguments.file is not None:
        return sys.stdin.buffer.read() if str(arguments.file) == "-" else Path(arguments.file).read_bytes()
    text = sys.stdin.read() if arguments.text == "-" else arguments.text
    return msgspec.json.encode({"messages": [{"role": "user", "content": text}]})


def _caller(configuration: Configuration, name: str | None) -> Caller:
    if name is None:
        return ANONYMOUS
    for key in configuration.settings.keys:
        if key.name == name:
            return known_of(key).caller
    names = ", ".join(key.name for key in configuration.settings.keys) or "none"
    raise ConfigInvalid([Fault(f"no key {name!r}; the file has: {names}", path="keys")])


async def _explained(loaded: Loaded, caller: Caller, inbound: Inbound) -> Explanation:
    configuration = loaded.configuration
    async with AsyncExitStack() as opened:
        meters, signals = Meters(), dict[str, Signal]()
        http = await opened.enter_async_context(open_client(max_connections=1))
        context = Context(http=http, clock=time.time, folder=configuration.folder, log=note_event, meter=meters)
        for name, kind in configuration.kinds.signals.items():
            signal = await opened.enter_async_context(kind.open(kind.settings(), context))
            signals[name] = FencedSignal(signal, kind.signals, Fence(f"signal {name}", meters, note_event))
        question = Question(
            id=new_id(time.time),
            now=time.time(),
            caller=caller,
            requested=inbound.request.model or "auto",
            measured=measure(inbound.request, inbound.raw, signals, is_priced=inbound.is_priced),
            is_cooling=lambda model: "",
            conversation=conversation_of(inbound, caller),
            estimates=await asyncio.to_thread(_estimates, configuration),
        )

        async def stand(choice: HoldChoice) -> Any:
            async def look(store: Store) -> Any:
                return await store.standings(choice.claims), await store.quotas(choice.quotas)

            return await asyncio.to_thread(fetch, configuration, look, untouched(choice))

        return await explain(rules_of(configuration, loaded.table), question, inbound.request, signals, stand)


def _estimates(configuration: Configuration) -> Estimates:
    """By what is recorded in the store, as a proxy on it has them."""

    async def latest(store: Store) -> Estimates:
        async def read(since_s: float, limit: int) -> list[Record]:
            return [record async for record in store.records(since_s, {}, limit)]

        learner = Learner(read, time.time)
        await learner.learn()
        return learner.estimates

    try:
        return fetch(configuration, latest, Estimates())
    except MuxerError as error:
        print_note(f"nothing is learned from the records: {error}")
        return Estimates()


def _print(found: Explanation, told: Mapping[str, Any], *, chose_demo: bool) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if chose_demo:
        print_note("no provider has a key here, so all are taken to have one")
    console.print(_headline(found))
    if found.plan is not None:
        console.print(Text(found.plan.reason, "dim"))
    if told["cascade"]:
        console.print(Text(_cascade(told["cascade"]), "dim"))
    if found.question.affinity.model:
        console.print(Text(_affinity(found), "dim"))
    if found.error is not None:
        console.print(bad(f"refused with {found.error.status} {found.error.code}: {found.error.message}"))
    _title(console, "The request")
    print_table((Column("signal"), Column("value", is_number=True), Column("raised by", wraps=True)), _signals(told))
    if found.rules:
        _title(console, "Rules, in the order they are asked")
        print_table(_RULES, [_rule(rule) for rule in told["rules"]])
    if told["candidates"]:
        _title(console, "Candidates, in the order they would be asked")
        print_table(_CANDIDATES, [_candidate(one) for one in told["candidates"]])
    if told["limits"] or told["limits_unknown"]:
        _title(console, "Limits it would meet")
        if told["limits_unknown"]:
            console.print(warned(f"not known: {told['limits_unknown']}"))
        print_table(_LIMITS, [_limit(one) for one in told["limits"]])
    if told["elsewhere"]:
        _title(console, "The same request elsewhere")
        print_table(_ELSEWHERE, _elsewhere(told["elsewhere"]))


def _title(console: Console, words: str) -> None:
    console.print()
    console.print(Text(words, "bold"))


def _headline(found: Explanation) -> Text:
    chosen, plan = found.chosen, found.plan
    words = Text(f"{found.question.requested} → ")
    if plan is not None:
        words.append(f"route {plan.route} → ")
    if chosen is None:
        return words.append("nobody", "bold red")
    return words.append(chosen.model.name, "bold green").append(f" at {chosen.model.provider}")


def _affinity(found: Explanation) -> str:
    affinity = found.question.affinity
    return f"the conversation is on {affinity.model}, which has read {affinity.cached_tokens:,} tokens of it"


def _cascade(cascade: Mapping[str, Any]) -> str:
    stages = ", then ".join(" or ".join(names) for names in cascade["stages"])
    return f"cascade: {stages}, while an answer is less than {cascade['confidence']:.2f} sure (by {cascade['by']})"


def _signals(told: Mapping[str, Any]) -> list[Sequence[Cell]]:
    """Numbers that are not zero and words that are not empty, those with evidence first."""
    evidence: Mapping[str, Sequence[str]] = told["evidence"]
    shown = {name: value for name, value in told["signals"].items() if value not in (0, "", [], False)}
    order = sorted(shown, key=lambda name: (name not in evidence, list(shown).index(name)))
    return [(name, _value(shown[name]), ", ".join(evidence.get(name, ())) or NOTHING) for name in order]


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _rule(rule: Mapping[str, Any]) -> Sequence[Cell]:
    values = [
        f"{one['source']}: {_value(one['operands'][0])}"
        for one in rule["compared"]
        if not isinstance(one["operands"][0], list)
    ]
    decides, holds = rule["decides"], rule["holds"]
    if rule["drawn"] is not None:
        values.append(f"{'in' if rule['drawn'] else 'not in'} its share of {100 * rule['share']:g} %")
    return (
        good("→") if decides else "",
        str(rule["line"] or NOTHING),
        rule["name"],
        rule["when"] or "(always)",
        good("yes") if decides else "yes, not drawn" if holds else "no",
        "; ".join(values) or NOTHING,
    )


def _candidate(one: Mapping[str, Any]) -> Sequence[Cell]:
    parts = one.get("expected") or {}
    return (
        good("→") if one["chosen"] else bad("✗") if one["gate"] else "",
        one["model"],
        one["provider"] or NOTHING,
        one["expected_usd"] or NOTHING,
        parts.get("input_usd", NOTHING),
        parts.get("output_usd", NOTHING),
        parts.get("nine_in_ten_usd", NOTHING),
        parts.get("cached_usd", NOTHING),
        parts.get("retries_usd", NOTHING),
        one["bound_usd"] or NOTHING,
        f"{one['gate']}: {one['why']}" if one["gate"] else NOTHING,
    )


def _limit(one: Mapping[str, Any]) -> Sequence[Cell]:
    fits = good("yes") if one["fits"] else bad("no")
    who = f"{one['per']} {one['subject']}".strip()
    if "unit" in one:
        left = f"{one['remaining']:,} of {one['capacity']:,} {one['unit']}"
        return one["limit"], who, left, f"{one['asks']:,}", fits
    if one["limit_usd"] is None:
        return one["limit"], f"{who}, {one['window']}", "no limit", f"${one['asks_usd']}", fits
    used = f"${one['limit_usd']} - {one['spent_usd']} spent"
    used += "".join(f" - {one[f'{kind}_usd']} {kind}" for kind in ("held", "presumed") if one[f"{kind}_usd"] != "0")
    return one["limit"], f"{who}, {one['window']}", used, f"${one['asks_usd']}", fits


def _elsewhere(others: Sequence[Mapping[str, Any]]) -> list[Sequence[Cell]]:
    """The cheapest first, then those that could not."""
    able = sorted((one for one in others if not one["gate"]), key=lambda one: float(one["expected_usd"] or "inf"))
    return [
        (
            one["model"],
            one["expected_usd"] or NOTHING,
            one["bound_usd"] or NOTHING,
            f"{one['gate']}: {one['why']}" if one["gate"] else NOTHING,
        )
        for one in [*able, *(one for one in others if one["gate"])]
    ]
