"""What rows of RELIABILITY 2 are proven with: the bytes of a request, what is answered and logged, and what is left."""

import asyncio

import msgspec
from msgspec import Struct

from tests.proxy import PATIENCE_S, Proxy

HOST = b"Host: x\r\n"
KEY = b"x-api-key: sk-alice\r\n"
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + KEY
JSON = b"Content-Type: application/json\r\n"
USER = b'"messages":[{"role":"user","content":"Hi"}]'
BODY = b"{" + USER + b"}"


class Answered(Struct, frozen=True):
    """An answer as it came over the wire, and what came after it."""

    status: int
    head: bytes
    body: bytes

    @property
    def code(self) -> str:
        """The code of its error; its four keys are looked at, too."""
        error = msgspec.json.decode(self.body)["error"]
        assert error.keys() >= {"message", "type", "param", "code"}
        assert len(error["message"]) < 300 and "Traceback" not in error["message"]
        return str(error["code"])


class Row(Struct, frozen=True, kw_only=True):
    """One input, with what must come of it. `warns`: the log has it as a matter of security."""

    id: str
    sent: bytes
    status: int
    code: str = ""
    warns: bool = False
    head: bytes = b""


def chat(body: bytes, *headers: bytes, type: bytes = JSON) -> bytes:
    """A chat request of this body, by alice, the last of its connection."""
    lines = b"".join(one + b"\r\n" for one in headers)
    return CHAT + type + b"Connection: close\r\nContent-Length: %d\r\n%s\r\n" % (len(body), lines) + body


def get(path: bytes, *headers: bytes, method: bytes = b"GET") -> bytes:
    """A request without a body, the last of its connection."""
    lines = b"".join(one + b"\r\n" for one in headers)
    return method + b" " + path + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n" + lines + b"\r\n"


async def exchange(port: int, sent: bytes) -> bytes:
    """Sends these bytes over a connection of their own, and reads all that comes back until it is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await reader.read()
    finally:
        writer.close()


def answered(data: bytes) -> Answered:
    """The bytes as one answer."""
    head, _, body = data.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100 "):
        head, _, body = body.partition(b"\r\n\r\n")
    return Answered(int(head.split(b" ", 2)[1]), head, body)


async def prove(proxy: Proxy, row: Row) -> None:
    """Sends it; then the answer, the log and the books must be as the row says, and the next good request is served."""
    answer = answered(await exchange(proxy.port, row.sent))
    assert (answer.status, row.head in answer.head) == (row.status, True), answer
    assert b"\r\nServer: modelmuxer\r\n" in answer.head + b"\r\n"
    events = [(line["event"], line["level"], line.get("code")) for line in proxy.log.lines]
    if row.code:
        assert b"\r\nContent-Type: application/json\r\n" in answer.head + b"\r\n"
        assert answer.code == row.code
        assert events == [("refused", "warning" if row.warns else "info", row.code)]
        assert not proxy.upstream.calls
    await nothing_is_left(proxy)


async def nothing_is_left(proxy: Proxy) -> None:
    """All that was sent upstream is charged, nothing stays held, and a good request over a new connection is served."""
    accounts, calls = await proxy.accounts(), len(proxy.upstream.calls)
    assert (accounts.held, accounts.presumed) == (0, 0)
    assert accounts.bill == accounts.spent == accounts.recorded
    assert answered(await exchange(proxy.port, chat(BODY))).status == 200
    assert len(proxy.upstream.calls) == calls + 1
    assert not [line for line in proxy.log.lines if line["event"] == "unforeseen"]
