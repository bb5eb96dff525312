"""The HTTP edge: requests in, answers and errors out as JSON or events, nothing decided here."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any

import aiohttp.http
import msgspec
from aiohttp import web
from aiohttp.http_parser import HttpRequestParserPy
from msgspec import Struct

from muxer import admin, views
from muxer.access import ANONYMOUS
from muxer.assemble import Assembly
from muxer.errors import (
    BodyTooLarge,
    ClientGone,
    EncodingUnsupported,
    MethodNotAllowed,
    MuxerError,
    NotFound,
    PermissionDenied,
    UnsupportedMediaType,
)
from muxer.fence import ComponentFailed, Fence
from muxer.interfaces import AddsHeaders, HasRoutes, Route
from muxer.keys import StoredKey
from muxer.log import frames
from muxer.pipeline import Exchange, serve
from muxer.types import Caller, Inbound
from muxer.wire import openai_chat, openai_inbound

_BOM = b"\xef\xbb\xbf"
_RANKS: Mapping[str, int] = {"user": 0, "metrics": 1, "viewer": 2, "admin": 3}
_CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)


class Patience(Struct, frozen=True):
    """How long an answer is read on for its usage after its caller left (S11), and how long a caller may take no byte
    of a stream before it counts as gone (B62)."""

    drain_s: float = 60.0
    write_s: float = 60.0


PATIENCE = Patience()


Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]
encode = msgspec.json.Encoder().encode


class Server:
    """The application over one assembly."""

    def __init__(self, assembly: Assembly, *, is_loopback: bool, patience: Patience = PATIENCE) -> None:
        if aiohttp.http.HttpRequestParser is HttpRequestParserPy:
            # The pure-Python parser was the weak one in each of its security releases (RELIABILITY 4).
            raise RuntimeError("aiohttp was installed without its C parser; reinstall it from a wheel")
        self._assembly = assembly
        self._is_loopback = is_loopback
        self._patience = patience
        self._adding = [
            (one, Fence(f"extension {type(one).__name__}", assembly.parts.meter, assembly.parts.log))
            for one in assembly.extensions
            if isinstance(one, AddsHeaders)
        ]
        self.is_ready = True

    def application(self) -> web.Application:
        """The aiohttp application; every route declares the role it needs."""
        application = web.Application(
            middlewares=[self._edge], client_max_size=self._assembly.configuration.settings.server.max_body_bytes
        )
        application.on_response_prepare.append(_hide_server)
        for route in (*self._routes(), *self._routes_of_extensions()):
            handler = self._guarded(route)
            application.router.add_route(route.method, route.path, handler)
            if route.path.startswith("/v1/"):
                # SDKs disagree on whether base_url has the /v1 (DESIGN 4).
                application.router.add_route(route.method, route.path.removeprefix("/v1"), handler)
        return application

    def _routes(self) -> list[Route]:
        return [
            Route("POST", "/v1/chat/completions", self.chat, "user"),
            Route("GET", "/v1/models", self._models, "user"),
            Route("GET", "/v1/models/{name:.+}", self._model, "user"),
            Route("GET", "/v1/requests/{id}", self._request, "user"),
            Route("GET", "/user/stats", self._user_stats, "user"),
            Route("GET", "/stats", self._stats, "user"),
            Route("GET", "/providers", self._providers, "user"),
            Route("POST", "/admin/keys", self._create_key, "admin"),
            Route("GET", "/admin/keys", self._list_keys, "admin"),
            Route("DELETE", "/admin/keys/{id}", self._revoke_key, "admin"),
            Route("GET", "/health", self._health, "public"),
            Route("GET", "/livez", self._livez, "public"),
            Route("GET", "/readyz", self._readyz, "public"),
        ]

    def _routes_of_extensions(self) -> list[Route]:
        return [route for one in self._assembly.extensions if isinstance(one, HasRoutes) for route in one.routes()]

    def _guarded(self, route: Route) -> Respond:
        """The handler behind a check of the caller's role. On loopback, metrics are open to all (DESIGN 4)."""
        is_public = route.scope == "public" or (route.scope == "metrics" and self._is_loopback)

        async def handle(request: web.Request) -> web.StreamResponse:
            if is_public:
                request[_CALLER] = ANONYMOUS
                return await route.handler(request)  # type: ignore[no-any-return]  # a plugin's handler is Any
            caller = request[_CALLER] = await self._assembly.callers.caller(request.headers)
            if _RANKS[caller.role] < _RANKS[route.scope]:
                raise PermissionDenied(f"this key has the role {caller.role!r}; {route.path} needs {route.scope!r}")
            return await route.handler(request)  # type: ignore[no-any-return]  # a plugin's handler is Any

        return handle

    @web.middleware
    async def _edge(self, request: web.Request, handler: Respond) -> web.StreamResponse:
        """Every error leaves as our JSON; what nobody foresaw is logged and answered 500."""
        try:
            return await handler(request)
        except MuxerError as error:
            return self._refused(request, error)
        except web.HTTPMethodNotAllowed as error:
            allowed = sorted(error.allowed_methods)
            return self._refused(request, MethodNotAllowed(f"{error.method} is not served here", allowed))
        except web.HTTPRequestEntityTooLarge:
            return self._refused(request, self._too_large())
        except web.HTTPNotFound:
            return self._refused(request, NotFound("nothing is served at this address; see the README's list"))
        except Exception as error:  # noqa: BLE001  # the process must live on, and the caller gets JSON
            return error_response(self._unforeseen(request, error))

    def _unforeseen(self, request: web.Request, error: Exception) -> MuxerError:
        self._assembly.parts.log("error", "unforeseen", trace=frames(error), path=request.path[:256])
        return MuxerError("an unforeseen error; it is in the log of the proxy")

    def _refused(self, request: web.Request, error: MuxerError) -> web.Response:
        if not error.request_id:  # one that has an id was logged as a request
            self._assembly.parts.log(
                "info", "refused", method=request.method, path=request.path[:256], status=error.status, code=error.code
            )
        return error_response(error)

    def _too_large(self) -> BodyTooLarge:
        most = self._assembly.configuration.settings.server.max_body_bytes
        return BodyTooLarge(f"the body is over {most} bytes (server.max_body_bytes)")

    async def _body(self, request: web.Request) -> bytes:
        """The body, checked for size and kind before it is read."""
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise EncodingUnsupported("send the body uncompressed")
        kind = request.headers.get("Content-Type")
        if kind is not None and (
            request.content_type != "application/json" or (request.charset or "utf-8").lower() not in ("utf-8", "utf8")
        ):
            raise UnsupportedMediaType("send the body as `Content-Type: application/json` in UTF-8")
        if (request.content_length or 0) > self._assembly.configuration.settings.server.max_body_bytes:
            raise self._too_large()
        return await request.read()

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/chat/completions`."""
        body = (await self._body(request)).removeprefix(_BOM)
        inbound = Inbound(
            api=openai_chat.API,
            raw=body,
            request=openai_inbound.decode_request(body),
            tags=tuple(tag.strip() for tag in request.headers.get("x-muxer-tags", "").split(",") if tag.strip()),
            conversation=_as_text(request.headers.get("x-muxer-conversation", "")),
        )
        async with serve(self._assembly.parts, request[_CALLER], inbound) as exchange:
            if exchange.answer is None:
                return await self._stream(request, exchange, inbound)
            metadata = exchange.metadata()
            answer = openai_inbound.encode_answer(exchange.answer, exchange.record.id, int(time.time()), metadata)
            exchange.client_gone = request.transport is None or request.transport.is_closing()  # S12
            await exchange.settle()
            return web.Response(body=answer, content_type="application/json", headers=self._headers(exchange))

    async def _stream(self, request: web.Request, exchange: Exchange, inbound: Inbound) -> web.StreamResponse:
        """Writes chunks as they come. When the caller leaves, the answer is read on for its usage (S11).

        The status has been sent by then, so whatever goes wrong can only be told by a last event.
        """
        headers = self._headers(exchange) | {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        response = web.StreamResponse(headers=headers)
        writer = openai_inbound.StreamWriter(
            exchange.record.id, int(time.time()), exchange.served.name, wants_usage=inbound.request.wants_usage
        )
        try:
            async with asyncio.timeout(None) as drain:
                outlet = _Outlet(request, response, exchange, drain, self._patience)
                await self._relay(exchange, writer, outlet, request)
        except TimeoutError:
            exchange.failed(ClientGone("the answer was read on for as long as we do after its caller left"))
        return response

    async def _relay(
        self, exchange: Exchange, writer: openai_inbound.StreamWriter, outlet: "_Outlet", request: web.Request
    ) -> None:
        """All chunks and `[DONE]`, or one error event in its place."""
        try:
            async with aclosing(exchange.chunks()) as chunks:
                async for chunk in chunks:
                    await outlet.write(writer.write(chunk, exchange.metadata() if chunk.usage else {}))
            await outlet.write(openai_inbound.DONE)
        except Exception as error:  # noqa: BLE001  # the process must live on, and the caller gets an event
            exchange.failed(error)
            await exchange.settle()
            told = error if isinstance(error, MuxerError) else self._unforeseen(request, error)
            await outlet.write(openai_inbound.write_error(error_fields(told)))

    def _headers(self, exchange: Exchange) -> dict[str, str]:
        """Ours, and under them those of extensions; one that fails has none."""
        added: dict[str, str] = {}
        for extension, fence in self._adding:
            with suppress(ComponentFailed), fence.around():
                added.update(extension.headers(exchange.record))
        return {name: _header_safe(value) for name, value in (added | exchange_headers(exchange)).items()}

    async def _models(self, request: web.Request) -> web.Response:
        return json_response(views.models(self._assembly, request[_CALLER]))

    async def _model(self, request: web.Request) -> web.Response:
        return json_response(views.model(self._assembly, request[_CALLER], request.match_info["name"]))

    async def _request(self, request: web.Request) -> web.Response:
        return json_response(await views.request(self._assembly, request[_CALLER], request.match_info["id"]))

    async def _user_stats(self, request: web.Request) -> web.Response:
        return json_response(await views.user_stats(self._assembly, request[_CALLER]))

    async def _stats(self, request: web.Request) -> web.Response:
        return json_response(await views.stats(self._assembly, request[_CALLER]))

    async def _providers(self, _: web.Request) -> web.Response:
        return json_response(views.providers(self._assembly))

    async def _create_key(self, request: web.Request) -> web.Response:
        asked, now = admin.decode((await self._body(request)).removeprefix(_BOM)), self._assembly.parts.clock()
        in_file = [key.name for key in self._assembly.configuration.settings.keys]
        key, secret = await admin.create(self._assembly.store, in_file, asked, now)
        self._log_key("key_created", key, request)
        headers = {"Cache-Control": "no-store"}
        return json_response({"key": secret, **admin.fields(key, now)}, status=201, headers=headers)

    async def _list_keys(self, _: web.Request) -> web.Response:
        keys, now = await admin.keeper(self._assembly.store).keys(), self._assembly.parts.clock()
        return json_response({"keys": [admin.fields(key, now) for key in keys]})

    async def _revoke_key(self, request: web.Request) -> web.Response:
        now = self._assembly.parts.clock()
        key = await admin.revoke(self._assembly.store, request.match_info["id"], now)
        self._assembly.callers.forget(key.digest)
        self._log_key("key_revoked", key, request)
        return json_response(admin.fields(key, now))

    def _log_key(self, event: str, key: StoredKey, request: web.Request) -> None:
        self._assembly.parts.log("info", event, id=key.id, name=key.name, role=key.role, by=request[_CALLER].key)

    async def _health(self, _: web.Request) -> web.Response:
        return json_response(await views.health(self._assembly))

    async def _livez(self, _: web.Request) -> web.Response:
        return json_response({"status": "ok"})

    async def _readyz(self, _: web.Request) -> web.Response:
        health = await views.health(self._assembly)
        is_ready = self.is_ready and _components(health)["store"] == "ok"
        status = "ok" if is_ready else "draining" if not self.is_ready else "unavailable"
        body = {"status": status, "components": health["components"]}
        return json_response(body, status=200 if is_ready else 503)


def _components(health: Mapping[str, object]) -> dict[str, Any]:
    components = health["components"]
    assert isinstance(components, dict)
    return components


class _Outlet:
    """Where a stream is written; once the caller is gone it swallows the rest and starts the drain's deadline."""

    def __init__(
        self,
        request: web.Request,
        response: web.StreamResponse,
        exchange: Exchange,
        drain: asyncio.Timeout,
        patience: Patience,
    ) -> None:
        self._patience = patience
        self._request = request
        self._response = response
        self._exchange = exchange
        self._drain = drain

    async def write(self, data: bytes) -> None:
        if self._exchange.client_gone or not data:
            return
        try:
            async with asyncio.timeout(self._patience.write_s):
                if not self._response.prepared:
                    await self._response.prepare(self._request)
                await self._response.write(data)
        except (ConnectionError, TimeoutError):
            self._exchange.client_gone = True
            if self._request.transport is not None:
                self._request.transport.abort()
            self._drain.reschedule(asyncio.get_running_loop().time() + self._patience.drain_s)


async def _hide_server(_: web.Request, response: web.StreamResponse) -> None:
    """aiohttp names itself and Python with their versions; that is nobody's business (RELIABILITY 4)."""
    response.headers["Server"] = "modelmuxer"


def exchange_headers(exchange: Exchange) -> dict[str, str]:
    """The `x-muxer-*` headers of an answer."""
    record, served = exchange.record, exchange.served
    headers = {
        "x-muxer-request-id": record.id,
        "x-muxer-route": record.route,
        "x-muxer-provider": served.provider,
        "x-muxer-model": served.name,
        "x-muxer-reason": record.reason,
        **exchange.guard_headers,
        **exchange.limit_headers,
    }
    if exchange.dropped:
        headers["x-muxer-dropped"] = ", ".join(exchange.dropped)
    if exchange.output_cap is not None:
        headers["x-muxer-output-cap"] = str(exchange.output_cap)
    return headers


def _as_text(value: str) -> str:
    """A header's value; bytes in it that are no UTF-8 come as lone surrogates, which nothing can store or send."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _header_safe(value: str) -> str:
    """Names come from the configuration and may hold anything; headers take visible ASCII."""
    return "".join(c if " " <= c <= "~" else "?" for c in value)


def error_fields(error: MuxerError) -> dict[str, object]:
    """OpenAI's error object, all four keys."""
    return {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
        **error.details,
    }


def error_response(error: MuxerError) -> web.Response:
    """An error as an HTTP answer."""
    ids = {"x-muxer-request-id": error.request_id} if error.request_id else {}
    return json_response({"error": error_fields(error)}, status=error.status, headers=error.headers | ids)


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return web.Response(body=encode(body), status=status, headers=headers, content_type="application/json")
