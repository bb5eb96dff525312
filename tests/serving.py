"""A `muxer serve` as a process of its own, under limits of the operating system where a test sets some."""

import asyncio
import os
import resource
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from msgspec import Struct

from tests.bad_input.sending import BODY, answered, chat, exchange, get
from tests.processes import START_S
from tests.proxy import written

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
PLUGINS = "[openai, sqlite, prometheus]"


class Process(Struct, frozen=True):
    """A `muxer serve`."""

    port: int
    pid: int
    log: Path

    def rss_bytes(self) -> int:
        """The memory it has now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    async def livez(self) -> int:
        """The status of a probe over a new connection; 0 where it was cut."""
        one = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            return await status(one, get(b"/livez"))
        finally:
            one[1].close()

    async def chat(self) -> int:
        """The status of a good request over a new connection."""
        return answered(await exchange(self.port, chat(BODY))).status


@asynccontextmanager
async def serving(
    folder: Path, upstream: str, system: Mapping[int, int] | None = None, **sections: str
) -> AsyncIterator[Process]:
    """`muxer serve` as a process of its own under these limits of the operating system; it must end as it should."""
    (folder / "routing.yaml").write_text(written({"plugins": PLUGINS, **sections}, upstream))

    def limit() -> None:
        for kind, most in (system or {}).items():
            resource.setrlimit(kind, (most, most))

    log = folder / "log"
    with log.open("wb") as stdout:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "muxer", "serve", "--port", "0", cwd=folder, preexec_fn=limit,
            env={"PATH": os.environ["PATH"]}, stdout=stdout, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    assert process.stderr is not None
    async with asyncio.timeout(START_S):
        banner = await process.stderr.readline()
    try:
        url = banner.decode().partition("listening on ")[2].split()[0]
        yield Process(int(url.rpartition(":")[2]), process.pid, log)
    finally:
        # One that the test has stopped already may be past handling another signal.
        if process.returncode is None and b'"event":"stopping"' not in log.read_bytes():
            process.terminate()
        said, code = await process.stderr.read(), await process.wait()
    assert code == 0 and b"Traceback" not in said + log.read_bytes()


async def status(connection: Connection, sent: bytes) -> int:
    """The status of an answer; 0 where the connection was cut."""
    reader, writer = connection
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        writer.write(sent)
        return int((await reader.readuntil(b"\r\n")).split()[1])
    return 0
