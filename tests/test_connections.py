"""The lean client where aiohttp's session is no measure: its connections, its one timer, what it leaves to the session.

How failures are told apart is tested over both clients in test_upstream.py.
"""

import asyncio
import gzip
import ipaddress
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from muxer.connection import READ_BYTES
from muxer.connections import LeanClient
from muxer.failures import UpstreamBadResponse, UpstreamCut, UpstreamTimeout, UpstreamUnreachable
from muxer.interfaces import HTTPClient, Reply, Timeouts
from muxer.upstream import open_client, open_session
from tests.sockets import OK, Serve, saying, served

PATIENCE_S = 10.0
PATIENT = Timeouts()


class Nobody:
    """Another client, that must not be asked."""

    def post(
        self, url: str, *, headers: Mapping[str, str], body: bytes, timeouts: Timeouts
    ) -> AbstractAsyncContextManager[Reply]:
        raise AssertionError("left to the other client")


@pytest.fixture
async def client() -> AsyncIterator[LeanClient]:
    async with LeanClient(Nobody(), 2) as opened:
        yield opened


async def read(client: HTTPClient, url: str, timeouts: Timeouts = PATIENT, body: bytes = b"{}") -> bytes:
    async with client.post(url, headers={}, body=body, timeouts=timeouts) as reply:
        return await reply.read()


def counting(*answers: bytes) -> tuple[Serve, list[int]]:
    """Answers in order, on as many connections as the client opens; the list has the requests of each."""
    left, requests = iter(answers), []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(0)
        number = len(requests) - 1
        while await reader.readline():
            await reader.readuntil(b"\r\n\r\n{}")
            requests[number] += 1
            writer.write(next(left))

    return serve, requests


@pytest.mark.parametrize(
    ("first", "connections"),
    [
        (OK, [2]),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, [2]),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", [2]),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", [1, 1]),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", [1, 1]),
        (OK + OK, [1, 1]),
    ],
    ids=["length", "continue", "chunked", "close", "HTTP/1.0", "an answer too many"],
)
async def test_a_connection_is_kept_when_nothing_speaks_against_it(
    client: LeanClient, first: bytes, connections: list[int]
) -> None:
    serve, requests = counting(first, OK)
    async with served(serve) as url:
        assert [await read(client, url), await read(client, url)] == [b"hello", b"hello"]
    assert requests == connections


async def test_an_idle_connection_that_the_server_closed_is_not_used(client: LeanClient) -> None:
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(OK)
        writer.close()
        await writer.wait_closed()
        closed.set()

    async with served(serve) as url, asyncio.timeout(PATIENCE_S):
        for _ in range(3):
            assert await read(client, url) == b"hello"
            await closed.wait()
            while client.idle_count():
                await asyncio.sleep(0)  # until the loop has told the client


async def test_bytes_between_two_requests_end_a_connection(client: LeanClient) -> None:
    more = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(OK)
        await more.wait()
        writer.write(OK)
        assert await reader.read() == b""

    async with served(serve) as url, asyncio.timeout(PATIENCE_S):
        assert await read(client, url) == b"hello"
        more.set()
        while client.idle_count():
            await asyncio.sleep(0)


async def test_who_stops_waiting_hangs_up(client: LeanClient) -> None:
    arrived, left = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        arrived.set()
        try:
            await reader.read()
        finally:
            left.set()

    async with served(serve) as url, asyncio.timeout(PATIENCE_S):
        for _ in range(3):  # more than there are slots
            task = asyncio.create_task(read(client, url))
            await arrived.wait()
            task.cancel()
            await left.wait()
            with pytest.raises(asyncio.CancelledError):
                await task
            arrived.clear()
            left.clear()


async def test_more_calls_than_connections_wait_for_one_as_long_as_for_a_connection(client: LeanClient) -> None:
    serve, requests = counting(OK, OK, OK)
    async with served(serve) as url:
        async with (
            client.post(url, headers={}, body=b"{}", timeouts=PATIENT),
            client.post(url, headers={}, body=b"{}", timeouts=PATIENT),
        ):
            with pytest.raises(UpstreamUnreachable, match="in use"):
                await read(client, url, Timeouts(connect_s=0.01))
        assert await read(client, url) == b"hello"
    assert sorted(requests) == [1, 2]


async def test_a_model_may_think_longer_than_a_stream_may_pause(client: LeanClient) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        await asyncio.sleep(0.1)
        writer.write(OK)

    async with served(serve) as url:
        assert await read(client, url, Timeouts(idle_s=0.05)) == b"hello"


async def test_bytes_put_the_deadline_off_up_to_the_last(client: LeanClient) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not reader.at_eof():
            writer.write(b"x")
            await asyncio.sleep(0.02)

    async with served(serve) as url:
        begun = asyncio.get_running_loop().time()
        with pytest.raises(UpstreamTimeout):
            await read(client, url, Timeouts(idle_s=5, total_s=0.3))
        assert asyncio.get_running_loop().time() - begun >= 0.3


