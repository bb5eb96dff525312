"""The HTTP client against real sockets: every way a call can fail, told apart by what may have been billed."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Protocol

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from muxer.connection import MAX_ANSWER_BYTES
from muxer.failures import (
    ProviderFailed,
    UpstreamAuth,
    UpstreamBadResponse,
    UpstreamCut,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from muxer.interfaces import HTTPClient, Timeouts
from muxer.upstream import open_client, open_session, raise_for_status, retry_after_s
from tests.sockets import OK, saying, served

QUICK = Timeouts(connect_s=5, first_byte_s=0.1, idle_s=0.1, total_s=5)
PATIENT = Timeouts()


class Ask(Protocol):
    """Asks once and reads the whole answer."""

    async def __call__(
        self, url: str, timeouts: Timeouts = PATIENT, headers: Mapping[str, str] | None = None
    ) -> bytes: ...


@pytest.fixture(params=[open_client, open_session], ids=["lean", "aiohttp"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[HTTPClient]:
    """The client of the proxy, and the one that it leaves some ways to: both must tell failures alike."""
    async with request.param() as opened:
        assert type(opened).__name__ == {open_client: "LeanClient", open_session: "AiohttpClient"}[request.param]
        yield opened


@pytest.fixture
def ask(client: HTTPClient) -> Ask:
    async def ask(url: str, timeouts: Timeouts = PATIENT, headers: Mapping[str, str] | None = None) -> bytes:
        async with client.post(url, headers=headers or {}, body=b"{}", timeouts=timeouts) as reply:
            await raise_for_status(reply, "the vendor")
            return await reply.read()

    return ask


async def test_reads_a_whole_answer(ask: Ask) -> None:
    async with served(saying(OK)) as url:
        assert await ask(url) == b"hello"


async def test_a_refused_connection_was_never_billed(ask: Ask) -> None:
    with pytest.raises(UpstreamUnreachable, match="upstream: Connection refused") as raised:
        await ask("http://127.0.0.1:9/")
    assert raised.value.outcome == "none" and "127.0.0.1" not in raised.value.message


@pytest.mark.parametrize("url", ["http://nobody.invalid/", "http://", "no address", "http://127.0.0.1:99999/"])
async def test_an_address_that_leads_nowhere_was_never_billed(ask: Ask, url: str) -> None:
    with pytest.raises(UpstreamUnreachable) as raised:
        await ask(url)
    assert raised.value.outcome == "none"


@pytest.mark.parametrize(
    ("pieces", "failure"),
    [
        ((), UpstreamCut),
        ((b"HTTP/1.1 200",), UpstreamCut),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",), UpstreamCut),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",), UpstreamCut),
        ((b"SSH-2.0-OpenSSH_9.6\r\n",), UpstreamBadResponse),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",), UpstreamBadResponse),
        ((b"HTTP/1.1 200 OK\r\nx: " + b"x" * 70_000 + b"\r\n\r\n",), UpstreamBadResponse),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",), ProviderFailed),
    ],
    ids=["at once", "in the status", "short body", "in a chunk", "not HTTP", "two lengths", "long header", "bad chunk"],
)
async def test_an_answer_that_is_none_may_have_been_billed(
    ask: Ask, pieces: tuple[bytes, ...], failure: type[ProviderFailed]
) -> None:
    async with served(saying(*pieces)) as url:
        with pytest.raises(failure) as raised:
            await ask(url)
    assert raised.value.outcome == "presumed"


@pytest.mark.parametrize(
    "pieces", [(), (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",)], ids=["before headers", "in the body"]
)
async def test_silence_ends_at_its_deadline_and_may_have_been_billed(ask: Ask, pieces: tuple[bytes, ...]) -> None:
    async with served(saying(*pieces, then_wait=True)) as url:
        with pytest.raises(UpstreamTimeout) as raised:
            await ask(url, QUICK)
    assert raised.value.outcome == "presumed"


@pytest.mark.parametrize(
    "pieces", [(), (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",)], ids=["before headers", "in the body"]
)
async def test_a_connection_that_was_reset_may_have_been_billed(ask: Ask, pieces: tuple[bytes, ...]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        writer.writelines(pieces)
        await writer.drain()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with served(serve) as url:
        with pytest.raises(UpstreamCut) as raised:
            await ask(url)
    assert raised.value.outcome == "presumed"


async def test_an_answer_without_end_is_given_up(ask: Ask) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(MAX_ANSWER_BYTES // 1_000_000 + 1):
            writer.write(b"x" * 1_000_000)
            await writer.drain()

    async with served(serve) as url:
        with pytest.raises(UpstreamBadResponse, match="longer than"):
            await ask(url)


async def test_a_redirect_is_not_followed_and_the_key_not_sent_again(ask: Ask) -> None:
    heard: list[bytes] = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readline())

    async with served(elsewhere) as other:
        moved = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {other}\r\nContent-Length: 0\r\n\r\n".encode()
        async with served(saying(moved)) as url:
            with pytest.raises(UpstreamBadResponse, match="answered 307"):
                await ask(url, headers={"Authorization": "Bearer sk-1"})
    assert heard == []


async def test_compression_is_not_asked_for_and_our_versions_not_told(ask: Ask) -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)

    async with served(serve) as url:
        await ask(url, headers={"Content-Type": "application/json"})
    assert b"Accept-Encoding" not in heard[0] and b"aiohttp" not in heard[0] and b"Python" not in heard[0]


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (400, UpstreamRefused),
        (401, UpstreamAuth),
        (402, UpstreamAuth),
        (403, UpstreamAuth),
        (404, UpstreamRefused),
        (408, UpstreamError),
        (422, UpstreamRefused),
        (429, UpstreamRateLimited),
        (500, UpstreamError),
        (529, UpstreamError),
    ],
)
async def test_a_complete_error_was_not_billed(ask: Ask, status: int, failure: type[ProviderFailed]) -> None:
    body = b'{"error":{"message":"because"}}'
    async with served(saying(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)) as url:
        with pytest.raises(failure, match=f"the vendor answered {status}") as raised:
            await ask(url)
    assert (raised.value.outcome, raised.value.upstream_status) == ("none", status)
    assert ("because" in raised.value.message) == (failure is not UpstreamAuth)


@pytest.mark.parametrize("status", [201, 204, 301, 304])
async def test_a_success_of_another_kind_is_no_answer(ask: Ask, status: int) -> None:
    async with served(saying(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)) as url:
        with pytest.raises(UpstreamBadResponse):
            await ask(url)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error":{"message":"no","code":5}}', ": no"),
        (b'{"error":"no"}', ": no"),
        (b'{"message":"no"}', ": no"),
        (b'{"detail":"no"}', ": no"),
        (
            b'{"detail":[{"loc":["body","x"],"msg":"Extra inputs","input":"me"},{"msg":"no"}]}',
            ": body.x: Extra inputs; no",
        ),
        (b'{"message":{"detail":[{"loc":["body"],"msg":"too long"}]}}', ": body: too long"),
        (b'{"error":{"message":null}}', ""),
        (b'{"error":{"message":"%s"}}' % (b"n" * 10_000), ": " + "n" * 500),
        (b"<html>no</html>", ""),
        (b"", ""),
        (b'"\xff"', ""),
        (b"[" * 100_000, ""),
        (b'{"detail":' + b"[" * 900 + b"]" * 900 + b"}", ""),
    ],
    ids=range(13),
)
async def test_an_upstream_s_own_words_are_passed_on_where_there_are_any(ask: Ask, body: bytes, words: str) -> None:
    async with served(saying(b"HTTP/1.1 400 X\r\nContent-Length: %d\r\n\r\n" % len(body) + body)) as url:
        with pytest.raises(UpstreamRefused) as raised:
            await ask(url)
    assert raised.value.message == "the vendor answered 400" + words


async def test_a_connection_is_used_again_only_after_a_whole_answer(client: HTTPClient) -> None:
    answers = iter([OK, OK, b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", OK])
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        while await reader.readline():
            await reader.readuntil(b"\r\n\r\n{}")
            connections[-1] += 1
            writer.write(next(answers))

    async with served(serve) as url:
        for whole in (True, True, False, True):
            async with client.post(url, headers={}, body=b"{}", timeouts=PATIENT) as reply:
                _ = await reply.read() if whole else b""
    assert connections == [3, 1]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), ("0", 0), ("0.5", 0.5), ("-1", None), ("86400", None), ("soon", None), ("", None), ("nan", None)],
)
def test_a_pause_in_seconds_is_taken_when_it_makes_sense(value: str, seconds: float | None) -> None:
    assert retry_after_s({"Retry-After": value}) == seconds


def test_a_pause_may_be_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    found = retry_after_s({"Retry-After": date})
    assert found is not None and 50 < found <= 60


numbers = st.integers(0, 10**20)
dates = st.builds("{}, {} Jan {} {}:0:0 {}".format, st.sampled_from(["Mon", ""]), numbers, numbers, numbers, st.text())


@given(st.one_of(st.text(), numbers.map(str), dates))
@example("0 JAN 3000000000 0:0 GMT")
def test_no_pause_an_upstream_can_write_breaks_anything(value: str) -> None:
    found = retry_after_s({"Retry-After": value})
    assert found is None or 0 <= found < 86_400
