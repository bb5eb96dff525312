"""RELIABILITY 2, B1 to B16: what is no HTTP request, too large, too slow, or goes nowhere."""

import asyncio

import pytest

from muxer.edge import Patience
from muxer.testing import Say
from tests.bad_input.sending import (
    BODY,
    CHAT,
    HOST,
    JSON,
    KEY,
    Row,
    answered,
    chat,
    exchange,
    get,
    nothing_is_left,
    prove,
)
from tests.proxy import PATIENCE_S, OpenProxy

BRIEF = Patience(linger_s=0.1)
HASTY = Patience(head_s=0.1, body_s=0.1, linger_s=0.1)
LIVEZ = b"GET /livez HTTP/1.1\r\n" + HOST
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = JSON + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
MANY_HEADERS = b"".join(b"X-%d: a\r\n" % number for number in range(200))
EXPECT = b"Expect: 100-continue\r\n"
TINY_CHUNKS = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY.ljust(64_000)) + b"0\r\n\r\n"
TRAILERS = b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(BODY), BODY, MANY_HEADERS)


def _broken(id: str, sent: bytes) -> Row:
    return Row(id=id, sent=sent, status=400, code="bad_http", warns=True)


def _large(id: str, sent: bytes) -> Row:
    return Row(id=id, sent=sent, status=431, code="headers_too_large")


def _nowhere(id: str, path: bytes) -> Row:
    return Row(id=id, sent=get(path, b"x-api-key: sk-root"), status=404, code="not_found")


def _no_json(id: str, kind: bytes) -> Row:
    return Row(id=id, sent=chat(BODY, type=kind + b"\r\n"), status=415, code="unsupported_media_type")


def _packed(kind: bytes) -> Row:
    sent = chat(BODY, b"Content-Encoding: " + kind)
    return Row(id=f"B8-{kind.decode()}", sent=sent, status=415, code="encoding_unsupported", warns=True)


def _no_method(id: str, sent: bytes, head: bytes = b"\r\nAllow: ") -> Row:
    return Row(id=id, sent=sent, status=405, code="method_not_allowed", head=head)


