"""What every guard must do, as tests to inherit."""
# ruff: noqa: D102  # a test's name is its sentence

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec
import pytest

from muxer import (
    Answer,
    Caller,
    ChatRequest,
    Chunk,
    Guard,
    Guarded,
    GuardRefused,
    GuardsAnswers,
    ToolCallDelta,
    UpstreamCut,
    Usage,
)
from muxer.testing.builders import a_call, a_request
from muxer.testing.contracts.signal import SHAPES

TEXT = "Paris is the capital of France."
USAGE = Usage(input_tokens=12, output_tokens=7)
ALICE = Caller(key="k-1", user="alice")


def a_visit(request: ChatRequest | None = None, **changes: object) -> Guarded:
    """Alice's request as a guard sees it, with fields changed."""
    call = a_call(request or a_request())
    visit = Guarded(id=call.id, caller=ALICE, api=call.api, raw=call.raw, request=call.request, model="m-1")
    for name, value in changes.items():
        setattr(visit, name, value)
    return visit


async def each_chunk(chunks: Iterable[Chunk]) -> AsyncIterator[Chunk]:
    """Chunks as they would come from an upstream."""
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk


class GuardContract:
    """Subclass it as `TestMyGuard` and say how to open yours."""

    def open(self, folder: Path) -> AbstractAsyncContextManager[Guard]:
        """A guard as it is in force."""
        raise NotImplementedError

    @pytest.mark.parametrize("request_", SHAPES, ids=range(len(SHAPES)))
    async def test_takes_requests_of_every_shape(self, tmp_path: Path, request_: ChatRequest) -> None:
        before = msgspec.json.encode(request_)
        async with self.open(tmp_path) as guard:
            try:
                found = await guard.before(a_visit(request_))
            except GuardRefused as refused:
                assert refused.message
            else:
                assert found is None or isinstance(found, ChatRequest | Answer)
        assert msgspec.json.encode(request_) == before, "a guard returns another request, it does not change this one"

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
    async def test_an_answer_that_concerns_nobody_comes_out_whole(self, tmp_path: Path, size: int) -> None:
        pieces = [TEXT[start : start + size] for start in range(0, len(TEXT), size)]
        chunks = [Chunk(text=piece) for piece in pieces] + [Chunk(finish_reason="stop"), Chunk(usage=USAGE)]
        seen = await self.seen(tmp_path, chunks)
        assert "".join(chunk.text for chunk in seen) == TEXT
        assert [chunk.finish_reason for chunk in seen if chunk.finish_reason] == ["stop"]
        assert [chunk.usage for chunk in seen if chunk.usage] == [USAGE]

    async def test_the_choices_of_an_answer_stay_apart(self, tmp_path: Path) -> None:
        chunks = [Chunk(index=n % 2, text=f"{n} ") for n in range(6)]
        chunks += [Chunk(index=n, finish_reason="stop") for n in range(2)]
        seen = await self.seen(tmp_path, chunks)
        said = ["".join(chunk.text for chunk in seen if chunk.index == n) for n in range(2)]
        assert said == ["0 2 4 ", "1 3 5 "]

    async def test_tool_calls_come_out_whole(self, tmp_path: Path) -> None:
        calls = [
            ToolCallDelta(index=0, id="call_1", name="look_up", arguments='{"city"'),
            ToolCallDelta(0, None, None, ':"Rome"}'),
        ]
        seen = await self.seen(
            tmp_path, [*(Chunk(tool_calls=(call,)) for call in calls), Chunk(finish_reason="tool_calls")]
        )
        found = [call for chunk in seen for call in chunk.tool_calls]
        assert "".join(call.arguments for call in found) == '{"city":"Rome"}'
        assert [(call.id, call.name) for call in found if call.id] == [("call_1", "look_up")]

    async def test_an_upstream_that_breaks_off_is_not_hidden(self, tmp_path: Path) -> None:
        async def broken() -> AsyncIterator[Chunk]:
            yield Chunk(text="Paris")
            raise UpstreamCut("gone")

        async with self.open(tmp_path) as guard:
            visit = a_visit()
            await guard.before(visit)
            if isinstance(guard, GuardsAnswers):
                with pytest.raises(UpstreamCut):
                    _ = [chunk async for chunk in guard.after(visit, broken())]

    async def test_requests_at_the_same_time_do_not_mix(self, tmp_path: Path) -> None:
        async with self.open(tmp_path) as guard:

            async def one(number: int) -> str:
                visit = a_visit(a_request(f"Question {number}?"), id=f"request-{number}")
                found = await guard.before(visit)
                chunks = each_chunk([Chunk(text=f"Answer {number}."), Chunk(finish_reason="stop")])
                if isinstance(found, Answer) or not isinstance(guard, GuardsAnswers):
                    return f"Answer {number}."
                return "".join([chunk.text async for chunk in guard.after(visit, chunks)])

            assert await asyncio.gather(*map(one, range(20))) == [f"Answer {number}." for number in range(20)]

    async def seen(self, folder: Path, chunks: list[Chunk]) -> list[Chunk]:
        """What is left of an answer once the guard has seen it."""
        async with self.open(folder) as guard:
            visit = a_visit()
            await guard.before(visit)
            if not isinstance(guard, GuardsAnswers):
                return chunks
            return [chunk async for chunk in guard.after(visit, each_chunk(chunks))]
