"""Whole answers out of chunks, and chunks out of whole answers."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator

from msgspec import UNSET

from muxer.failures import UpstreamBadResponse
from muxer.types import Answer, Choice, Chunk, FunctionCall, TokenLogprob, ToolCall, ToolCallDelta, Usage


def pieces(answer: Answer) -> Iterator[Chunk]:
    """The chunks of a whole answer: one a choice, then its usage."""
    for index, choice in enumerate(answer.choices):
        yield Chunk(
            index=index,
            text=choice.text or "",
            reasoning=choice.reasoning,
            tool_calls=tuple(
                ToolCallDelta(place, call.id, call.function.name, call.function.arguments, call.extra_content)
                for place, call in enumerate(choice.tool_calls)
            ),
            logprobs=choice.logprobs,
            finish_reason=choice.finish_reason,
            dropped=() if index else answer.dropped,
        )
    if answer.usage is not None:
        yield Chunk(usage=answer.usage)


async def each(chunks: Iterable[Chunk]) -> AsyncGenerator[Chunk, None]:
    """Chunks that are all there, as a stream."""
    for chunk in chunks:
        yield chunk


async def collect(chunks: AsyncIterator[Chunk]) -> Answer:
    """A whole answer out of a stream's canonical chunks."""
    parts: dict[int, _Parts] = {}
    usage: Usage | None = None
    dropped: tuple[str, ...] = ()
    async for chunk in chunks:
        usage = chunk.usage or usage
        dropped = chunk.dropped or dropped
        parts.setdefault(chunk.index, _Parts()).add(chunk)
    if not parts:
        raise UpstreamBadResponse("the upstream ended its stream before a first chunk")
    return Answer(choices=tuple(parts[i].choice() for i in sorted(parts)), usage=usage, dropped=dropped)


class _Parts:
    """What one choice has so far."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, list[ToolCallDelta]] = {}
        self._logprobs: list[TokenLogprob] = []
        self._finish_reason = "stop"

    def add(self, chunk: Chunk) -> None:
        self._text.append(chunk.text)
        self._reasoning.append(chunk.reasoning)
        self._logprobs.extend(chunk.logprobs)
        self._finish_reason = chunk.finish_reason or self._finish_reason
        for delta in chunk.tool_calls:
            self._calls.setdefault(delta.index, []).append(delta)

    def choice(self) -> Choice:
        calls = tuple(
            ToolCall(
                id=next((d.id for d in deltas if d.id), ""),
                function=FunctionCall(
                    name=next((d.name for d in deltas if d.name), ""),
                    arguments="".join(d.arguments for d in deltas),
                ),
                extra_content=next((d.extra_content for d in deltas if d.extra_content), UNSET),
            )
            for _, deltas in sorted(self._calls.items())
        )
        return Choice(
            text="".join(self._text) or (None if calls else ""),
            reasoning="".join(self._reasoning),
            tool_calls=calls,
            logprobs=tuple(self._logprobs),
            finish_reason=self._finish_reason,
        )
