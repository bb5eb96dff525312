"""The HTTP client every provider uses: deadlines, caps, no redirects, and failures told apart by what may be billed."""

import asyncio
import email.utils
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import aiohttp
import msgspec

from muxer.connection import INCOMPLETE, MAX_ANSWER_BYTES, NOT_HTTP, READ_BYTES, TOO_LATE, TOO_LONG, broke
from muxer.connections import KEEPALIVE_S, LeanClient
from muxer.errors import ParametersUnsupported
from muxer.failures import (
    ProviderFailed,
    UpstreamAuth,
    UpstreamBadResponse,
    UpstreamCut,
    UpstreamDeclined,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamTooLong,
    UpstreamUnreachable,
)
from muxer.interfaces import HTTPClient, Reply, Timeouts
from muxer.types import Call


class _AiohttpReply:
    """An answer of aiohttp's client, its failures translated."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        body = bytearray()
        async for piece in self.chunks():
            body += piece
        return bytes(body)

    async def chunks(self) -> AsyncIterator[bytes]:
        size = 0
        with _translated():
            async for piece in self._response.content.iter_any():
                size += len(piece)
                if size > MAX_ANSWER_BYTES:
                    raise UpstreamBadResponse(TOO_LONG)
                yield piece


class _translated:  # noqa: N801  # reads as a statement
    """Turns aiohttp's exceptions, raised after the request was sent, into ours."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TimeoutError):
            raise UpstreamTimeout(TOO_LATE) from error
        if isinstance(error, (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError)):
            raise UpstreamCut(INCOMPLETE) from error
        if isinstance(error, (aiohttp.ClientResponseError, aiohttp.http.HttpProcessingError)):
            raise UpstreamBadResponse(NOT_HTTP) from error
        if isinstance(error, (aiohttp.ClientError, OSError)):
            raise broke(error) from error


class AiohttpClient:
    """`HTTPClient` on aiohttp's ClientSession, for what the lean one leaves to it. Open it with `open_session`."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @asynccontextmanager
    async def post(
        self, url: str, *, headers: Mapping[str, str], body: bytes, timeouts: Timeouts
    ) -> AsyncIterator[Reply]:
        """Sends one request; see `HTTPClient.post`."""
        limits = aiohttp.ClientTimeout(
            total=timeouts.total_s,
            connect=timeouts.connect_s,
            sock_connect=timeouts.connect_s,
            sock_read=timeouts.idle_s,
        )
        response = await self._send(url, headers, body, limits, timeouts.first_byte_s)
        try:
            yield _AiohttpReply(response)
        finally:
            # A connection with unread bytes cannot be used again; aiohttp closes it then and keeps it otherwise.
            response.release()

    async def _send(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        limits: aiohttp.ClientTimeout,
        first_byte_s: float,
    ) -> aiohttp.ClientResponse:
        try:
            async with asyncio.timeout(first_byte_s):
                return await self._session.post(url, data=body, headers=headers, timeout=limits, allow_redirects=False)
        except aiohttp.ConnectionTimeoutError as error:
            raise UpstreamUnreachable("no connection to the upstream in time") from error
        except aiohttp.ClientConnectorError as error:
            raise UpstreamUnreachable(f"no connection to the upstream: {_reason(error)}") from error
        except aiohttp.InvalidURL as error:
            raise UpstreamUnreachable("the provider's base_url is not an address") from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            with _translated():
                raise
            raise AssertionError from error


def _reason(error: aiohttp.ClientConnectorError) -> str:
    """The operating system's words, without the address."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name does not resolve"
    if isinstance(error, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError)):
        return "its certificate is not trusted"
    return os.strerror(error.os_error.errno) if error.os_error.errno else type(error.os_error).__name__


@asynccontextmanager
async def open_client(max_connections: int = 1000) -> AsyncIterator[HTTPClient]:
    """Opens the one client of a process and closes it after. Compression is not asked for: answers are small
    pieces of a stream, and a compressed one could unpack to any size (B55)."""
    async with open_session(max_connections) as session, LeanClient(session, max_connections) as client:
        yield client


