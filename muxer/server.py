"""The HTTP edge: requests in, answers and errors out as JSON or events, nothing decided here."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Protocol

import aiohttp.http
import msgspec
from aiohttp import web
from aiohttp.http_parser import HttpRequestParserPy
from msgspec import Struct
from msgspec.structs import replace

from muxer import admin, feedback, openapi, views
from muxer.access import ANONYMOUS
from muxer.answering import Answering, error_response, inbound_of, unforeseen
from muxer.assemble import Assembly
from muxer.edge import PATIENCE, Patience, Request, caller_of, check_library, json_body, read_json, too_large
from muxer.errors import (
    Fault,
    InvalidAPIKey,
    MethodNotAllowed,
    MuxerError,
    NotFound,
    Overloaded,
    PermissionDenied,
    ReloadRefused,
    Unsupported,
)
from muxer.explanation import for_caller
from muxer.incoming import Outgoing
from muxer.interfaces import HasRoutes, Operation, Route
from muxer.keys import NewKey, StoredKey
from muxer.listener import Listener, Respond
from muxer.operations import OPERATIONS
from muxer.outgoing import Stream, Whole
from muxer.pipeline import explained
from muxer.wire import (
    anthropic_inbound,
    openai_embeddings,
    openai_inbound,
    openai_text_inbound,
    responses_inbound,
)
from muxer.wire.inbound import InboundFormat

_RANKS: Mapping[str, int] = {"user": 0, "metrics": 1, "viewer": 2, "admin": 3}
_FORMATS: Mapping[str, InboundFormat] = {
    "/v1/chat/completions": openai_inbound.CHAT,
    "/v1/completions": openai_text_inbound.COMPLETIONS,
    "/v1/embeddings": openai_embeddings.EMBEDDINGS,
    "/v1/messages": anthropic_inbound.MESSAGES,
    "/v1/responses": responses_inbound.RESPONSES,
}
"""Where requests are answered, and in which format."""
_MORE_FORMATS: Mapping[str, InboundFormat] = {"/v1/messages/count_tokens": anthropic_inbound.MESSAGES}
"""Where else errors are written in which format."""


encode = msgspec.json.Encoder().encode


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of a reload: `reloaded`, `unchanged` or `invalid`; the configuration in force, and what is wrong with
    the file as it is now."""

    status: str
    config: str
    faults: Sequence[str]
    needs_restart: Sequence[str]


class Reloads(Protocol):
    """Takes over the file anew, and knows how that went."""

    @property
    def is_draining(self) -> bool:
        """Whether the process is about to end."""

    @property
    def faults(self) -> Sequence[Fault]:
        """What is wrong with the file as it is now."""

    @property
    def needs_restart(self) -> Sequence[str]:
        """Its sections that are not in force."""

    async def reload(self) -> Outcome:
        """Takes over the file as it is now."""


