"""What every sink must do, as tests to inherit."""
# ruff: noqa: D102  # a test's name is its sentence

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from muxer import Attempt, Record, Sink, Usage
from muxer.testing.builders import a_record

ODD = 'a "quoted" name\r\n\x00\x1b[31m\u2028{"level":1} é漢'
FAILED = Attempt(model="m-1", provider="p-1", upstream="u-1", outcome="none", status=500, error="upstream_error")


def some_records(count: int) -> list[Record]:
    """Finished records that differ."""
    return [
        a_record(
            id=f"request-{number}",
            state="done" if number % 3 else "failed",
            model="m-1",
            usage=Usage(input_tokens=number, output_tokens=1),
            cost_nanos=number,
            attempts=(FAILED,) if number % 3 == 0 else (),
        )
        for number in range(count)
    ]


class SinkContract:
    """Subclass it as `TestMySink`, say how to open yours and how to find the ids that reached it."""

    def open(self, folder: Path) -> AbstractAsyncContextManager[Sink]:
        """A sink as it is in force."""
        raise NotImplementedError

    async def taken(self, folder: Path) -> Sequence[str]:
        """The ids of the records that arrived, in order."""
        raise NotImplementedError

    async def test_takes_batches_in_order(self, tmp_path: Path) -> None:
        records = some_records(25)
        async with self.open(tmp_path) as sink:
            await sink.write(records[:20])
            await sink.write(records[20:])
        assert list(await self.taken(tmp_path)) == [record.id for record in records]

    async def test_takes_nothing_of_an_empty_batch(self, tmp_path: Path) -> None:
        async with self.open(tmp_path) as sink:
            await sink.write([])
        assert list(await self.taken(tmp_path)) == []

    async def test_takes_text_of_every_kind(self, tmp_path: Path) -> None:
        async with self.open(tmp_path) as sink:
            await sink.write([a_record(user=ODD, tags=(ODD,), notes={ODD: ODD}, signals={"odd": ODD})])
        assert list(await self.taken(tmp_path)) == ["request-1"]

    async def test_what_was_written_is_there_after_another_start(self, tmp_path: Path) -> None:
        for record in some_records(3):
            async with self.open(tmp_path) as sink:
                await sink.write([record])
        assert list(await self.taken(tmp_path)) == ["request-0", "request-1", "request-2"]