@asynccontextmanager
async def open_session(max_connections: int = 1000) -> AsyncIterator[AiohttpClient]:
    """Opens the client that knows proxies."""
    connector = aiohttp.TCPConnector(
        limit=max_connections, limit_per_host=0, keepalive_timeout=KEEPALIVE_S, ttl_dns_cache=60
    )
    async with aiohttp.ClientSession(
        connector=connector,
        auto_decompress=True,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept-Encoding", "Content-Type"),
        trust_env=True,
        read_bufsize=READ_BYTES,
    ) as session:
        yield AiohttpClient(session)


class _ErrorAnswer(msgspec.Struct):
    error: object = None
    code: object = None
    message: object = None
    detail: object = None


_decode_error = msgspec.json.Decoder(_ErrorAnswer).decode


def _said(body: bytes) -> tuple[str, str]:
    """What the upstream said is wrong, from any of the shapes in use, at most 500 characters; and its code for it."""
    try:
        answer = _decode_error(body)
        said = map(_text_of, (answer.error, answer.message, answer.detail))
        return next(filter(None, said), "")[:500], _code_of(answer.error) or _code_of({"code": answer.code})
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", ""


def _code_of(error: object) -> str:
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) else ""


def _text_of(said: object) -> str:
    """The text of an error: plain, in an object, or as FastAPI's list of what is wrong where, which also repeats the
    request (`input`, left out)."""
    if isinstance(said, str):
        return said
    if isinstance(said, dict):
        words = _text_of(said.get("message")) or _text_of(said.get("detail")) or _text_of(said.get("msg"))
        place = said.get("loc")
        return f"{'.'.join(map(str, place))}: {words}" if isinstance(place, list) and words else words
    if isinstance(said, list):
        return "; ".join(filter(None, map(_text_of, said)))
    return ""


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The pause an upstream asks for, from `Retry-After` as seconds or as a date; None when it makes no sense."""
    value = headers.get("Retry-After", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return seconds if 0 <= seconds < 86_400 else None


def refuse_dropped(call: Call, who: str, dropped: Sequence[str]) -> None:
    """Raises ParametersUnsupported when the call is strict and something of it would be dropped."""
    if call.strict and dropped:
        names = ", ".join(dropped)
        raise ParametersUnsupported(f"{who} cannot take {names}, and strict_params is set", param=dropped[0])


async def raise_for_status(reply: Reply, who: str) -> None:
    """Raises the ProviderFailed that a status other than 200 means; `who` names the provider in the message."""
    status = reply.status
    if status == 200:
        return
    if status < 400:
        raise UpstreamBadResponse(f"{who} answered {status}, which its API never does", upstream_status=status)
    words, code = _said(await reply.read())
    said = f"{who} answered {status}" + (f": {words}" if words else "")
    raise status_failure(status, said, retry_after_s(reply.headers), code)


# By code where the vendor has one (OpenAI, Azure), else by its words: Anthropic, OpenAI-compatible servers, Gemini and
# Mistral, vLLM, llama.cpp.
_TOO_LONG = (
    "context_length_exceeded",
    "prompt is too long",
    "maximum context length",
    "exceeds the maximum number of tokens",
    "exceeds the available context size",
)
_AGAINST_POLICY = (
    "content_filter",
    "content_policy_violation",
    "content management policy",
    "content filtering policy",
)


def status_failure(status: int, said: str, pause_s: float | None, code: str = "") -> ProviderFailed:
    """The failure that a status of 400 and above means; `said` is `WHO answered STATUS: WORDS`, `code` the vendor's."""
    if status in (401, 402, 403):
        # The upstream's own words may quote our key; they stay out of the answer (B51).
        return UpstreamAuth(
            f"{said.partition(':')[0]}: check the provider's api_key and account", upstream_status=status
        )
    if status == 429:
        return UpstreamRateLimited(said, upstream_status=status, retry_after_s=pause_s)
    if status >= 500 or status == 408:
        return UpstreamError(said, upstream_status=status, retry_after_s=pause_s)
    hay = f"{code} {said}".lower()
    if any(words in hay for words in _TOO_LONG):
        return UpstreamTooLong(said, upstream_status=status)
    if any(words in hay for words in _AGAINST_POLICY):
        return UpstreamDeclined(said, upstream_status=status)
    return UpstreamRefused(said, upstream_status=status)
