"""Five times what a proxy can serve: how much it serves, how soon it refuses the rest, how it is afterwards (F20).

    .venv/bin/python -m bench.overload [--seconds 10] [--places 20]

The upstream takes 0.1 s for each answer and the proxy has so many places: that is its capacity. Load comes at half of
it, at five times of it, and at half again, whatever is answered; health is asked all the while.
"""

import argparse
import asyncio
import os
import re
import statistics
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

from msgspec import Struct

from bench.gateways import muxer
from bench.native import KEY, LOAD_CORE

ANSWER_S = 0.1
BODY = b'{"model":"auto","max_tokens":5,"messages":[{"role":"user","content":"What is the capital of France?"}]}'
JSON = (
    b'{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"Paris."},"finish_reason":"stop"}],"usage":{"prompt_tokens":8,"completion_tokens":2,"total_tokens":10}}'
)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(JSON), JSON)
CHAT = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (KEY.encode(), len(BODY), BODY)
)
HEALTH = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Answered(Struct, frozen=True):
    """When a request was due, its status (0: the connection broke) and its delay from then on."""

    at: float
    status: int
    ms: float


class Caller:
    """Sends requests when they are due, over as many connections as it needs."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Connection] = []
        self._tasks = set[asyncio.Task[None]]()

    async def at_rate(self, request: bytes, rate: float, seconds: float) -> list[Answered]:
        """All answers to requests at a rate, for so long."""
        loop, answers = asyncio.get_running_loop(), list[Answered]()
        begun = loop.time()
        for number in range(int(rate * seconds)):
            due = begun + number / rate
            if (wait_s := due - loop.time()) > 0:
                await asyncio.sleep(wait_s)
            task = loop.create_task(self._ask(request, due, answers))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await asyncio.gather(*self._tasks)
        return answers

    async def _ask(self, request: bytes, due: float, answers: list[Answered]) -> None:
        loop = asyncio.get_running_loop()
        status = await self._status(request, self._idle.pop()) if self._idle else 0
        if not status:  # a connection that was kept may be closed by now
            try:
                status = await self._status(request, await asyncio.open_connection("127.0.0.1", self._port))
            except OSError:
                status = 0
        answers.append(Answered(due, status, (loop.time() - due) * 1000))

    async def _status(self, request: bytes, connection: Connection) -> int:
        """The status of the answer over a connection, 0 where it broke."""
        reader, writer = connection
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_length(head))
        except (OSError, asyncio.IncompleteReadError):
            writer.close()
            return 0
        if b"connection: close" in head.lower():
            writer.close()
        else:
            self._idle.append(connection)
        return int(head.split(b" ", 2)[1])


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])


@asynccontextmanager
async def upstream() -> AsyncIterator[int]:
    """The port of a model that takes its time."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled, it would be a traceback of Python 3.11's own streams at the end of each connection.
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(_length(head))
                await asyncio.sleep(ANSWER_S)
                writer.write(OK)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def told(name: str, answers: list[Answered], seconds: float, capacity: float) -> str:
    """A line of the table."""
    served = [one.ms for one in answers if one.status == 200]
    shed = [one.ms for one in answers if one.status == 503]
    lost = len(answers) - len(served) - len(shed)
    words = f"{name:<12}{len(answers):>8}{len(served) / seconds:>10.0f}{len(served) / seconds / capacity:>7.0%}"
    return words + f"{len(shed):>8}{lost:>6}" + _delays(served) + _delays(shed)


def _delays(found: list[float]) -> str:
    if len(found) < 2:
        return f"{'-':>9}{'-':>9}"
    parts = statistics.quantiles(found, n=100)
    return f"{parts[49]:>9.1f}{parts[98]:>9.1f}"


async def run(seconds: float, places: int) -> None:
    """The three phases, as a table."""
    capacity = places / ANSWER_S
    async with upstream() as port:
        limits = f", max_concurrent: {places}, queue_s: {ANSWER_S}}}"

        def limited(text: str) -> str:
            return re.sub(r"^(server: .*)}$", lambda found: found[1] + limits, text, flags=re.MULTILINE)

        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            opening = muxer("muxer", port, Path(folder) / "muxer", changed=limited)
            gateway = await asyncio.to_thread(stack.enter_context, opening)  # it waits for an answer of the upstream
            caller, prober = Caller(gateway.port), Caller(gateway.port)
            print(f"{places} places, {capacity:.0f} requests/s; delays in ms from when a request was due")
            print(
                f"{'load':<12}{'sent':>8}{'served/s':>10}{'':>7}{'shed':>8}{'lost':>6}"
                f"{'p50':>9}{'p99':>9}{'shed p50':>9}{'p99':>9}"
            )
            for name, times in (("half", 0.5), ("five times", 5.0), ("half again", 0.5)):
                probing = asyncio.create_task(prober.at_rate(HEALTH, 20, seconds))
                answers = await caller.at_rate(CHAT, capacity * times, seconds)
                print(told(name, answers, seconds, capacity), flush=True)
                print(told("  health", await probing, seconds, 20), flush=True)


def main() -> None:
    """Runs by the words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--places", type=int, default=20)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    asyncio.run(run(arguments.seconds, arguments.places))


if __name__ == "__main__":
    main()
