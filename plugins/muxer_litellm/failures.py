"""What LiteLLM raises as our tree of failures: by what the vendor answered, else by where the call broke."""

from collections.abc import AsyncIterator, Iterator, Mapping

import aiohttp
import msgspec

from muxer import (
    MuxerError,
    ProviderFailed,
    Unsupported,
    UpstreamAuth,
    UpstreamBadResponse,
    UpstreamCut,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
    raise_for_status,
)
from muxer_litellm.library import Library

_LONGEST_CHAIN = 16


class _Answered:
    """A vendor's error answer that LiteLLM has read, for `raise_for_status`."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self._body = body

    async def read(self) -> bytes:
        return self._body

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._body


async def failure(error: Exception, library: Library, who: str) -> MuxerError:
    """The failure an exception of LiteLLM, or of a handler, stands for. LiteLLM's own words stay out: they quote
    requests, tracebacks and keys (B51)."""
    chain = tuple(_causes(error))
    answered = _answered(chain, library)
    if answered is not None:
        try:
            await raise_for_status(answered, who)
        except ProviderFailed as failed:
            return failed
    return _broken(chain, library, who) or _named(chain, library, who)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception, what it was made of, and so on."""
    seen: list[BaseException] = []
    while error is not None and error not in seen and len(seen) < _LONGEST_CHAIN:
        seen.append(error)
        yield error
        original = getattr(error, "original_exception", None)
        error = original if isinstance(original, BaseException) else error.__cause__ or error.__context__


def _answered(chain: tuple[BaseException, ...], library: Library) -> _Answered | None:
    """What the vendor answered. LiteLLM's own exceptions carry answers it made up, so only the client's counts, and the
    word of a handler, which is the vendor then."""
    handler_error = library.litellm.llms.custom_llm.CustomLLMError
    for error in chain:
        if isinstance(error, library.httpx.HTTPStatusError):
            response = error.response
            try:
                body = response.content
            except library.httpx.StreamError:
                body = b""  # nobody has read it, and its connection is gone
            return _Answered(response.status_code, response.headers, body)
        if isinstance(error, handler_error) and isinstance(error.status_code, int):
            said = msgspec.json.encode({"message": str(error.message)})
            return _Answered(error.status_code, {}, said)
    return None


def _broken(chain: tuple[BaseException, ...], library: Library, who: str) -> MuxerError | None:
    """Where the connection broke, if that is what happened."""
    httpx = library.httpx
    for error in chain:
        if isinstance(error, ImportError):
            return UpstreamUnreachable(f"{who} needs a package that is not installed: {error.name}")
        # LiteLLM's transport calls a connection that was reset while it was used one that could not be made.
        if isinstance(error, httpx.ConnectError) and _was_reset(error):
            return UpstreamCut(f"{who}: the connection to the upstream broke")
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)):
            return UpstreamUnreachable(f"{who}: no connection to the upstream")
        if isinstance(error, (httpx.TimeoutException, TimeoutError, library.litellm.Timeout)):
            return UpstreamTimeout(f"{who}: the upstream stopped answering before its deadline")
        if isinstance(error, httpx.TransportError):
            return UpstreamCut(f"{who}: the connection to the upstream broke")
    return None


def _was_reset(error: BaseException) -> bool:
    cause = error.__cause__ or error.__context__
    return isinstance(cause, aiohttp.ClientOSError) and not isinstance(cause, aiohttp.ClientConnectorError)


def _named(chain: tuple[BaseException, ...], library: Library, who: str) -> MuxerError:
    """What LiteLLM calls it, where it asked nobody or read it from words inside an answer."""
    told = library.litellm.exceptions
    for error in chain:
        if isinstance(error, told.MidStreamFallbackError):
            continue  # an envelope; what is in it comes next
        if isinstance(error, told.UnsupportedParamsError):
            return Unsupported(f"{who} cannot take the parameters of this request")
        if isinstance(error, told.ImageFetchError):
            return UpstreamRefused(f"{who}: an image of the request could not be fetched")
        if isinstance(error, told.ContextWindowExceededError):
            return UpstreamRefused(f"{who}: the request is longer than the model takes")
        if isinstance(error, (told.ContentPolicyViolationError, told.RejectedRequestError)):
            return UpstreamRefused(f"{who}: the upstream's content policy refused the request")
        if isinstance(error, (told.AuthenticationError, told.PermissionDeniedError)):
            return UpstreamAuth(f"{who}: check the provider's api_key, params and account")
        if isinstance(error, told.RateLimitError):
            return UpstreamRateLimited(f"{who}: the upstream asks for a pause")
        if isinstance(error, (told.ServiceUnavailableError, told.BadGatewayError)):
            return UpstreamError(f"{who}: the upstream is not available")
    return UpstreamBadResponse(f"{who}: the answer could not be read ({type(chain[0]).__name__})")
