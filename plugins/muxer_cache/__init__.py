"""A guard that answers a request it has seen before from memory or Redis, without asking anybody."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from muxer import Answer, ChatRequest, Chunk, Context, Guard, Guarded, Kind, Secret, collect, hookimpl
from muxer_cache.shelves import Memory, Shelf, open_redis

Scope = Literal["key", "user", "team", "all"]
# How an answer is sent, and on whose behalf it is asked for, does not change it.
_IRRELEVANT = ("stream", "stream_options", "user", "metadata", "safety_identifier", "prompt_cache_key", "store")
_WHOLE = ("stop", "tool_calls")
_encode = msgspec.msgpack.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, Any]).decode


class Kept(Struct, frozen=True, array_like=True):
    """An answer as it lies on the shelf: when it was given, in Unix seconds, and what it was."""

    at: float
    answer: Answer


_decode = msgspec.msgpack.Decoder(Kept).decode


class CacheSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long answers are kept, for whom, and where: in memory, or with `url` in Redis, for all replicas."""

    ttl_s: Annotated[float, Meta(gt=0)] = 3_600.0
    scope: Scope = "key"
    url: Secret | None = None
    max_bytes: Annotated[int, Meta(ge=1_000)] = 64_000_000
    max_answer_bytes: Annotated[int, Meta(ge=1_000)] = 1_000_000


class Cache:
    """Finds whole answers by the digest of everything that can change them."""

    def __init__(self, settings: CacheSettings, shelf: Shelf, context: Context) -> None:
        self._settings = settings
        self._shelf = shelf
        self._clock = context.clock

    async def before(self, asked: Guarded) -> ChatRequest | Answer | None:
        """The answer, if it was given to the same request in the same scope and is not too old."""
        key = _key(asked, self._settings.scope)
        if not key:
            return None
        asked.notes["key"] = key
        asked.headers["cache"] = asked.record["cache"] = "miss"
        kept = await self._shelf.get(key)
        if kept is None:
            return None
        found = _decode(kept)
        asked.headers["cache"] = asked.record["cache"] = "hit"
        asked.headers["cache-age-s"] = str(max(0, round(self._clock() - found.at)))
        return found.answer

    async def after(self, asked: Guarded, chunks: AsyncIterator[Chunk]) -> AsyncIterator[Chunk]:
        """Passes the answer on as it is, and keeps it once it is whole."""
        seen: list[Chunk] = []
        size, most = 0, self._settings.max_answer_bytes if "key" in asked.notes else 0
        async for chunk in chunks:
            size += len(chunk.text) + len(chunk.reasoning) + sum(len(call.arguments) for call in chunk.tool_calls)
            if size <= most:
                seen.append(chunk)
            yield chunk
        if size <= most and seen:
            await self._keep(asked, seen)

    async def _keep(self, asked: Guarded, chunks: list[Chunk]) -> None:
        answer = await collect(_each(chunks))
        ends = [chunk.finish_reason for chunk in chunks if chunk.finish_reason is not None]
        if len(ends) < len(answer.choices) or not set(ends) <= set(_WHOLE):
            return  # cut by its length or by a filter: another try may do better
        kept = Kept(self._clock(), replace(answer, model=asked.model, raw=b"", dropped=()))
        await self._shelf.put(asked.notes["key"], _encode(kept), self._settings.ttl_s)


def _key(asked: Guarded, scope: Scope) -> str:
    """The digest of the request as it is sent, with its fields in one order, and of who may have the answer; '' for
    nobody: who has no team shares with none, and nobody with who may use other models (B25)."""
    fields = {name: value for name, value in _fields(asked.raw).items() if name not in _IRRELEVANT}
    caller = asked.caller
    # A token's key is its issuer, which many users share.
    subject = {"key": [caller.key, caller.user], "user": caller.user, "team": caller.team, "all": ""}[scope]
    if scope == "team" and not subject:
        return ""
    named = msgspec.json.encode([scope, subject, caller.models, asked.api, asked.route, fields], order="deterministic")
    return hashlib.sha256(named).hexdigest()


async def _each(chunks: list[Chunk]) -> AsyncIterator[Chunk]:
    for chunk in chunks:
        yield chunk


@asynccontextmanager
async def open_cache(settings: CacheSettings, context: Context) -> AsyncIterator[Guard]:
    """Raises ConfigInvalid for an address that is none, or without the package `redis`."""
    if settings.url is None:
        yield Cache(settings, Memory(settings.max_bytes, context.clock), context)
        return
    async with open_redis(settings.url.reveal(), context) as shelf:
        yield Cache(settings, shelf, context)


@hookimpl
def register_guards() -> list[Kind[Guard]]:
    """Offers the kind `cache`."""
    return [Kind("cache", CacheSettings, open_cache)]
