"""`muxer explain`: how a request would be decided and why, by the code that decides live ones. It calls nobody."""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from muxer.access import ANONYMOUS, admitted
from muxer.assemble import known_of, rules_of
from muxer.cli.configuration import Loaded, read
from muxer.cli.explain_tables import print_explanation
from muxer.cli.output import print_error, print_json, print_note
from muxer.cli.recorded import fetch, note_event
from muxer.config.settings import Configuration
from muxer.errors import ConfigInvalid, Fault, KeyDisabled, MuxerError
from muxer.estimates import Estimates
from muxer.explanation import Explanation, as_json, explain
from muxer.fence import Fence, FencedSignal
from muxer.inbound import Inbound
from muxer.interfaces import Context, Signal
from muxer.learner import Learner
from muxer.opener import Meters, open_signals
from muxer.plans import Question
from muxer.records import conversation_of, new_id
from muxer.signals import measure
from muxer.standings import untouched
from muxer.stores import HoldChoice, Store
from muxer.types import Caller, Record
from muxer.upstream import open_client
from muxer.wire import openai_inbound


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the words of the command."""
    parser.add_argument("text", nargs="?", metavar="TEXT", help="a question; `-` reads it from standard input")
    parser.add_argument("-f", "--file", type=Path, metavar="FILE", help="a request body as JSON instead; - for stdin")
    parser.add_argument("--as", dest="key", metavar="KEY", help="the name of a key in the file; default: nobody's")
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: routing.yaml here, else the built-in one")
    parser.add_argument("--json", action="store_true", help="print it as POST /v1/route answers it")


def run(arguments: argparse.Namespace) -> int:
    """Prints the decision; 1 when the request would be refused."""
    if (arguments.text is None) == (arguments.file is None):
        print_error('say what: muxer explain "a question", or muxer explain -f request.json')
        return 2
    loaded = read(arguments.config, may_choose_demo=True)
    inbound = openai_inbound.CHAT.read(_body(arguments))
    try:
        caller = _caller(loaded.configuration, arguments.key)
    except KeyDisabled as error:
        print_error(error)
        return 1
    found = asyncio.run(_explained(loaded, caller, inbound))
    if arguments.json:
        print_json(as_json(found))
    else:
        if loaded.chose_demo:
            print_note("no provider has a key here, so all are taken to have one")
        print_explanation(found)
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
            return admitted(known_of(key), time.time())
    names = ", ".join(key.name for key in configuration.settings.keys) or "none"
    raise ConfigInvalid([Fault(f"no key {name!r}; the file has: {names}", path="keys")])


async def _explained(loaded: Loaded, caller: Caller, inbound: Inbound) -> Explanation:
    configuration = loaded.configuration
    async with _signals(configuration) as signals:
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


@asynccontextmanager
async def _signals(configuration: Configuration) -> AsyncIterator[dict[str, Signal]]:
    """The signals of the file as the proxy has them: one that fails measures nothing."""
    kinds, meters = configuration.kinds.signals, Meters()
    async with open_client(max_connections=1) as http:
        context = Context(http=http, clock=time.time, folder=configuration.folder, log=note_event, meter=meters)
        async with open_signals(kinds, context) as opened:
            yield {
                name: FencedSignal(signal, kinds[name].signals, Fence(f"signal {name}", meters, note_event))
                for name, signal in opened.items()
            }


def _estimates(configuration: Configuration) -> Estimates:
    """By what is recorded in the store, as a proxy on it has them."""

    async def latest(store: Store) -> Estimates:
        async def read(since_s: float, limit: int, take: Callable[[Record], None]) -> None:
            async for record in store.records(since_s, {}, limit):
                take(record)

        learner = Learner(read, time.time)
        await learner.learn()
        return learner.estimates

    try:
        return fetch(configuration, latest, Estimates())
    except MuxerError as error:
        print_note(f"nothing is learned from the records: {error}")
        return Estimates()
