"""LiteLLM's answers, chunks and usage as ours; its JSON is OpenAI's, so the public codec reads it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from msgspec.structs import replace

from muxer import Answer, Call, Chunk, UpstreamBadResponse, UpstreamCut, Usage
from muxer.wire import openai_chat

MOST_TOKENS = 1_000_000_000  # B57


def read_answer(response: Any, call: Call, who: str) -> Answer:
    """A whole answer. Raises UpstreamBadResponse when it is none."""
    answer = openai_chat.read_answer(_json(response), who)
    raw = answer.raw if call.api == openai_chat.API else b""
    return replace(answer, usage=read_usage(getattr(response, "usage", None)), raw=raw)


async def read_stream(stream: Any, call: Call, who: str, *, must_finish: bool) -> AsyncGenerator[Chunk, None]:
    """The chunks of a stream. Raises UpstreamCut or UpstreamBadResponse where it ended without a reason to finish:
    LiteLLM then makes one up. `must_finish` is off where ending is all a source does to say that it is done."""
    has_begun = False
    async with aclosing(stream):
        async for said in stream:
            *chunks, last = openai_chat.read_chunks(_json(said), who)
            if last.finish_reason is not None and must_finish and not _said_why(stream):
                raise _broken(who, has_begun=has_begun)
            has_begun = True
            usage = read_usage(getattr(said, "usage", None))
            if usage is not None:
                if not _reported(stream):
                    continue  # counted by LiteLLM with a tokenizer of another model: our own account is as good
                last = replace(last, usage=usage, raw=_without_empty_choice(last))
            for chunk in (*chunks, last):
                yield replace(chunk, raw=b"") if call.api != openai_chat.API else chunk


def _json(said: Any) -> bytes:
    data: str = said.model_dump_json(exclude_none=True, warnings=False)
    return data.encode()


def _said_why(stream: Any) -> bool:
    return (stream.received_finish_reason or stream.intermittent_finish_reason) is not None


def _broken(who: str, *, has_begun: bool) -> UpstreamCut | UpstreamBadResponse:
    if has_begun:
        return UpstreamCut(f"{who}: the stream ended before the answer was complete")
    return UpstreamBadResponse(f"{who}: a request for a stream was answered without one")


def _reported(stream: Any) -> bool:
    """Whether the vendor said what it bills; the wrapper keeps the chunks as they came."""
    return any(getattr(chunk, "usage", None) is not None for chunk in stream.chunks)


def _without_empty_choice(chunk: Chunk) -> bytes:
    """The usage chunk as OpenAI writes it, without a choice in it."""
    if chunk.text or chunk.reasoning or chunk.tool_calls or chunk.finish_reason:
        return chunk.raw
    return openai_chat.encode({**openai_chat.decode_fields(chunk.raw), "choices": openai_chat.raw([])})


def read_usage(usage: Any) -> Usage | None:
    """LiteLLM's usage as ours; None where it is missing, all zero (LiteLLM's word for missing) or out of range."""
    if usage is None:
        return None
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    output = max(completion, _count(usage, "total_tokens") - prompt)
    is_missing = prompt == output == 0
    if is_missing or min(prompt, completion) < 0 or max(prompt, output) > MOST_TOKENS:
        return None
    details = getattr(usage, "prompt_tokens_details", None)
    cached = _count(details, "cached_tokens") or _count(usage, "cache_read_input_tokens")
    written = _count(details, "cache_creation_tokens") or _count(usage, "cache_creation_input_tokens")
    reasoning = _count(getattr(usage, "completion_tokens_details", None), "reasoning_tokens")
    cached = _between(cached, prompt)
    return Usage(
        input_tokens=prompt,
        output_tokens=output,
        cached_input_tokens=cached,
        cache_write_tokens=_between(written, prompt - cached),
        reasoning_tokens=_between(reasoning, output),
    )


def _between(count: int, most: int) -> int:
    return min(max(count, 0), most)


def _count(holder: object, name: str) -> int:
    value = getattr(holder, name, None)
    return value if isinstance(value, int) else 0