ROWS = [
    _broken("B1-length-and-chunked", CHAT + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    _broken("B1-two-lengths", CHAT + LENGTH + b"Content-Length: 5\r\n\r\n" + BODY),
    _broken("B1-the-same-length-twice", CHAT + LENGTH + LENGTH + b"\r\n" + BODY),
    _broken("B1-xchunked", CHAT + b"Transfer-Encoding: xchunked\r\n\r\n"),
    _broken("B1-chunked-and-more", CHAT + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    _broken("B1-folded-line", LIVEZ + b"X: a\r\n b\r\n\r\n"),
    _broken("B1-bare-line-feeds", b"GET /livez HTTP/1.1\nHost: x\n\n"),
    _broken("B1-nul-in-a-name", LIVEZ + b"X\0: a\r\n\r\n"),
    _broken("B1-nul-in-a-value", LIVEZ + b"X: a\0b\r\n\r\n"),
    _broken("B1-space-after-a-name", LIVEZ + b"X : a\r\n\r\n"),
    Row(id="B2-version-0.9", sent=b"GET /livez\r\n\r\n", status=505, code="http_version"),
    Row(id="B2-version-2.0", sent=b"GET /livez HTTP/2.0\r\nHost: x\r\n\r\n", status=505, code="http_version"),
    _broken("B2-no-host", b"GET /livez HTTP/1.1\r\n\r\n"),
    _broken("B2-two-hosts", LIVEZ + HOST + b"\r\n"),
    _broken("B3-absolute-form", b"GET http://evil/livez HTTP/1.1\r\nHost: x\r\n\r\n"),
    _broken("B3-asterisk-form", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"),
    Row(id="B3-host-with-a-path", sent=b"GET /livez HTTP/1.0\r\nHost: a/#\r\n\r\n", status=200),
    Row(id="B3-host-with-a-query", sent=b"GET /livez HTTP/1.0\r\nHost: a/?\r\n\r\n", status=200),
    _large("B4-long-header", LIVEZ + b"X: " + b"a" * 70_000 + b"\r\n\r\n"),
    _large("B4-many-headers", LIVEZ + MANY_HEADERS + b"\r\n"),
    _large("B4-long-line", b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    Row(id="B5-endless-head", sent=LIVEZ + b"X", status=408, code="headers_timeout"),
    Row(id="B6-short-body", sent=CHAT + b"Content-Length: 100\r\n\r\nabc", status=408, code="body_timeout"),
    Row(id="B6-no-chunk", sent=CHAT + b"Transfer-Encoding: chunked\r\n\r\n", status=408, code="body_timeout"),
    Row(id="B7-long-body", sent=CHAT + b"Content-Length: 100000000\r\n\r\n", status=413, code="body_too_large"),
    *map(_packed, (b"gzip", b"br", b"zstd", b"deflate")),
    Row(id="B10-tiny-chunks", sent=CHAT + CHUNKED + TINY_CHUNKS, status=200),
    Row(id="B10-chunk-extensions", sent=CHAT + CHUNKED + b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY), status=200),
    _broken("B10-no-size", CHAT + CHUNKED + b"zz\r\n"),
    _broken("B10-negative-size", CHAT + CHUNKED + b"-1\r\n"),
    Row(id="B11-continue-then-nothing", sent=CHAT + LENGTH + EXPECT + b"\r\n", status=408, code="body_timeout"),
    Row(id="B11-unknown", sent=CHAT + LENGTH + b"Expect: dance\r\n\r\n", status=417, code="expectation_failed"),
    _no_method("B13-get", get(b"/v1/chat/completions"), b"\r\nAllow: POST"),
    _no_method("B13-trace", get(b"/livez", method=b"TRACE")),
    _no_method("B13-unknown", get(b"/livez", method=b"DANCE")),
    _broken("B13-connect", b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n"),
    _nowhere("B14-dots", b"/v1/../admin/keys"),
    _nowhere("B14-escaped-dots", b"/v1/%2e%2e%2fadmin/keys"),
    _nowhere("B14-two-slashes", b"//admin/keys"),
    _nowhere("B14-parameter", b"/admin/keys;x"),
    _nowhere("B14-long", b"/" + b"a" * 4_000),
    _no_json("B15-text", b"Content-Type: text/plain"),
    _no_json("B15-multipart", b"Content-Type: multipart/form-data; boundary=x"),
    _no_json("B15-utf-16", b"Content-Type: application/json; charset=utf-16"),
    Row(id="B15-no-type", sent=chat(BODY, type=b""), status=200),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
async def test_bad_input(proxy: OpenProxy, row: Row) -> None:
    await prove(await proxy(patience=HASTY if row.code.endswith("_timeout") else BRIEF), row)


@pytest.mark.parametrize("trailers", [TRAILERS, TRAILERS * 100], ids=["B10-trailers", "B10-endless-trailers"])
async def test_what_follows_a_body_is_bounded(proxy: OpenProxy, trailers: bytes) -> None:
    opened = await proxy(patience=BRIEF)
    assert answered(await exchange(opened.port, CHAT + CHUNKED + trailers)).status in (200, 400, 431)
    await nothing_is_left(opened)


async def test_bad_input_b7_a_body_that_grows_is_stopped_at_the_limit(proxy: OpenProxy) -> None:
    opened = await proxy(patience=BRIEF, server="{max_body_bytes: 1000}")
    answer = answered(await exchange(opened.port, CHAT + CHUNKED + b"fff\r\n" + b" " * 4_095 + b"\r\n"))
    assert (answer.status, answer.code) == (413, "body_too_large")
    await nothing_is_left(opened)


async def test_bad_input_b9_pipelined_requests_are_answered_in_order(proxy: OpenProxy) -> None:
    opened = await proxy()
    many = [b"GET /v1/models/%d HTTP/1.1\r\n" % number + HOST + KEY + b"\r\n" for number in range(1_000)]
    data = await exchange(opened.port, b"".join(many) + get(b"/livez"))
    told = [line["path"] for line in opened.log.lines if line["event"] == "refused"]
    assert (data.count(b"HTTP/1.1 404 "), data.count(b"HTTP/1.1 200 ")) == (1_000, 1)
    assert told == [f"/v1/models/{number}" for number in range(1_000)]
    await nothing_is_left(opened)


async def test_bad_input_b12_what_follows_an_upgrade_is_not_read(proxy: OpenProxy) -> None:
    opened = await proxy(Say())
    upgrade = CHAT + LENGTH + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    data = await exchange(opened.port, upgrade + BODY + LIVEZ + b"\r\n")
    assert data.startswith(b"HTTP/1.1 200 OK") and data.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in data
    await nothing_is_left(opened)


async def test_bad_input_b6_a_caller_that_leaves_in_its_body_is_one_line(proxy: OpenProxy) -> None:
    opened = await proxy()
    _, writer = await asyncio.open_connection("127.0.0.1", opened.port)
    writer.write(CHAT + b"Content-Length: 100\r\n\r\nabc")
    await writer.drain()
    writer.close()
    line = await opened.log.wait_for("refused")
    assert (line["status"], line["code"]) == (499, "client_gone")
    await nothing_is_left(opened)


async def test_a_body_that_comes_after_its_head_can_be_read_twice(proxy: OpenProxy) -> None:
    opened = await proxy(plugins="[openai, sqlite, litellm_compat]")
    reader, writer = await asyncio.open_connection("127.0.0.1", opened.port)
    head = b"POST /key/generate HTTP/1.1\r\nx-api-key: sk-root\r\nExpect: 100-continue\r\n" + HOST + JSON
    writer.write(head + b"Connection: close\r\nContent-Length: 17\r\n\r\n")
    await reader.readuntil(b"HTTP/1.1 100 Continue\r\n\r\n")
    writer.write(b'{"key_alias":"a"}')
    async with asyncio.timeout(PATIENCE_S):
        answer = answered(await reader.read())
    writer.close()
    assert (answer.status, b'"key_alias":"a"' in answer.body) == (200, True)


async def test_a_slow_head_on_a_connection_that_was_used_ends_too(proxy: OpenProxy) -> None:
    opened = await proxy(patience=HASTY)
    reader, writer = await asyncio.open_connection("127.0.0.1", opened.port)
    writer.write(LIVEZ + b"\r\n")
    await reader.readuntil(b'{"status":"ok"}')
    writer.write(LIVEZ)
    async with asyncio.timeout(PATIENCE_S):
        assert answered(await reader.read()).status == 408
    writer.close()