class Server:
    """The application over one assembly."""

    def __init__(
        self, assembly: Assembly, *, is_loopback: bool, patience: Patience = PATIENCE, reloads: Reloads | None = None
    ) -> None:
        check_library(aiohttp.__version__, is_compiled=aiohttp.http.HttpRequestParser is not HttpRequestParserPy)
        self._assembly = assembly
        self._is_loopback = is_loopback
        self._patience = patience
        self._answering = {path: Answering(assembly, format, patience).respond for path, format in _FORMATS.items()}
        self._reloads = reloads
        self._fixed: dict[tuple[str, str], web.UrlMappingMatchInfo] = {}
        self.router = self._routes_added()

    def listener(self) -> Listener:
        """What listens for this server alone."""
        most = self._assembly.configuration.settings.server.max_body_bytes
        return Listener(self.respond, self.refused, max_body_bytes=most)

    async def respond(self, request: Request) -> Outgoing:
        """Answers any request; every error leaves as our JSON, and what nobody foresaw is logged and answered 500."""
        request.patience = self._patience
        request.room = self._assembly.admission.room
        try:
            found = self._fixed.get((request.method, request.raw_path))
            if found is None:
                found = await self.router.resolve(request)
            request.matched(found)
            answer: object = await found.handler(request)
            if not isinstance(answer, (Whole, Stream, web.StreamResponse)):
                raise TypeError(f"the route gave no response but {type(answer).__name__}")
            return answer
        except MuxerError as error:
            return self.refused(request, error)
        except web.HTTPMethodNotAllowed as error:
            allowed = sorted(error.allowed_methods)
            return self.refused(request, MethodNotAllowed(f"{error.method} is not served here", allowed))
        except web.HTTPRequestEntityTooLarge:
            return self.refused(request, too_large(request))
        except web.HTTPNotFound:
            return self.refused(request, NotFound("nothing is served at this address; see the README's list"))
        except Exception as error:  # noqa: BLE001  # the process must live on, and the caller gets JSON
            return error_response(unforeseen(self._assembly, request, error), _format_of(request))
        finally:
            if request.room_taken:
                request.room.give(request.room_taken)

    def _routes_added(self) -> web.UrlDispatcher:
        """All routes; every one declares the role it needs."""
        router = web.UrlDispatcher()
        for route in self._table():
            handler = self._guarded(route)
            for path in _addresses(route.path):
                # aiohttp's table of routes calls no handler itself.
                added = router.add_route(route.method, path, handler)  # type: ignore[arg-type]
                if "{" not in path:
                    self._fixed.setdefault((route.method, path), web.UrlMappingMatchInfo({}, added))
        return router

    def _table(self) -> list[Route]:
        """All routes, each with what the OpenAPI document says of it."""
        core = [replace(one, operation=OPERATIONS.get((one.method, one.path), Operation())) for one in self._routes()]
        return [*core, *self._routes_of_extensions()]

    def _routes(self) -> list[Route]:
        return [
            *(Route("POST", path, respond, "user") for path, respond in self._answering.items()),
            Route("POST", "/v1/messages/count_tokens", self._count_tokens, "user"),
            Route("POST", "/v1/route", self._route, "user"),
            Route("GET", "/v1/models", self._models, "user"),
            Route("GET", "/v1/models/{name:.+}", self._model, "user"),
            Route("GET", "/v1/requests/{id}", self._request, "user"),
            Route("POST", "/v1/feedback", self._feedback, "user"),
            Route("GET", "/user/stats", self._user_stats, "user"),
            Route("GET", "/stats", self._stats, "user"),
            Route("GET", "/providers", self._providers, "user"),
            Route("POST", "/admin/keys", self._create_key, "admin"),
            Route("GET", "/admin/keys", self._list_keys, "admin"),
            Route("DELETE", "/admin/keys/{id}", self._revoke_key, "admin"),
            Route("POST", "/admin/reload", self._reload, "admin"),
            Route("GET", "/health", self._health, "public"),
            Route("GET", "/livez", self._livez, "public"),
            Route("GET", "/readyz", self._readyz, "public"),
            Route("GET", "/openapi.json", self._openapi, "public"),
            Route("GET", "/docs", self._docs, "public"),
        ]

    @property
    def _open_scopes(self) -> frozenset[str]:
        return frozenset({"public", "metrics"} if self._is_loopback else {"public"})

    def _routes_of_extensions(self) -> list[Route]:
        return [route for one in self._assembly.extensions if isinstance(one, HasRoutes) for route in one.routes()]

    def _guarded(self, route: Route) -> Respond:
        """The handler behind a check of the caller's role, and behind the gate where models answer: nothing else is
        shed. On loopback, metrics are open to all (DESIGN 4)."""
        is_public, is_shed = route.scope in self._open_scopes, route.path in self._answering
        needed = _RANKS.get(route.scope, _RANKS["admin"])  # a word nobody knows opens nothing
        callers, admission = self._assembly.callers, self._assembly.admission

        async def handle(request: Request) -> Outgoing:
            if is_public:
                request.caller = ANONYMOUS
                return await route.handler(request)  # type: ignore[no-any-return]  # a plugin's handler is Any
            _check_credentials(request)
            request.caller = caller = await callers.caller(request.headers)
            if _RANKS[caller.role] < needed:
                raise PermissionDenied(f"this key has the role {caller.role!r}; {route.path} needs {route.scope!r}")
            if not is_shed:
                return await route.handler(request)  # type: ignore[no-any-return]  # see above
            await admission.enter()
            try:
                return await route.handler(request)  # type: ignore[no-any-return]  # see above
            finally:
                admission.leave()

        return handle

    def refused(self, request: Request, error: MuxerError) -> Whole:
        """An error as an answer, and a line in the log."""
        if isinstance(error, Overloaded):
            self._assembly.admission.refused(error)
        elif not error.request_id:  # one that has an id was logged as a request
            level, path = "warning" if error.is_suspicious else "info", request.path[:256]
            fields = {"method": request.method, "path": path, "status": error.status, "code": error.code}
            self._assembly.parts.log(level, "refused", **fields)
        return error_response(error, _format_of(request))

    async def _count_tokens(self, request: web.Request) -> Whole:
        return json_response(views.count_tokens(await json_body(request)))

    async def _route(self, request: web.Request) -> Whole:
        inbound = await inbound_of(request, openai_inbound.CHAT)
        return json_response(for_caller(await explained(self._assembly.parts, caller_of(request), inbound)))

    async def _models(self, request: web.Request) -> Whole:
        return json_response(views.models(self._assembly, caller_of(request)))

    async def _model(self, request: web.Request) -> Whole:
        return json_response(views.model(self._assembly, caller_of(request), request.match_info["name"]))

    async def _request(self, request: web.Request) -> Whole:
        return json_response(await views.request(self._assembly, caller_of(request), request.match_info["id"]))

    async def _feedback(self, request: web.Request) -> Whole:
        given = await read_json(request, feedback.Score)
        return json_response(await feedback.keep(self._assembly, caller_of(request), given))

    async def _user_stats(self, request: web.Request) -> Whole:
        return json_response(await views.user_stats(self._assembly, caller_of(request)))

    async def _stats(self, request: web.Request) -> Whole:
        return json_response(await views.stats(self._assembly, caller_of(request)))

    async def _providers(self, _: web.Request) -> Whole:
        return json_response(views.providers(self._assembly))

    async def _create_key(self, request: web.Request) -> Whole:
        asked = await read_json(request, NewKey)
        key, secret = await self._assembly.keys.create(asked, caller_of(request).key)
        headers = {"Cache-Control": "no-store"}
        return json_response({"key": secret, **self._key(key)}, status=201, headers=headers)

    async def _list_keys(self, _: web.Request) -> Whole:
        return json_response({"keys": [self._key(key) for key in await self._assembly.keys.every()]})

    async def _revoke_key(self, request: web.Request) -> Whole:
        key = await self._assembly.keys.revoke(request.match_info["id"], caller_of(request).key)
        return json_response(self._key(key))

    async def _reload(self, _: web.Request) -> Whole:
        if self._reloads is None:
            raise Unsupported("this process reads its file only once")
        outcome = await self._reloads.reload()
        if outcome.status == "invalid":
            raise ReloadRefused("the file cannot be used, what ran goes on:\n" + "\n".join(outcome.faults))
        fields = {"status": outcome.status, "config": outcome.config, "needs_restart": outcome.needs_restart}
        return json_response(fields)

    def _key(self, key: StoredKey) -> dict[str, object]:
        return admin.fields(key, self._assembly.parts.clock())

    def _described(self) -> openapi.Document:
        return openapi.document(self._table(), version("modelmuxer"), open_scopes=self._open_scopes)

    async def _openapi(self, _: web.Request) -> Whole:
        return json_response(self._described())

    async def _docs(self, _: web.Request) -> Whole:
        text = openapi.page(self._described())
        return Whole(text.encode(), headers={"Content-Type": "text/html; charset=utf-8", **openapi.PAGE_HEADERS})

    async def _health(self, _: web.Request) -> Whole:
        return json_response(await views.health(self._assembly))

    async def _livez(self, _: web.Request) -> Whole:
        return json_response({"status": "ok"})

    def _configuration(self) -> str:
        """The state of the file in words; what is wrong with it, the log and admins are told."""
        if self._reloads is None or not (self._reloads.faults or self._reloads.needs_restart):
            return "ok"
        return "invalid" if self._reloads.faults else "needs restart"

    async def _readyz(self, _: web.Request) -> Whole:
        health = await views.health(self._assembly)
        is_draining = self._reloads is not None and self._reloads.is_draining
        is_ready = not is_draining and _components(health)["store"] == "ok"
        status = "ok" if is_ready else "draining" if is_draining else "unavailable"
        body = {"status": status, "components": health["components"], "configuration": self._configuration()}
        return json_response(body, status=200 if is_ready else 503)


def _components(health: Mapping[str, object]) -> dict[str, Any]:
    components = health["components"]
    assert isinstance(components, dict)
    return components


def _check_credentials(request: Request) -> None:
    """Two keys are none: who looks at the first and who looks at the last would see two callers (B41)."""
    for name in ("Authorization", "x-api-key"):
        if len(request.headers.getall(name, ())) > 1:
            raise InvalidAPIKey(f"the header {name} is there more than once")


def _addresses(path: str) -> list[str]:
    """Where a path is served: SDKs disagree on whether base_url has the /v1 (DESIGN 4), and the one that adds it is
    also given one that has it."""
    if not path.startswith("/v1/"):
        return [path]
    return [path, path.removeprefix("/v1"), f"/v1{path}"]


def _format_of(request: Request) -> InboundFormat:
    """How errors are written where this request went."""
    path = "/v1/" + request.path.lstrip("/").removeprefix("v1/").removeprefix("v1/")
    return _MORE_FORMATS.get(path) or _FORMATS.get(path, openai_inbound.CHAT)


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Whole:
    """A JSON answer."""
    return Whole(encode(body), status, headers)
