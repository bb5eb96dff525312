"""What fuzzers feed with bytes: each target raises when what it reads breaks a promise, whatever the bytes are."""

import ast
import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from muxer import json_guard
from muxer.config.contents import Contents
from muxer.config.load import load
from muxer.errors import ConfigInvalid, MuxerError
from muxer.expressions import ExpressionInvalid, compile_expression
from muxer.failures import UpstreamBadResponse
from muxer.plugins import find_kinds
from muxer.sse import Event, EventParser
from muxer.wire.openai_inbound import CHAT

FOLDER = Path(tempfile.gettempdir())
ROUTING = b"""\
version: 1
plugins: [openai]
server: {listen: 127.0.0.1:8000, grace_s: 5}
providers: {main: {kind: openai, api_key: "${KEY}", headers: {x-team: "${TEAM:-none}"}}}
models:
  small: {provider: main, price_usd_per_million: {input: 0.15, output: 1_000}}
  any: {use: [small], order: weighted, weights: [1]}
routes: [{name: r, when: "chars >= 5 and has_tools", use: [any], share: 10%}]
limits: [{per: user, daily_usd: 10, requests_per_minute: 5}]
keys: [{name: a, secret: "${KEY}", expires: 2027-01-31T00:00:00Z}]
"""
VARIABLES: Mapping[str, str] = {"KEY": "cnry-secret-0001"}
KINDS = find_kinds(["openai", "sqlite", "heuristics"])
TYPES: Mapping[str, type] = {"code": float, "chars": int, "stream": bool, "user": str, "tags": tuple}
VALUES: Mapping[str, object] = {"code": 0.5, "chars": 42, "stream": False, "user": "alice", "tags": ("beta", "eu")}


def sse(data: bytes) -> None:
    """The first byte says where the rest is cut: a stream has the same events wherever it is."""
    if not data:
        return
    stream, step = data[1:], data[0] % 7 + 1
    assert _events(stream) == _events(*(stream[at : at + step] for at in range(0, len(stream), step)))


def _events(*pieces: bytes) -> list[Event] | None:
    parser = EventParser()
    try:
        return [event for piece in pieces for event in parser.feed(piece)]
    except UpstreamBadResponse:
        return None


def body(data: bytes) -> None:
    """What the guard lets pass, every reader takes for the same thing, and the format reads or refuses it."""
    try:
        json_guard.check(data)
    except MuxerError as error:
        assert error.message.isprintable() and len(error.message) < 200
        return
    try:
        CHAT.read(data)
    except MuxerError as error:
        assert len(error.message) < 500
        return
    names: list[list[str]] = []
    json.loads(data, object_pairs_hook=lambda pairs: names.append([name for name, _ in pairs]))
    assert all(len(found) == len(set(found)) for found in names), "a name twice"


def routing(data: bytes) -> None:
    """Any file loads, or is refused with places, and no secret is told."""
    try:
        load(FOLDER / "none.yaml", VARIABLES, lambda names, folder: KINDS, table=None, contents=Contents(data))
    except ConfigInvalid as error:
        assert error.faults
        for fault in error.faults:
            assert fault.line >= 0 and VARIABLES["KEY"] not in str(fault)


def expression(data: bytes) -> None:
    """Any text is a condition that means what it means in Python, or is refused with a place in it."""
    source = data.decode("utf-8", "replace")
    try:
        condition = compile_expression(source, TYPES)
    except ExpressionInvalid as error:
        assert 0 <= error.offset <= len(source) and (error.message + error.hint).isprintable()
        return
    names = {"true": True, "false": False, "__builtins__": {}}
    code = compile(ast.parse(re.sub(r"[\n\r\t\f]", " ", source).strip(), mode="eval"), "when", "eval")
    assert condition(VALUES) is bool(eval(code, names, dict(VALUES)))
    assert all(isinstance(found.result, bool) for found in condition.explain(VALUES))


