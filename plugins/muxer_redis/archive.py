"""The records of a domain read for the sake of all of them: nothing is written, and none is kept."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec
from msgspec import Struct
from redis.asyncio.connection import AbstractConnection

from muxer import Archive, Context, Record, StoredKey
from muxer_redis import keys as key_rows
from muxer_redis import records, scripts, server
from muxer_redis.calls import Calls
from muxer_redis.settings import RedisSettings

_PATIENCE_S = 5.0  # nobody waits for these calls but the one who asked for all records


class _Placed(Struct, frozen=True, array_like=True):
    """A row and its place among all."""

    id: bytes
    at: bytes
    row: records.Row


class RedisArchive:
    """Reads through the scripts of the store that write nothing. It is no replica: it has no heartbeat."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def count(self, since_s: float, where: Mapping[str, str]) -> int:
        """See Archive."""
        if not where:
            return msgspec.convert(await self._calls.run("count", "0", repr(since_s)), int)
        return sum([len(batch) async for batch in self._rows(since_s, where)])

    async def history(
        self, since_s: float, where: Mapping[str, str], keep: Callable[[str], bool] | None
    ) -> AsyncIterator[Sequence[Record]]:
        """See Archive."""
        async for rows in self._rows(since_s, where):
            yield [row.record() for row in rows if keep is None or keep(row.id.decode())]

    async def scored(self, since_s: float) -> AsyncIterator[Sequence[Record]]:
        """See Archive."""
        async for rows in self._rows(since_s, {}):
            yield [row.record() for row in rows if row.feedback]

    async def record(self, id: str) -> Record | None:
        """See Archive."""
        rows = msgspec.convert(await self._calls.run("row", "0", id), list[records.Row])
        return rows[0].record() if rows else None

    async def keys(self) -> list[StoredKey]:
        """See Archive."""
        return await key_rows.every(self._calls, "0")

    async def _rows(self, since_s: float, where: Mapping[str, str]) -> AsyncIterator[list[records.Row]]:
        """Finished requests in batches, the oldest first. While one is used, the server makes up the next."""
        records.check(where)
        page = asyncio.ensure_future(self._page(since_s, None))
        try:
            while placed := await page:
                page = asyncio.ensure_future(self._page(since_s, placed[-1]))
                rows = [one.row for one in placed]
                yield [row for row in rows if row.json and row.state != b"open" and records.matches(row, where)]
        finally:
            page.cancel()
            await asyncio.gather(page, return_exceptions=True)

    async def _page(self, since_s: float, last: _Placed | None) -> list[_Placed]:
        at, id = (last.at, last.id) if last else (b"", b"")
        reply = await self._calls.run("history", "0", "at", repr(since_s), at, id, str(records.PAGE))
        return msgspec.convert(reply, list[_Placed])


@asynccontextmanager
async def read_redis(settings: RedisSettings, context: Context) -> AsyncIterator[Archive]:
    """Connects. Raises ConfigInvalid for an address that cannot be one, or where no server answers."""
    client = server.client(settings, context.folder, AbstractConnection.on_connect)
    try:
        await server.examine(client, settings.prefix, settings, context.log)
        calls = Calls(client, settings.prefix, scripts.load(with_flags=False), _PATIENCE_S)
        try:
            yield RedisArchive(calls)
        finally:
            await calls.close()
    finally:
        await server.close(client)
