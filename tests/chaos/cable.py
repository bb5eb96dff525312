"""A TCP proxy before a server that can be slow, cut off, silent, refuse connections, or say nonsense."""

import asyncio
import random
from typing import Literal, Self

Mode = Literal["passes", "is silent", "resets", "says nonsense"]
NONSENSE = b"\x00\xff$-7\r\n!!\r\n"


class Cable:
    """Leads to one port of 127.0.0.1, unless it is `shut`. `mode` and `delay_s` hold for what passes from then on; of
    the replies the share `cut_share` cuts its connection instead of arriving."""

    def __init__(self, to_port: int) -> None:
        self._to = to_port
        self._tasks: set[asyncio.Task[None]] = set()
        self._chance = random.Random(0)
        self._ends: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.mode: Mode = "passes"
        self.delay_s = 0.0
        self.cut_share = 0.0

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def open(self) -> None:
        """Takes connections, at the same port for life."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def shut(self) -> None:
        """Resets every connection there is, and refuses new ones."""
        self._server.close()
        for end in self._ends:
            end.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        for source, sink, is_reply in ((reader, far_writer, False), (far_reader, writer, True)):
            task = asyncio.create_task(self._pump(source, sink, writer, is_reply=is_reply))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, near: asyncio.StreamWriter, *, is_reply: bool
    ) -> None:
        try:
            while data := await source.read(65_536):
                while self.mode == "is silent":  # half open: both ends think that the other is there
                    await asyncio.sleep(0.05)
                if is_reply and self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self.mode == "resets" or (is_reply and self._chance.random() < self.cut_share):
                    near.transport.abort()
                    return
                sink.write(NONSENSE if is_reply and self.mode == "says nonsense" else data)
        except ConnectionError:
            near.transport.abort()
        finally:
            self._ends.discard(near)
            sink.close()
