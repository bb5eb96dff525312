"""Callers who ask at a steady rate whatever becomes of it, and what each of them saw."""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence

import aiohttp
import msgspec
from msgspec import Struct

from tests.processes import BODY, PATH

HUNG_S = 60.0
"""Nobody is to wait longer: the deadlines are a few seconds, and a busy machine makes more of them."""


class Seen(Struct, frozen=True):
    """One request as its caller saw it; times are seconds of a monotonic clock. Status 0: the connection broke.
    `is_whole` when all of an answer arrived."""

    name: str
    begun: float
    ended: float
    status: int
    code: str = ""
    is_whole: bool = False
    is_hung: bool = False

    @property
    def shown(self) -> str:
        """The status with what it was for."""
        if self.is_hung:
            return "hung"
        if not self.status:
            return "broken off"
        broke = "" if self.is_whole or self.status != 200 else " cut"
        return f"{self.status}{broke}{f' {self.code}' if self.code else ''}"


class Load:
    """Every third request is a stream. `where` tells who is asked, in turns."""

    def __init__(self, session: aiohttp.ClientSession, where: Callable[[], Sequence[str]]) -> None:
        self._session = session
        self._where = where
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self.seen: list[Seen] = []

    async def run(self, seconds: float, per_second: float) -> None:
        """Asks so often for so long; what is not answered by then goes on."""
        until, next_at = time.monotonic() + seconds, time.monotonic()
        while next_at < until:
            self.ask()
            next_at += 1 / per_second
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))

    def ask(self, words: str = "hello", *, leaves: bool = False) -> None:
        """One more request; its caller may leave after the first piece of a stream."""
        task = asyncio.create_task(self._one(next(self._numbers), words, leaves=leaves))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def answered(self) -> None:
        """Waits until nobody waits any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def first_success(self, since: float, within_s: float) -> float | None:
        """Seconds from `since` until a request that began after it was answered; asks until then."""
        while time.monotonic() - since < within_s:
            if ended := [one.ended for one in self.seen if one.begun >= since and one.is_whole]:
                return min(ended) - since
            self.ask()
            await asyncio.sleep(0.05)
        return None

    async def _one(self, number: int, words: str, *, leaves: bool) -> None:
        name, urls = f"r-{number}", self._where()
        stream = leaves or number % 3 == 0
        message = {"role": "user", "content": words}
        body = {**BODY, "messages": [message], "user": name, "stream": stream}
        begun = time.monotonic()
        status, data, is_hung = 0, b"", False
        try:
            async with asyncio.timeout(HUNG_S):
                async with self._session.post(urls[number % len(urls)] + PATH, json=body) as response:
                    status = response.status
                    if leaves:
                        await response.content.readany()
                        response.close()
                    else:
                        data = await response.read()
        except TimeoutError:
            is_hung = True
        except (aiohttp.ClientError, OSError):
            pass
        is_whole = status == 200 and (data.endswith(b"[DONE]\n\n") if stream else data.endswith(b"}"))
        self.seen.append(
            Seen(name, begun, time.monotonic(), status, "left" if leaves else _code(data), is_whole, is_hung)
        )


def _code(data: bytes) -> str:
    """The code of an error, whole or as the last event of a stream."""
    try:
        said = msgspec.json.decode(data.rstrip().rpartition(b"data: ")[2] or data, type=dict[str, object])
        error = said.get("error")
        return str(error["code"]) if isinstance(error, dict) else ""
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
