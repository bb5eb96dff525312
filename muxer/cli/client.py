"""A proxy as its callers see it, over HTTP: asks it, and says in words what went wrong and what to do."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from decimal import Decimal
from typing import TypeVar

import aiohttp
import msgspec
from msgspec import Struct

from muxer.errors import MuxerError
from muxer.failures import UpstreamBadResponse
from muxer.money import Price, Rates, nanos, picos_per_token
from muxer.sse import read_events
from muxer.types import Usage

T = TypeVar("T")

DEADLINE_S = 180.0
_DONE = b"[DONE]"


class Failed(MuxerError):  # named for what happened, as all errors here
    """The proxy did not give what was asked; `answered` is the status it gave instead, if it did."""

    def __init__(self, message: str, answered: int = 0) -> None:
        super().__init__(message)
        self.answered = answered


class Served(Struct, frozen=True, kw_only=True):
    """Who answered a request, and what it cost."""

    route: str
    model: str
    usage: Usage
    cost_nanos: int


class _Cached(Struct, frozen=True):
    cached_tokens: int = 0


class _Usage(Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _Cached | None = None


class _Metadata(Struct, frozen=True):
    route: str
    selected_model: str
    estimated_cost: float


class _Error(Struct, frozen=True):
    message: str


class _Said(Struct, frozen=True):
    """An answer, or one event of it."""

    usage: _Usage | None = None
    router_metadata: _Metadata | None = None
    error: _Error | None = None


class _Rates(Struct, frozen=True):
    input: Decimal
    output: Decimal
    cached_input: Decimal
    cache_write: Decimal


class _Model(Struct, frozen=True):
    id: str
    price_usd_per_million: _Rates | None = None


class _Models(Struct, frozen=True):
    data: tuple[_Model, ...]


class Proxy:
    """A proxy at an address."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def get(self, path: str) -> bytes:
        """What it serves at a path. Raises Failed."""
        with self._in_words():
            async with self._session.get(self.url + path) as response:
                body = await response.read()
                self._check(response.status, body)
                return body

    async def read(self, path: str, type: type[T]) -> T:
        """The same, decoded. Raises Failed."""
        body = await self.get(path)
        with self._in_words():
            return msgspec.json.decode(body, type=type)

    async def prices(self) -> dict[str, Price]:
        """The prices of the models that the key may name; those without a price are left out. Raises Failed."""
        models = await self.read("/v1/models", _Models)
        return {model.id: _price(rates) for model in models.data if (rates := model.price_usd_per_million) is not None}

    async def ask(self, body: Mapping[str, object]) -> Served:
        """Sends one chat request and reads its answer to the end. Raises Failed."""
        is_stream = bool(body.get("stream"))
        with self._in_words():
            async with self._session.post(f"{self.url}/v1/chat/completions", json=body) as response:
                if response.status == 200 and is_stream:
                    return _served(await _last_said(response))
                answer = await response.read()
                self._check(response.status, answer)
                return _served(msgspec.json.decode(answer, type=_Said))

    def _check(self, status: int, body: bytes) -> None:
        if status == 200:
            return
        try:
            error = msgspec.json.decode(body, type=_Said).error
        except msgspec.MsgspecError:
            error = None
        if error is None:
            raise Failed(f"status {status}, and not in ModelMuxer's words: is {self.url} its address?", status)
        hint = "; here it is given as --api-key KEY" if status == 401 else ""
        raise Failed(f"status {status}: {error.message}{hint}", status)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise Failed(f"{self.url} took too long (over {DEADLINE_S:.0f} s); see the log of the proxy") from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise Failed(f"{self.url} is no address; write one such as http://127.0.0.1:8000") from error
        except aiohttp.ClientConnectorError as error:
            hint = "start it with `muxer serve`, or leave out --url to try one in this process"
            raise Failed(f"nobody answers at {self.url} ({error.os_error}); {hint}") from error
        except (aiohttp.ClientError, UpstreamBadResponse) as error:
            raise Failed(f"{self.url} broke off ({error}); see the log of the proxy") from error
        except msgspec.MsgspecError as error:
            raise Failed(f"this is not an answer of ModelMuxer ({error}): is {self.url} its address?") from error


@asynccontextmanager
async def open_proxy(url: str, api_key: str | None = None) -> AsyncIterator[Proxy]:
    """A client of the proxy at an address, which may lack its `http://` and may end in `/v1`."""
    base = url.rstrip("/").removesuffix("/v1")
    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    timeout = aiohttp.ClientTimeout(total=DEADLINE_S, sock_connect=10.0)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        yield Proxy(session, base if "://" in base else f"http://{base}")


async def _last_said(response: aiohttp.ClientResponse) -> _Said:
    """The event of a stream that has its usage. Raises Failed when the stream does not end as it should."""
    last, is_done = _Said(), False
    async with aclosing(read_events(response.content.iter_any())) as events:
        async for event in events:
            if event.data == _DONE:
                is_done = True
                continue
            said = msgspec.json.decode(event.data, type=_Said)
            if said.error is not None:
                raise Failed(f"the stream ended in an error: {said.error.message}")
            last = said if said.usage is not None else last
    if not is_done:
        raise Failed("the stream broke off; see the log of the proxy")
    return last


def _served(said: _Said) -> Served:
    usage, metadata = said.usage, said.router_metadata
    if usage is None or metadata is None:
        raise Failed("the answer has no usage or no router_metadata: is this ModelMuxer's address?")
    cached = usage.prompt_tokens_details or _Cached()
    return Served(
        route=metadata.route,
        model=metadata.selected_model,
        usage=Usage(
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
            cached_input_tokens=cached.cached_tokens,
        ),
        cost_nanos=nanos(Decimal(str(metadata.estimated_cost))),
    )


def _price(rates: _Rates) -> Price:
    return Price(
        Rates(
            input=picos_per_token(rates.input),
            output=picos_per_token(rates.output),
            cached_input=picos_per_token(rates.cached_input),
            cache_write=picos_per_token(rates.cache_write),
        )
    )
