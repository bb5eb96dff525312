"""What each step of a request costs: microseconds of CPU and the most memory it needs at once.

    .venv/bin/python -m bench.steps [--rounds 7]

Each step is the code that serves requests, over the configuration of bench/gateway.py. Best of some rounds.
"""

import argparse
import asyncio
import os
import tempfile
import time
import timeit
import tracemalloc
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from bench.gateway import BODY
from bench.gateways import MUXER, valkey
from bench.native import KEY
from muxer import Usage
from muxer.assemble import Assembly, assemble
from muxer.config.load import load
from muxer.inbound import Inbound
from muxer.log import JSONLog
from muxer.pipeline import Decision, decide
from muxer.plugins import find_kinds
from muxer.prices import load_prices
from muxer.records import Ending, complete, new_id, opening
from muxer.reports import report
from muxer.routing import plan
from muxer.signals import measure
from muxer.types import Attempt, Caller, Record
from muxer.wire import openai_chat
from muxer.wire.openai_inbound import CHAT

PROSE = "Our team wants to know why the quarterly report about the northern region differs from what was planned. "
SIZES = {"0.2 KB": 200, "2 KB": 2_000, "16 KB": 16_000, "64 KB": 64_000}
ANSWER = msgspec.json.encode(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "a" * 700}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 200, "total_tokens": 220},
    }
)
AT_ONCE, REQUESTS = 64, 2_000


def now(step: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing but its turn."""
    try:
        while step.send(None) is None:
            pass
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits for something")


def shown(name: str, step: Callable[[], object], rounds: int) -> None:
    """Prints one line of the table."""
    step()
    timer = timeit.Timer(step, timer=time.thread_time)
    count = max(20, int(0.02 / max(timer.timeit(20) / 20, 1e-7)))
    best = min(timer.repeat(rounds, count)) / count
    tracemalloc.start()
    step()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"| {name} | {best * 1e6:.1f} | {most / 1024:.1f} |", flush=True)


def _with_routes(text: str, count: int) -> str:
    """The configuration with so many rules that do not match before its own."""
    more = "".join(f'  - {{name: r{n}, when: "tokens > {10**8 + n}", use: [large]}}\n' for n in range(count))
    return text.replace("routes:\n", f"routes:\n{more}")


def _inbound(text: str) -> Inbound:
    return CHAT.read(msgspec.json.encode({"model": "auto", "messages": [{"role": "user", "content": text}]}))


def _ending() -> Ending:
    usage = Usage(input_tokens=20, output_tokens=200)
    attempt = Attempt(model="small", provider="up", upstream="m-1", outcome="exact", status=200, cost_nanos=420, ms=1.0)
    return Ending(
        state="done",
        status=200,
        error="",
        attempts=(attempt,),
        model="small",
        provider="up",
        usage=usage,
        ms=1.0,
        first_byte_ms=1.0,
        client_gone=False,
        notes={},
        saved_nanos=0,
    )


def steps(assembly: Assembly) -> Iterator[tuple[str, Callable[[], object]]]:
    """The steps that wait for nothing, in their order."""
    parts, body = assembly.parts, BODY.encode()
    inbound, headers = CHAT.read(body), {"Authorization": f"Bearer {KEY}"}
    caller: Caller = now(assembly.callers.caller(headers))
    decision: Decision = now(decide(parts, caller, inbound, new_id(parts.clock)))
    yield "key", lambda: now(assembly.callers.caller(headers))
    yield "decode the request, 1 KB", lambda: CHAT.read(body)
    for name, size in SIZES.items():
        one = _inbound((PROSE * (size // len(PROSE) + 1))[:size])
        yield f"signals, {name}", partial(measure, one.request, one.raw, parts.signals)
    yield "rules and candidates, 3 routes", lambda: plan(parts.rules, decision.question)
    record = _opened(assembly, decision)
    ended = complete(record, _ending())
    yield "open the record", lambda: _opened(assembly, decision)
    yield "complete the record", lambda: complete(record, _ending())
    answer = openai_chat.read_answer(ANSWER, "up")
    yield "read the answer, 1 KB", lambda: openai_chat.read_answer(ANSWER, "up")
    metadata: dict[str, object] = {"selected_model": "small", "request_id": record.id, "estimated_cost": 0.1}
    yield "write the answer, 1 KB", lambda: CHAT.answer(answer, record.id, 1, metadata, inbound)
    log = JSONLog(Path(os.devnull).open("wb"), time.time)  # noqa: SIM115  # open as long as the process
    yield "metrics and the line in the log", lambda: report(ended, 0.001, "", parts.meter, log)


def _opened(assembly: Assembly, decision: Decision) -> Record:
    return opening(decision.inbound, decision.question, decision.plan, assembly.parts.rules, assembly.parts.signals)


async def hold_and_settle(assembly: Assembly, name: str, rounds: int) -> None:
    """Prints the CPU of the process for a hold and a settlement, many at once; a server's own is not in it."""
    parts, inbound = assembly.parts, CHAT.read(BODY.encode())
    caller = await assembly.callers.caller({"Authorization": f"Bearer {KEY}"})

    async def some(count: int) -> None:
        for _ in range(count):
            decision = now(decide(parts, caller, inbound, new_id(parts.clock)))
            record = _opened(assembly, decision)
            await parts.ledger.hold(record, [decision.plan.candidates[0].choice])
            await parts.ledger.settle(complete(record, replace(_ending(), usage=Usage(input_tokens=20))))

    best = float("inf")
    for _ in range(rounds):
        begun = time.process_time()
        await asyncio.gather(*(some(REQUESTS // AT_ONCE) for _ in range(AT_ONCE)))
        best = min(best, (time.process_time() - begun) / (REQUESTS // AT_ONCE * AT_ONCE))
    begun = time.process_time()
    for _ in range(REQUESTS):
        _opened(assembly, now(decide(parts, caller, inbound, new_id(parts.clock))))
    deciding = (time.process_time() - begun) / REQUESTS
    print(f"| hold and settle, {name}, {AT_ONCE} at once | {(best - deciding) * 1e6:.1f} | |", flush=True)


async def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds: int = parser.parse_args().rounds
    table = load_prices()
    print("| step | us | KB |\n|---|---|---|")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(valkey(folder)).url

        async def opened(name: str, store: str, settings: str, routes: int) -> Assembly:
            path = folder / name / "routing.yaml"
            path.parent.mkdir()
            text = MUXER.format(store=store, settings=settings, port=1, upstream=9, key=KEY)
            path.write_text(_with_routes(text, routes))
            configuration = load(path, {}, find_kinds, table=table)
            return await stack.enter_async_context(assemble(configuration, table, lambda *_, **__: None))

        embedded = await opened("sqlite", "sqlite", "", 0)
        for name, step in steps(embedded):
            shown(name, step, rounds)
        for routes in (10, 1_000):
            many = await opened(f"routes{routes}", "sqlite", "", routes)
            caller = await many.callers.caller({"Authorization": f"Bearer {KEY}"})
            decision = now(decide(many.parts, caller, CHAT.read(BODY.encode()), new_id(time.time)))
            step = partial(plan, many.parts.rules, decision.question)
            shown(f"rules and candidates, {routes:,} routes more", step, rounds)
        await hold_and_settle(embedded, "sqlite", rounds)
        await hold_and_settle(await opened("redis", "redis", f', url: "{url}", timeout_s: 5', 0), "redis", rounds)


if __name__ == "__main__":
    asyncio.run(main())
