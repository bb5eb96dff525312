"""Gemini's stream events as chunks."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from muxer.failures import UpstreamBadResponse, UpstreamCut
from muxer.interfaces import Reply
from muxer.sse import read_events
from muxer.types import Chunk, Usage
from muxer.wire.gemini.answer import (
    CallIds,
    Candidate,
    broken,
    finish_reason,
    is_broken,
    read_candidate,
    read_response,
    read_usage,
)


class StreamReader:
    """Reads the events of one stream in order; `is_done` once every candidate has ended and the usage is known.

    Each event repeats the usage as it has grown so far, so that only what stands when all has ended is the bill.
    """

    def __init__(self, who: str, request_id: str, candidates: int) -> None:
        self._who = who
        self._ids = CallIds(request_id)
        self._expected = candidates
        self._begun: set[int] = set()
        self._ended: set[int] = set()
        self._has_spoken = False
        self._is_stream = False
        self.usage: Usage | None = None

    @property
    def is_done(self) -> bool:
        """Whether nothing more can be of interest."""
        return len(self._ended) >= self._expected and self.usage is not None

    def read(self, data: bytes) -> Iterator[Chunk]:
        """What one event says. Raises UpstreamBadResponse, UpstreamBlocked, and what an error event means."""
        response = read_response(data, self._who)
        self._is_stream = True
        self.usage = read_usage(response.usage_metadata) or self.usage
        for candidate in response.candidates:
            if is_broken(candidate):
                if self._has_spoken and self.usage is not None:
                    yield Chunk(usage=self.usage)
                raise broken(candidate, self._who, self.usage)
            chunk = self._chunk(candidate)
            if chunk != Chunk(index=candidate.index):
                self._has_spoken = True
                yield chunk

    def _chunk(self, candidate: Candidate) -> Chunk:
        said = read_candidate(candidate, self._ids)
        self._begun.add(candidate.index)
        reason = None
        if candidate.finish_reason is not None:
            self._ended.add(candidate.index)
            reason = finish_reason(candidate.finish_reason, has_called=self._ids.has_called(candidate.index))
        return Chunk(
            index=candidate.index,
            text=said.text,
            reasoning=said.reasoning,
            tool_calls=said.calls,
            logprobs=said.logprobs,
            finish_reason=reason,
        )

    def check_end(self) -> None:
        """Raises UpstreamCut or UpstreamBadResponse if the stream may not end here."""
        if not self._is_stream:
            raise UpstreamBadResponse(f"{self._who} answered a request for a stream without one")
        if not self._ended or self._begun - self._ended:
            raise UpstreamCut(f"{self._who} ended its stream before the answer was complete")


async def read_stream(reply: Reply, who: str, request_id: str, *, candidates: int = 1) -> AsyncGenerator[Chunk, None]:
    """The chunks of a streamed answer, its usage last. What comes after the end is ignored (B57); Gemini has no word
    for the end but each candidate's finish reason. Raises UpstreamCut when one is missing."""
    reader = StreamReader(who, request_id, candidates)
    async with aclosing(read_events(reply.chunks())) as events:
        async for event in events:
            for chunk in reader.read(event.data):
                yield chunk
            if reader.is_done:
                break
    reader.check_end()
    if reader.usage is not None:
        yield Chunk(usage=reader.usage)