async def test_an_answer_waits_for_a_slow_reader_and_is_not_late(client: LeanClient) -> None:
    size = 40 * READ_BYTES
    async with (
        served(saying(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size, b"x" * size, then_wait=True)) as url,
        client.post(url, headers={}, body=b"{}", timeouts=Timeouts(idle_s=0.1)) as reply,
    ):
        await asyncio.sleep(0.3)
        assert len(await reply.read()) == size


async def test_an_answer_before_the_request_was_sent_ends_the_connection(client: LeanClient) -> None:
    refused = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nhello"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(refused)
        await writer.drain()
        await left.wait()

    left = asyncio.Event()
    async with served(serve) as url, asyncio.timeout(PATIENCE_S):
        body = b"x" * 50_000_000
        assert await read(client, url, body=body) == b"hello"
        assert client.idle_count() == 0
        left.set()


async def test_an_answer_that_is_compressed_unasked_is_unpacked_and_one_that_is_not_refused(client: LeanClient) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    packed = gzip.compress(b"hello " * 100_000)
    async with served(saying(head % len(packed) + packed)) as url:
        assert await read(client, url) == b"hello " * 100_000
    async with served(saying(head % 5 + b"hello")) as url:
        with pytest.raises(UpstreamBadResponse, match="valid HTTP"):
            await read(client, url)


async def test_an_answer_up_to_the_end_of_its_connection_is_whole_unless_that_was_reset(client: LeanClient) -> None:
    async with served(saying(b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo")) as url:
        assert await read(client, url) == b"hello"

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhel")
        await writer.drain()
        await arrived.wait()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    arrived = asyncio.Event()
    async with served(reset) as url:
        with pytest.raises(UpstreamCut):
            async with client.post(url, headers={}, body=b"{}", timeouts=PATIENT) as reply:
                async for _ in reply.chunks():
                    arrived.set()


@pytest.mark.parametrize("name", ["x", "x: y\r\nz"])
async def test_no_header_breaks_out(client: LeanClient, name: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        client.post("http://127.0.0.1:9/", headers={name: "a\r\nb: c"}, body=b"", timeouts=PATIENT)


async def test_the_request_is_what_a_server_of_today_expects(client: LeanClient) -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            heard.append(await reader.readuntil(b"\r\n\r\n{}"))
            writer.write(OK)

    async with served(serve) as url:
        async with client.post(f"{url}v1/ä?q=1", headers={"X-Key": "k"}, body=b"{}", timeouts=PATIENT) as reply:
            await reply.read()
        async with client.post(url, headers={"host": "other"}, body=b"{}", timeouts=PATIENT) as reply:
            await reply.read()
    host = url.removeprefix("http://").rstrip("/").encode()
    assert heard == [
        b"POST /v1/%C3%A4?q=1 HTTP/1.1\r\nHost: " + host + b"\r\nX-Key: k\r\nContent-Length: 2\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nhost: other\r\nContent-Length: 2\r\n\r\n{}",
    ]


async def test_what_needs_a_proxy_goes_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readline())
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(OK)

    async with served(proxy) as url, open_client() as client:
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert await read(client, "http://vendor.invalid/v1") == b"hello"
        assert await read(client, url) == b"hello"
    assert heard == [b"POST http://vendor.invalid/v1 HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n"]


@pytest.mark.parametrize("header", ["Transfer-Encoding", "expect", "Connection"])
async def test_who_frames_a_request_is_left_to_the_session(client: LeanClient, header: str) -> None:
    with pytest.raises(AssertionError, match="left to the other client"):
        client.post("http://127.0.0.1:9/", headers={header: "x"}, body=b"", timeouts=PATIENT)
    with pytest.raises(AssertionError, match="left to the other client"):
        client.post("http://me:secret@127.0.0.1:9/", headers={}, body=b"", timeouts=PATIENT)


@asynccontextmanager
async def certified(folder: Path) -> AsyncIterator[ssl.SSLContext]:
    """A server's side of TLS for 127.0.0.1, with its certificate in `folder`/cert.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "vendor.example")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
    signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    pem, private = folder / "cert.pem", folder / "key.pem"
    pem.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    encoded = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private.write_bytes(key.private_bytes(*encoded))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    yield context


async def test_tls_is_checked_and_its_connections_are_kept(
    client: LeanClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve, requests = counting(OK, OK)
    async with certified(tmp_path) as tls, served(serve, tls) as url:
        with pytest.raises(UpstreamUnreachable, match="certificate is not trusted"):
            await read(client, url)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        async with LeanClient(Nobody(), 2) as trusting:
            assert [await read(trusting, url), await read(trusting, url)] == [b"hello", b"hello"]
            other = url.replace("127.0.0.1", "localhost")
            with pytest.raises(UpstreamUnreachable, match="certificate is not trusted"):
                await read(trusting, other)
    assert requests[-1] == 2


async def test_the_end_of_a_client_drops_its_connections() -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(OK)
        await reader.read()
        ended.set()

    async with served(serve) as url, asyncio.timeout(PATIENCE_S):
        async with open_session() as session, LeanClient(session, 1) as client:
            assert await read(client, url) == b"hello"
        await ended.wait()
