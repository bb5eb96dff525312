"""For tools made for LiteLLM's proxy: its `x-litellm-*` response headers, its key addresses and `/spend/logs`."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version

import msgspec
from aiohttp import web
from msgspec import Struct
from msgspec.structs import replace

from muxer import (
    Context,
    InvalidRequest,
    KeyDesk,
    Kind,
    NotFound,
    Record,
    Route,
    Store,
    StoredKey,
    Unsupported,
    caller_of,
    credential,
    hookimpl,
    read_json,
    usd,
)
from muxer_litellm_compat import spend
from muxer_litellm_compat.generate import GenerateKey, new_key, refuse_the_rest, translated
from muxer_litellm_compat.rows import info, made

_VERSION = f"modelmuxer/{version('modelmuxer')}"
_NOT_STORED = {"Cache-Control": "no-store"}
_READERS = ("viewer", "admin")
_encode = msgspec.json.Encoder().encode


class LitellmCompatSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """There is nothing to set."""


class DeleteKeys(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `/key/delete`: keys or their digests, and aliases."""

    keys: list[str] | None = None
    key_aliases: list[str] | None = None


class LitellmCompat:
    """The extension. `most_rows` bounds an answer of `/spend/logs`."""

    def __init__(
        self, store: Store, keys: KeyDesk, clock: Callable[[], float], most_rows: int = spend.MOST_ROWS
    ) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._most_rows = most_rows

    def headers(self, record: Record) -> Mapping[str, str]:
        """The `x-litellm-*` headers of an answer. Cost and duration of a stream are not known when it begins."""
        is_over = record.state != "open"
        headers = {
            "x-litellm-call-id": record.id,
            "x-litellm-model-id": record.model,
            "x-litellm-model-group": spend.group(record),
            "x-litellm-version": _VERSION,
            # The same upstream is never asked twice for one request: what was tried before is all fallbacks.
            "x-litellm-attempted-retries": "0",
            "x-litellm-attempted-fallbacks": str(spend.fallbacks(record)),
        }
        if is_over:
            headers["x-litellm-response-cost"] = usd(record.cost_nanos)
            headers["x-litellm-response-duration-ms"] = str(record.ms)
        return headers

    def routes(self) -> Sequence[Route]:
        """LiteLLM's addresses. Keys are made and deleted by admins; of the rest everybody sees what is their own."""
        return [
            Route("POST", "/key/generate", self._generate, "admin"),
            Route("POST", "/key/delete", self._delete, "admin"),
            Route("GET", "/key/info", self._info, "user"),
            Route("GET", "/spend/logs", self._logs, "user"),
        ]

    async def _generate(self, request: web.Request) -> web.Response:
        refuse_the_rest(await read_json(request, dict[str, object]))
        asked, by = await read_json(request, GenerateKey), caller_of(request).key
        wanted = new_key(asked, self._clock())
        with translated(wanted):
            key, secret = await self._keys.create(wanted.key, by)
        return _json({**made(key, secret, by), "duration": asked.duration}, _NOT_STORED)

    async def _delete(self, request: web.Request) -> web.Response:
        asked = await read_json(request, DeleteKeys)
        words, aliases = asked.keys or [], asked.key_aliases or []
        if not words and not aliases:
            raise InvalidRequest("keys: name what to delete, here or in key_aliases", param="keys")
        found = [_known(await self._keys.find(word), f"keys[{index}]") for index, word in enumerate(words)]
        # Of keys of one name at most one is in force: it stays where it comes last.
        by_name = {key.name: key for key in sorted(await self._keys.every(), key=lambda key: key.revoked_at is None)}
        found += [_known(by_name.get(name), f"key_aliases[{index}]") for index, name in enumerate(aliases)]
        for key in found:
            await self._keys.revoke(key.id, caller_of(request).key)
        return _json({"deleted_keys": [*words, *aliases]}, _NOT_STORED)

    async def _info(self, request: web.Request) -> web.Response:
        caller, word = caller_of(request), request.query.get("key", "")
        own = await self._keys.find(credential(request.headers))
        key = await self._keys.find(word) if word else own
        # Whose key is looked for in vain, and who may not see the one there is, hear the same (B49).
        may_see = key is not None and (caller.role in _READERS or (own is not None and key.digest == own.digest))
        if key is None or not may_see:
            raise NotFound(
                "no such key in the store, or not yours; keys of routing.yaml cannot be looked up", param="key"
            )
        standings = await self._keys.standings(key)
        total_nanos = await spend.of_key(self._store, key)
        row = info(key, standings, total_nanos, self._clock())
        return _json({"key": word or key.digest, "info": row}, _NOT_STORED)

    async def _logs(self, request: web.Request) -> web.Response:
        caller, asked = caller_of(request), spend.read_query(request.query)
        try:
            keys = await self._keys.every()
            named = await self._keys.find(asked.api_key)
        except Unsupported:
            keys, named = [], None
        if named is not None:
            asked = replace(asked, api_key=named.digest)
        logs = spend.Logs(self._store, keys, "" if caller.role in _READERS else caller.user)
        if asked.is_summary:
            return _json(await logs.days(asked), {})
        rows = await logs.rows(asked, self._most_rows)
        return _json(rows, {"x-litellm-spend-logs-truncated": "true"} if len(rows) == self._most_rows else {})


def _known(key: StoredKey | None, place: str) -> StoredKey:
    """The key, if there is one. Raises NotFound, which never repeats what may be a key."""
    if key is None:
        raise NotFound(f"{place}: no such key in the store; nothing was deleted", param=place)
    return key


def _json(body: object, headers: Mapping[str, str]) -> web.Response:
    return web.Response(body=_encode(body), content_type="application/json", headers=headers)


@asynccontextmanager
async def open_litellm_compat(settings: LitellmCompatSettings, context: Context) -> AsyncIterator[object]:
    """The extension; nothing to connect."""
    assert context.store is not None and context.keys is not None, "the kind needs the store"
    yield LitellmCompat(context.store, context.keys, context.clock)


@hookimpl
def register_extensions() -> list[Kind[object]]:
    """Offers the kind `litellm_compat`."""
    return [Kind("litellm_compat", LitellmCompatSettings, open_litellm_compat, needs={"store"})]
