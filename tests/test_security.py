"""The security table of RELIABILITY 4: each row of docs/security.md is proven by tests, some of them here."""

import asyncio
import re
import ssl
import warnings
from pathlib import Path

import pytest
from aiohttp import ClientResponse

from muxer.connections import LeanClient
from muxer.failures import UpstreamUnreachable
from muxer.testing import Fail, Raw
from tests.proxy import OpenProxy
from tests.sockets import OK, saying, served
from tests.test_connections import Nobody, certified, read

ROOT = Path(__file__).parent
PAGE = ROOT.parent / "docs" / "security.md"
TO_UPSTREAM = {"accept", "authorization", "content-length", "content-type", "host", "user-agent"}
TO_CALLER = re.compile(
    r"Content-(Type|Length)|Date|Server|Connection|Transfer-Encoding|Cache-Control|Retry-After|retry-after-ms|x-should-retry"
    r"|(x-)?request-id|x-muxer-[a-z-]+|x-ratelimit-[a-z-]+",
    re.IGNORECASE,
)
OFFERED = {
    "Set-Cookie": "session=1",
    "Server": "vendor/1.0",
    "X-Powered-By": "vendor",
    "X-Internal": "10.0.0.1",
    "Location": "http://127.0.0.1:9/",
    "x-request-id": "vendor-1",
    "x-muxer-model": "forged",
    "Content-Security-Policy": "none",
}
FROM_CALLER = {
    "Connection": "keep-alive, x-mine",
    "x-mine": "1",
    "Cookie": "a=1",
    "Proxy-Authorization": "Basic x",
    "OpenAI-Organization": "org",
    "X-Forwarded-Host": "evil.example",
    "Forwarded": "host=evil.example",
    "X-Original-URL": "http://evil.example/",
    "X-Http-Method-Override": "DELETE",
    "Host": "evil.example",
    "User-Agent": "caller/1",
    "Referer": "http://evil.example/",
}
ANSWER = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}'
STREAM = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def places() -> list[str]:
    """The tests that the page names."""
    return re.findall(r"`(\w[\w/]*\.py::\w+)`", PAGE.read_text())


def test_each_row_names_a_test_or_says_why_there_is_none() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| **")]
    assert len(rows) == 13
    assert all("::" in row or "not built" in row for row in rows)


@pytest.mark.parametrize("place", places())
def test_what_the_page_names_is_a_test(place: str) -> None:
    file, _, name = place.partition("::")
    assert f"def {name}(" in (ROOT / file).read_text()


@pytest.mark.parametrize("stream", [False, True])
async def test_the_upstream_is_sent_these_headers_and_no_other(proxy: OpenProxy, stream: bool) -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with served(serve) as url:
        main = f'\n  main: {{kind: openai, api_key: sk-upstream, base_url: "{url}v1", headers: {{x-team: mine}}}}'
        opened = await proxy(providers=main)
        fields = {"model": "small", "messages": [{"role": "user", "content": "a"}], "stream": stream}
        headers = FROM_CALLER | {"x-api-key": "sk-alice"}
        await opened.client.post("/v1/chat/completions?base_url=http://evil.example", json=fields, headers=headers)
    assert heard
    for head in heard:
        first, *lines = head.decode().strip().split("\r\n")
        sent = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        assert first == "POST /v1/chat/completions HTTP/1.1"
        assert sent.keys() - {"x-team"} == TO_UPSTREAM and sent["x-team"] == "mine"
        assert f"http://{sent['host']}/" == url and sent["authorization"] == "Bearer sk-upstream"
        assert "evil" not in head.decode() and "caller" not in head.decode()


async def test_the_caller_is_sent_these_headers_and_no_other(proxy: OpenProxy) -> None:
    json = {**OFFERED, "Content-Type": "application/json"}
    opened = await proxy(
        Raw(pieces=(ANSWER,), headers=json),
        Raw(pieces=(STREAM,), headers={**OFFERED, "Content-Type": "text/event-stream"}),
        *(Fail(status, OFFERED) for status in (400, 401, 404, 422, 429, 500)),
    )
    answers = [await opened.chat(model="small"), await opened.chat(model="small", stream=True)]
    for name in ("large", "small", "large", "small", "large", "small"):
        answers.append(await opened.chat(model=name))
    assert [answer.status for answer in answers[:2]] == [200, 200]
    for answer in answers:
        _is_ours(answer)


def _is_ours(answer: ClientResponse) -> None:
    assert not [name for name in answer.headers if not TO_CALLER.fullmatch(name)]
    assert answer.headers["Server"] == "modelmuxer"
    told = " ".join(answer.headers.values())
    assert not [value for value in OFFERED.values() if value in told]


@pytest.mark.parametrize(("most", "is_served"), [(ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_1, False)])
async def test_an_upstream_of_old_is_not_spoken_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: ssl.TLSVersion, is_served: bool
) -> None:
    async with certified(tmp_path) as tls:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            tls.minimum_version, tls.maximum_version = ssl.TLSVersion.TLSv1, most
        tls.set_ciphers("DEFAULT:@SECLEVEL=0")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        async with served(saying(OK), tls) as url, LeanClient(Nobody(), 1) as client:
            if is_served:
                assert await read(client, url) == b"hello"
                return
            with pytest.raises(UpstreamUnreachable):
                await read(client, url)


async def test_an_answer_that_leads_elsewhere_is_not_followed(proxy: OpenProxy) -> None:
    went: list[bytes] = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        went.append(await reader.read(1))

    async with served(elsewhere) as url:
        statuses = (301, 302, 303, 307, 308)
        opened = await proxy(*(Fail(status, {"Location": url}) for status in statuses))
        for name in ("large", "small", "large", "small", "large"):
            assert (await opened.chat(model=name)).status == 502
    assert not went and len(opened.upstream.calls) == len(statuses)
