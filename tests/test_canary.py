"""Twelve planted secrets and planted prompts, and all that goes wrong: no byte that is emitted has one of them."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path

import aiohttp
import msgspec

from muxer.testing import Behaviour, Cut, Fail, Raw, Say, ScriptedUpstream
from tests.bad_input import test_body_rows, test_caller_rows, test_http_rows
from tests.bad_input.sending import BODY, chat, exchange, get

SECRETS = {
    "key of a provider": "cnry-openai-0001",
    "key of another": "cnry-mistral-002",
    "header of a provider": "cnry-header-0003",
    "key of a user": "cnryusr4",  # as long as the key it stands for in the rows
    "key of another user": "cnrur5",
    "key of an admin": "cnradm6",
    "a wrong key": "cnry-wrong-00007",
    "a key in the query": "cnry-query-00008",
    "a cookie": "cnry-cookie-0009",
    "a password": "cnry-password-10",
    "a key in a body": "cnry-in-body-011",
    "what a plugin is given": "cnry-plugin-0012",
}
"""One more is made by the proxy itself."""
LEAKY = """
import asyncio, logging
from contextlib import asynccontextmanager
from msgspec import Struct
from muxer import GuardRefused, Kind, hookimpl

class Settings(Struct, frozen=True):
    token: str

class Leaky:
    def __init__(self, token):
        self._token = token

    async def before(self, asked):
        said = asked.request.messages[0].text
        logging.getLogger("leaky").error("%s for %s", said, self._token)
        try:
            raise RuntimeError(f"{said} {self._token}")
        except RuntimeError:
            logging.getLogger("leaky").exception("failed")
        asyncio.create_task(self._lost(said))
        await asyncio.sleep(0)
        if "refuse" in said:
            raise GuardRefused(f"not with {self._token}")

    async def _lost(self, said):
        raise RuntimeError(f"{said} {self._token}")

@asynccontextmanager
async def open_leaky(settings, context):
    context.log("warning", "leaky", token=settings.token, all=[{"token": settings.token}])
    yield Leaky(settings.token)

@asynccontextmanager
async def open_nothing(settings, context):
    raise RuntimeError(f"cannot reach http://x:{settings.token}@y/?key={settings.token}")
    yield

@hookimpl
def register_guards():
    return [Kind("leaky", Settings, open_leaky)]

@hookimpl
def register_sinks():
    return [Kind("leaky", Settings, open_nothing)]
"""
PROMPTS = ("cnry-prompt-said", "cnry-tool-result", "cnry-answer-said", "cnry-in-metadata")
ROUTING = """\
version: 1
plugins: [openai, mistral, sqlite, jsonl, prometheus, heuristics, litellm_compat, leaky]
store: {kind: sqlite, path: muxer.db}
sinks: [{kind: jsonl}, {kind: leaky, token: "${K12}"}]
guards: [{kind: leaky, token: "${K12}"}]
providers:
  main: {kind: openai, api_key: "${K1}", base_url: "UPSTREAM/v1", headers: {x-team: "${K3}"}, idle_timeout_s: 2}
  other: {kind: mistral, api_key: "${K2}", base_url: "UPSTREAM/v1", idle_timeout_s: 2}
models:
  small: {provider: main, name: small-1, price_usd_per_million: {input: 1, output: 2}}
  large: {provider: other, name: large-1, price_usd_per_million: {input: 10, output: 20}}
MODELS
routes: [{name: default, use: [small, large]}]
limits: [{per: user, daily_usd: 100}]
keys:
  - {name: alice-key, secret: "${K4}", user: alice}
  - {name: bob-key, secret: "${K5}", user: bob}
  - {name: root-key, secret: "${K6}", user: root, role: admin}