JSON_PIECES = (
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b" ",
        b"\\u0061",
        b"\\ud800",
        b"\\",
        b"\xff",
        b"\xc3\xa9",
        b"null",
        b"true",
    ),
    *(
        b"1",
        b"-",
        b"1e400",
        b"0.5",
        b"NaN",
        b"9" * 50,
        b'"a"',
        b'"model"',
        b'"messages"',
        b'"role"',
        b'"user"',
        b'"content"',
    ),
    *(
        b'"tools"',
        b'"type"',
        b'"function"',
        b'"name"',
        b'"parameters"',
        b'"api_key"',
        b'"metadata"',
        b'"stream"',
        b'"text"',
    ),
    *(
        b'{"role":"user","content":',
        b'"messages":[',
        b'"max_tokens":',
        b'"n":',
        b'"image_url":{"url":"',
        b'{"type":"text","text":',
    ),
)
YAML_PIECES = (
    *(
        b"\n",
        b"  ",
        b" ",
        b": ",
        b"- ",
        b"{",
        b"}",
        b"[",
        b"]",
        b", ",
        b'"',
        b"'",
        b"#",
        b"&a ",
        b"*a",
        b"!!x ",
        b"<<",
        b"---\n",
    ),
    *(
        b"${KEY}",
        b"${NO}",
        b"${file:/none}",
        b"${a:-b}",
        b"$${",
        b"1",
        b"-1",
        b"1e9",
        b"10%",
        b"true",
        b"null",
        b"~",
        b"0x1",
        b"1:30",
    ),
    *(
        b"|\n",
        b">\n",
        b"\t",
        b"\xff",
        b"? ",
        b"version: 1\n",
        b"plugins: [openai]\n",
        b"providers: ",
        b"models: ",
        b"routes: ",
    ),
    *(
        b"limits: ",
        b"keys: ",
        b"server: ",
        b"kind: openai",
        b"use: ",
        b"when: ",
        b"name: ",
        b"provider: ",
        b"per: user",
        b"share: ",
    ),
    *(
        b"daily_usd: ",
        b"secret: ",
        b"role: ",
        b"guards: ",
        b"sinks: ",
        b"store: ",
        b"api_key: ",
        b"headers: ",
        b"order: ",
        b"a",
    ),
)
WHEN_PIECES = (
    *(
        b"code",
        b"chars",
        b"user",
        b"tags",
        b"stream",
        b"true",
        b"false",
        b" and ",
        b" or ",
        b"not ",
        b" in ",
        b" not in ",
        b" if ",
    ),
    *(
        b"(",
        b")",
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b"<",
        b"<=",
        b"==",
        b"!=",
        b"=",
        b">",
        b"'",
        b'"alice"',
        b'"beta"',
        b"1",
        b"0.5",
    ),
    *(
        b"-",
        b"1e9",
        b"1_",
        b"0x1",
        b"b''",
        b"f'",
        b"*",
        b":=",
        b"#",
        b"\\",
        b"\n",
        b" ",
        b"\xc3\xa9",
        b".",
        b"lambda ",
        b" is ",
    ),
)


def of_pieces(target: Callable[[bytes], None], pieces: Sequence[bytes]) -> Callable[[bytes], None]:
    """The target, fed with texts of these pieces, one for each byte: what random bytes hardly ever come to be."""
    return lambda data: target(b"".join(pieces[byte % len(pieces)] for byte in data))


TARGETS: Mapping[str, tuple[Callable[[bytes], None], tuple[bytes, ...]]] = {
    "sse": (sse, (b"\x01data: a\n\n", b"\x02\xef\xbb\xbfevent: x\r\ndata: a\rdata:b\r\n\r\n: c\nid: 1\nretry: 5\n\n")),
    "body": (
        body,
        (
            b'{"model":"a","messages":[{"role":"user","content":"Hi"}],"max_tokens":5,"stream":true}',
            b'{"messages":[{"role":"user","content":[{"type":"text","text":"\\u00e9"},{"type":"image_url","image_url":'
            b'{"url":"data:image/png;base64,AAAA"}}]}],"tools":[{"type":"function","function":{"name":"f",'
            b'"parameters":{"type":"object"}}}],"metadata":{"a":"b"},"n":2,"temperature":1e0}',
        ),
    ),
    "routing": (routing, (ROUTING,)),
    "expression": (
        expression,
        (
            b'code >= 0.2 and (chars < 100 or not stream) and "beta" in tags',
            b'user in ["alice", "bob"] and 1 < chars < 5',
        ),
    ),
    "body_pieces": (of_pieces(body, JSON_PIECES), (bytes(range(len(JSON_PIECES))),)),
    "routing_pieces": (of_pieces(routing, YAML_PIECES), (bytes(range(len(YAML_PIECES))),)),
    "expression_pieces": (
        of_pieces(expression, WHEN_PIECES),
        (bytes((0, 28, 36, 7, 1, 20, 35)), b"\x03\x0a\x0f\x1e\x10"),
    ),
}
"""By name: the target, and what it starts with."""
