"""A plugin that says what a worker has open, for the tests that look for leaks: copied beside a routing.yaml."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from msgspec import Struct

from muxer import Context, Kind, Route, hookimpl


class ProbeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Probe:
    def routes(self) -> Sequence[Route]:
        return [Route("GET", "/probe", self._tell, "public")]

    async def _tell(self, request: web.Request) -> web.Response:
        # aiohttp has a task for each connection to one of its servers.
        tasks = Counter(
            getattr(task.get_coro(), "__qualname__", "")
            for task in asyncio.all_tasks()
            if "RequestHandler.start" not in repr(task)
        )
        links = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
        told = {
            "worker": os.getpid(),
            "tasks": tasks,
            "files": len(links),
            "sockets": sum(link.startswith("socket:") for link in links),
            "threads": int(status["Threads"]),
            "kilobytes": int(status["VmRSS"].split()[0]),
        }
        return web.json_response(told, headers={"Connection": "close"})


@asynccontextmanager
async def open_probe(settings: ProbeSettings, context: Context) -> AsyncIterator[object]:
    yield Probe()


@hookimpl
def register_extensions() -> list[Kind[object]]:
    return [Kind("probe", ProbeSettings, open_probe)]