"""
STANDS_FOR = {b"sk-alice": "key of a user", b"sk-bob": "key of another user", b"sk-root": "key of an admin"}
WAITED_FOR = ("body_timeout", "headers_timeout", "body_too_large")
JSON = {"Content-Type": "application/json"}


def _models(count: int) -> str:
    """A model of each provider for each failure, since one that failed is set aside for a while."""
    return "\n".join(
        f"  {provider}-{number}: {{provider: {provider}, name: m-{number}, price: free}}"
        for provider in ("main", "other")
        for number in range(count)
    )


def _quoting() -> list[Behaviour]:
    """What an upstream may do with what it was sent: say it back, wherever it can."""
    words = " ".join([*list(SECRETS.values())[:3], *PROMPTS[:2]])
    error = msgspec.json.encode({"error": {"message": f"wrong: {words}", "code": words, "type": words}})
    page = f"<html>{words} http://x/?key={SECRETS['key of a provider']}</html>".encode()
    word = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
    return [
        *(Fail(status, body=error) for status in (400, 401, 403, 404, 422, 500, 503)),
        Fail(429, {"Retry-After": SECRETS["key of a provider"], "x-said": words}, error),
        Fail(302, {"Location": f"http://127.0.0.1:9/?key={SECRETS['key of a provider']}"}),
        Raw(pieces=(page,), status=502, headers={"Content-Type": "text/html"}),
        Raw(pieces=(page,), headers={"Content-Type": "text/html"}),
        Raw(pieces=(error,), headers=JSON),
        Raw(pieces=(b"data: " + error + b"\n\n",)),
        Raw(pieces=(word, b"data: " + error + b"\n\n")),
        Raw(pieces=(word, b"data: {" + words.encode() + b"\n\n")),
        Cut(after_bytes=100, then=Say(text="one two three four")),
        Cut(),
    ]


class _Emitted:
    """Everything that came out, by where."""

    def __init__(self, folder: Path, url: str, session: aiohttp.ClientSession) -> None:
        self.folder = folder
        self.url = url
        self.port = int(url.rpartition(":")[2])
        self.session = session
        self.said: dict[str, bytes] = {}

    async def asks(self, what: str, sent: bytes) -> None:
        """Sends these bytes, the keys in them being the planted ones."""
        for key, name in STANDS_FOR.items():
            sent = sent.replace(key, SECRETS[name].encode())
        try:
            self.said[what] = await exchange(self.port, sent)
        except ConnectionError:
            self.said[what] = b""  # it was closed before it was read

    async def gets(self, path: str, key: str) -> None:
        async with self.session.get(self.url + path, headers={"x-api-key": SECRETS[key]}) as response:
            self.said[f"{path} for {key}"] = repr(response.headers).encode() + await response.read()

    def found(self, secrets: dict[str, str], prompts: Sequence[str]) -> list[tuple[str, str]]:
        """Which secret was seen where, in answers and in files; prompts may come back to who sent them."""
        files = {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}
        files.pop(str(self.folder / "routing.yaml"))
        assert {Path(name).name for name in files} >= {"log", "muxer.db", "requests.jsonl"}
        kept = {**files, **{place: data for place, data in self.said.items() if place.startswith("/")}}
        seen = [
            (name, at)
            for at, data in {**self.said, **files}.items()
            for name, one in secrets.items()
            if one.encode() in data
        ]
        return seen + [(prompt, at) for at, data in kept.items() for prompt in prompts if prompt.encode() in data]


@asynccontextmanager
async def _running(folder: Path, upstream: ScriptedUpstream) -> AsyncIterator[_Emitted]:
    """`muxer serve` with all that the secrets stand in, at its most talkative."""
    (folder / "routing.yaml").write_text(
        ROUTING.replace("UPSTREAM", upstream.url).replace("MODELS", _models(2 * len(_quoting())))
    )
    (folder / "leaky.py").write_text(LEAKY)
    planted = {f"K{number}": secret for number, secret in enumerate(SECRETS.values(), 1)}
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-X", "dev", "-m", "muxer", "serve", "--port", "0", cwd=folder,
            env={"PATH": os.environ["PATH"], "DEBUG": "true", **planted}, stdout=log, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        banner = b""
        while b"-d '" not in banner:
            line = await process.stderr.readline()
            assert line, banner
            banner += line
        url = "http" + banner.decode().partition("listening on http")[2].split()[0]
        try:
            async with aiohttp.ClientSession() as session:
                yield _Emitted(folder, url, session)
        finally:
            process.terminate()
            (folder / "stderr").write_bytes(banner + await process.stderr.read())
            assert await process.wait() == 0


async def _everything(emitted: _Emitted, upstream: ScriptedUpstream) -> None:
    """All of RELIABILITY 2 that can be sent without waiting, and upstreams that say back what they were sent."""
    tables = [row for table in (test_http_rows, test_body_rows, test_caller_rows) for row in table.ROWS]
    for row in tables:
        if row.code not in WAITED_FOR and len(row.sent) < 1_000_000:
            await emitted.asks(row.id, row.sent)
    said, result, _, label = PROMPTS
    messages = [
        {"role": "user", "content": said},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call-1", "type": "function", "function": {"name": "look", "arguments": f'{{"at":"{result}"}}'}}
        ]},
        {"role": "tool", "tool_call_id": "call-1", "content": result},
    ]  # fmt: skip
    for number, (behaviour, stream) in enumerate(product(_quoting(), (False, True))):
        for provider in ("main", "other"):
            upstream.default = behaviour
            body = {"messages": messages, "stream": stream, "model": f"{provider}-{number}", "max_tokens": 50}
            await emitted.asks(f"{provider} {number}", chat(msgspec.json.encode({**body, "metadata": {"a": label}})))
    upstream.default = Say()
    wrong, query, cookie, password, in_body = list(SECRETS.values())[6:11]
    await emitted.asks("guard", chat(b'{"messages":[{"role":"user","content":"refuse %s"}]}' % said.encode()))
    assert b"not with ***" in emitted.said["guard"]
    await emitted.asks("wrong", get(b"/v1/models", b"x-api-key: " + wrong.encode()))
    await emitted.asks("query", get(b"/v1/models?key=" + query.encode()))
    await emitted.asks("query of a record", get(b"/v1/requests/x?api_key=" + query.encode()))
    await emitted.asks("cookie", get(b"/v1/models", b"Cookie: session=" + cookie.encode()))
    await emitted.asks("basic", get(b"/v1/models", b"Authorization: Basic " + password.encode()))
    await emitted.asks("proxy", get(b"/v1/models", b"Proxy-Authorization: Basic " + password.encode()))
    await emitted.asks("body", chat(b'{"messages":[{"role":"user","content":"a"}],"api_key":"%s"}' % in_body.encode()))


READABLE = (
    "/metrics",
    "/stats",
    "/user/stats",
    "/providers",
    "/health",
    "/readyz",
    "/openapi.json",
    "/v1/models",
    "/admin/keys",
    "/spend/logs",
)


async def test_no_secret_and_no_prompt_leaves_but_to_whom_it_belongs(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream:
        async with _running(tmp_path, upstream) as emitted:
            admin = {"x-api-key": SECRETS["key of an admin"]}
            async with emitted.session.post(f"{emitted.url}/admin/keys", json={"name": "ci"}, headers=admin) as made:
                made_key = (await made.json())["key"]
            await emitted.asks("made", chat(BODY).replace(b"sk-alice", made_key.encode()))
            await _everything(emitted, upstream)
            for path in READABLE:
                await emitted.gets(path, "key of an admin")
                await emitted.gets(path, "key of a user")
        secrets = SECRETS | {"a key that was made": made_key}
        told = (tmp_path / "log").read_bytes()
        for event in ("leaky", "library", "unforeseen", "component_failed", "component_left_out"):
            assert b'"event":"%s"' % event.encode() in told, event
        found = emitted.found(secrets, PROMPTS)
        assert not found, found
        ours = (*list(SECRETS)[3:], "a key that was made")
        for call in upstream.calls:
            sent = repr(call.headers).encode() + msgspec.json.encode(call.body)
            assert not [name for name in ours if secrets[name].encode() in sent]
        assert len(upstream.calls) > 50
