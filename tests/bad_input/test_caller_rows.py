"""RELIABILITY 2, B41 to B49: who is nobody, or may not. What other files prove is listed in `proven.py`."""

import pytest

from tests.bad_input.sending import BODY, KEY, Row, chat, get, prove
from tests.proxy import OpenProxy

MODELS = b"/v1/models"


def _nobody(id: str, *headers: bytes, path: bytes = MODELS) -> Row:
    head = b"\r\nWWW-Authenticate: Bearer"
    return Row(id=id, sent=get(path, *headers), status=401, code="invalid_api_key", warns=True, head=head)


def _denied(id: str, method: bytes, path: bytes) -> Row:
    sent = get(path, b"x-api-key: sk-alice", method=method)
    return Row(id=id, sent=sent, status=403, code="permission_denied", warns=True)


ROWS = [
    _nobody("B41-no-key"),
    _nobody("B41-basic", b"Authorization: Basic sk-alice"),
    _nobody("B41-empty", b"Authorization: Bearer "),
    _nobody("B41-two-keys", b"Authorization: Bearer sk-alice", b"Authorization: Bearer sk-bob"),
    _nobody("B41-the-same-key-twice", b"x-api-key: sk-alice", b"x-api-key: sk-alice"),
    _nobody("B41-in-the-query", path=MODELS + b"?api_key=sk-alice&key=sk-alice"),
    _nobody("B42-a-part-of-a-key", b"x-api-key: sk-alic"),
    _nobody("B42-a-key-and-more", b"x-api-key: sk-alice1"),
    _nobody("B43-long", b"x-api-key: " + b"a" * 8_000),
    _nobody("B43-sql", b"x-api-key: sk-alice'--"),
    _nobody("B43-no-text", b"x-api-key: \xff\xed\xa0\x80"),
    Row(
        id="B43-too-long",  # of a megabyte, most is never read, so the answer may be lost to a reset
        sent=get(MODELS, b"x-api-key: " + b"a" * 60_000),
        status=431,
        code="headers_too_large",
    ),
    Row(id="B43-nul", sent=get(MODELS, b"x-api-key: sk-\0alice"), status=400, code="bad_http", warns=True),
    Row(
        id="B45-forwarded",
        sent=chat(BODY, b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-Host: evil", b"Forwarded: for=::1;host=evil"),
        status=200,
    ),
    _nobody("B45-forwarded-is-no-key", b"X-Forwarded-For: 127.0.0.1", b"X-Real-IP: 127.0.0.1"),
    _nobody("B46-listed-in-connection", b"Connection: authorization", b"Proxy-Authorization: Bearer sk-alice"),
    _nobody("B46-cookie", b"Cookie: x-api-key=sk-alice; Authorization=sk-alice"),
    _denied("B48-list-keys", b"GET", b"/admin/keys"),
    _denied("B48-make-a-key", b"POST", b"/admin/keys"),
    _denied("B48-reload", b"POST", b"/admin/reload"),
    Row(
        id="B48-host-of-this-machine",
        sent=b"GET /admin/keys HTTP/1.1\r\nConnection: close\r\nHost: 127.0.0.1/#\r\n" + KEY + b"\r\n",
        status=403,
        code="permission_denied",
        warns=True,
    ),
    Row(id="B49-a-guess", sent=get(b"/v1/requests/req_1", b"x-api-key: sk-bob"), status=404, code="not_found"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
async def test_bad_input(proxy: OpenProxy, row: Row) -> None:
    await prove(await proxy(), row)


async def test_bad_input_b49_a_record_of_another_is_like_none(proxy: OpenProxy) -> None:
    opened = await proxy()
    mine = (await opened.chat()).headers["x-muxer-request-id"]
    told = [await opened.get(f"/v1/requests/{id}", "sk-bob") for id in (mine, "req_1")]
    assert told[0] == told[1] and told[0]["error"]["code"] == "not_found"
    assert (await opened.get(f"/v1/requests/{mine}"))["id"] == mine
