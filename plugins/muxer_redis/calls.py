"""Calling scripts: what is asked in one turn of the event loop travels together, by a deadline, behind a breaker."""

import asyncio
from collections.abc import Mapping, Sequence

from msgspec import Struct
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError

from muxer import StoreUnavailable
from muxer_redis.remedies import remedy
from muxer_redis.scripts import Script

_MOST_AT_ONCE = 8  # batches under way; what comes meanwhile makes up the next one
_OPENS_AFTER = 5
_PROBE_EVERY_S = 1.0

Client = Redis | RedisCluster


class _Asked(Struct, eq=False):
    """One call that waits for its reply."""

    script: Script
    arguments: tuple[str | bytes, ...]
    reply: "asyncio.Future[object]"
    deadline: float


class Breaker:
    """After five failures in a row everything is refused at once, but for one call a second that tries again (F8): also
    reads and look-ups of keys, of which the core's watch over changes knows nothing. That one says it in the log."""

    def __init__(self) -> None:
        self._failures = 0
        self._probe_at = 0.0
        self._reason = ""

    def admit(self, now: float) -> None:
        """Raises StoreUnavailable while the store is given up."""
        if self._failures < _OPENS_AFTER:
            return
        if now < self._probe_at:
            raise StoreUnavailable(self._reason)
        self._probe_at = now + _PROBE_EVERY_S

    def failed(self, reason: str, now: float) -> None:
        """Counts a call without a reply."""
        self._failures += 1
        self._reason = reason
        if self._failures == _OPENS_AFTER:
            self._probe_at = now + _PROBE_EVERY_S

    def answered(self) -> None:
        """The store is there."""
        self._failures = 0


class Calls:
    """Runs scripts. Every call ends within `timeout_s`, with a reply or StoreUnavailable; all are safe to repeat."""

    def __init__(self, client: Client, prefix: str, scripts: Mapping[str, Script], timeout_s: float) -> None:
        self._client = client
        self._prefix = prefix
        self._scripts = scripts
        self._timeout_s = timeout_s
        self._breaker = Breaker()
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Asked] = []
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self, script: str, *arguments: str | bytes) -> object:
        """The reply of one script. A call that was handed over is made even when its caller is cancelled."""
        now = self._loop.time()
        self._breaker.admit(now)
        reply: asyncio.Future[object] = self._loop.create_future()
        self._waiting.append(_Asked(self._scripts[script], arguments, reply, now + self._timeout_s))
        if len(self._waiting) == 1:
            self._loop.call_soon(self._flush)
        return await reply

    async def close(self) -> None:
        """Waits for the calls under way; their deadlines bound this."""
        while self._under_way:
            await asyncio.gather(*self._under_way)

    def _flush(self) -> None:
        if not self._waiting or len(self._under_way) >= _MOST_AT_ONCE:
            return  # the end of a batch flushes again
        batch, self._waiting = self._waiting, []
        task = self._loop.create_task(self._serve(batch))
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._flush()

    async def _serve(self, batch: Sequence[_Asked]) -> None:
        replies: Sequence[object] = [LostConnection("closed")] * len(batch)
        try:
            async with asyncio.timeout_at(batch[0].deadline):
                replies = await self._replies(batch)
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            self._breaker.failed(remedy(error, self._timeout_s), self._loop.time())
            replies = [error] * len(batch)
        else:
            self._breaker.answered()
        finally:
            for one, reply in zip(batch, replies, strict=True):
                if not one.reply.done():
                    _deliver(one.reply, reply, self._timeout_s)

    async def _replies(self, batch: Sequence[_Asked]) -> list[object]:
        """The replies; a server that does not know a script is sent it whole, and one that has become a replica is
        looked for anew."""
        replies = await self._sent(batch, whole=False)
        again = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError | ReadOnlyError)]
        if not again:
            return replies
        if any(isinstance(replies[place], ReadOnlyError) for place in again) and isinstance(self._client, Redis):
            await self._client.connection_pool.disconnect()
        for place, reply in zip(again, await self._sent([batch[place] for place in again], whole=True), strict=True):
            replies[place] = reply
        return replies

    async def _sent(self, batch: Sequence[_Asked], *, whole: bool) -> list[object]:
        """The replies; when the connection is lost before they came, they are asked for once more (F9)."""
        try:
            return await self._send(batch, whole=whole)
        except (LostConnection, OSError):
            return await self._send(batch, whole=whole)

    async def _send(self, batch: Sequence[_Asked], *, whole: bool) -> list[object]:
        name = "EVAL" if whole else "EVALSHA"
        scripts = [one.script.text if whole else one.script.sha for one in batch]
        commands = [(name, script, 1, self._prefix, *one.arguments) for script, one in zip(scripts, batch, strict=True)]
        if isinstance(self._client, RedisCluster):
            work = [self._client.execute_command(*command) for command in commands]
            replies = await asyncio.gather(*work, return_exceptions=True)
            for lost in (reply for reply in replies if isinstance(reply, LostConnection | OSError)):
                raise lost
            return list(replies)
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return list(await pipeline.execute(raise_on_error=False))


def _deliver(future: "asyncio.Future[object]", reply: object, timeout_s: float) -> None:
    if not isinstance(reply, Exception):
        future.set_result(reply)
        return
    failure = StoreUnavailable(remedy(reply, timeout_s))
    failure.__cause__ = reply
    future.set_exception(failure)
