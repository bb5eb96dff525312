"""The sink `jsonl`: its lines, its files, and several processes on one of them."""

import asyncio
import json
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from muxer_jsonl import Jsonl, JsonlSettings, open_jsonl

from muxer import ConfigInvalid, Sink
from muxer.testing import SinkContract, a_record, open_context, some_records

WRITER = """
import asyncio, sys
from pathlib import Path
from muxer.testing import some_records
from muxer_jsonl import Jsonl, JsonlSettings
sink = Jsonl(Path(sys.argv[1]), JsonlSettings(max_bytes=20_000, keep=100))
for record in some_records(50):
    asyncio.run(sink.write([record]))
"""


@asynccontextmanager
async def opened(folder: Path, **settings: int) -> AsyncIterator[Sink]:
    async with open_context(folder) as context, open_jsonl(JsonlSettings(**settings), context) as sink:  # type: ignore[arg-type]  # all are whole
        yield sink


def lines(folder: Path, name: str = "requests.jsonl") -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / name).read_bytes().split(b"\n")[:-1]]


class TestJsonl(SinkContract):
    def open(self, folder: Path) -> AbstractAsyncContextManager[Sink]:
        return opened(folder)

    async def taken(self, folder: Path) -> Sequence[str]:
        return [str(line["id"]) for line in lines(folder)]


async def test_a_line_is_the_record_as_it_is_shown_everywhere(tmp_path: Path) -> None:
    async with opened(tmp_path) as sink:
        await sink.write([a_record(cost_nanos=12_345, notes={"cache": "hit"})])
    (line,) = lines(tmp_path)
    assert (line["cost_usd"], line["notes"], line["user"]) == ("0.000012345", {"cache": "hit"}, "alice")
    assert line["at"] == "2026-09-22T01:00:00.000Z" and line["attempts"] == []


async def test_a_full_file_makes_room_and_the_oldest_goes(tmp_path: Path) -> None:
    async with opened(tmp_path, max_bytes=3_000, keep=2) as sink:
        for record in some_records(20):
            await sink.write([record])
    names = sorted(path.name for path in tmp_path.glob("requests.jsonl*"))
    assert names == ["requests.jsonl", "requests.jsonl.1", "requests.jsonl.2", "requests.jsonl.lock"]
    kept = [line["id"] for name in reversed(names[:3]) for line in lines(tmp_path, name)]
    assert kept == [f"request-{number}" for number in range(20)][-len(kept) :] and len(kept) < 20


async def test_a_file_that_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").mkdir()
    with pytest.raises(ConfigInvalid, match=r"sinks\.path: 'requests\.jsonl' cannot be written"):
        async with opened(tmp_path):
            pass


@contextmanager
def _largest_file(size: int) -> Iterator[None]:
    """No file of this process grows past this, as on a full disk."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


async def test_a_full_disk_leaves_no_half_a_line(tmp_path: Path) -> None:
    sink = Jsonl(tmp_path / "requests.jsonl", JsonlSettings())
    await sink.write(some_records(1))
    with _largest_file((tmp_path / "requests.jsonl").stat().st_size + 100), pytest.raises(OSError):
        await sink.write(some_records(3))
    await sink.write(some_records(2))
    assert [line["id"] for line in lines(tmp_path)] == ["request-0", "request-0", "request-1"]


async def test_processes_share_a_file_and_lose_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "requests.jsonl")]
    writers = [await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE) for _ in range(2)]
    assert [await writer.wait() for writer in writers] == [0, 0]
    names = [path.name for path in tmp_path.glob("requests.jsonl*") if path.suffix != ".lock"]
    assert sum(len(lines(tmp_path, name)) for name in names) == 100 and len(names) > 1
