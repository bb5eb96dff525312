"""RELIABILITY 2, B17 to B40 and B77 to B79: bodies that make no sense, or none that we serve."""

import msgspec
import pytest

from muxer.testing import Fail, Say
from tests.bad_input.sending import BODY, USER, Row, answered, chat, exchange, nothing_is_left, prove
from tests.proxy import OpenProxy

DEEP = b"[" * 100_000 + b"]" * 100_000
TOOL = b'{"type":"function","function":{"name":"a"}}'
LONG_TOOL = b'{"type":"function","function":{"name":"a","parameters":{"x":"%s"}}}' % (b"x" * 600_000)
TEXT_TOOL = b'{"type":"function","function":{"name":"a","parameters":"x"}}'
SPACED_TOOL = b'{"type":"function","function":{"name":"a b"}}'
MANY_TOKENS = b",".join(b'"%d":1' % number for number in range(2_000))
MANY_LABELS = b",".join(b'"%d":""' % number for number in range(17))
MANY_KEYS = b",".join(b'"%d":1' % number for number in range(300_000))
HOSTS = (
    b"http://169.254.169.254/latest",
    b"file:///etc/passwd",
    b"gopher://127.0.0.1/",
    b"http://[::ffff:127.0.0.1]/",
    b"HTTPS://x/",
    b"//x/",
)


def _row(id: str, body: bytes, code: str, *, status: int = 400, warns: bool = False) -> Row:
    return Row(id=id, sent=chat(body), status=status, code=code, warns=warns)


def _with(id: str, member: bytes, code: str, *, status: int = 400, warns: bool = False) -> Row:
    """A sound request with one more member."""
    return _row(id, b"{%s,%s}" % (USER, member), code, status=status, warns=warns)


def _messages(id: str, value: bytes, code: str = "invalid_messages", *, warns: bool = False) -> Row:
    return _row(id, b'{"messages":%s}' % value, code, warns=warns)


def _image(id: str, url: bytes, code: str, *, warns: bool = False) -> Row:
    part = b'{"type":"image_url","image_url":{"url":"%s"}}' % url
    return _messages(id, b'[{"role":"user","content":[%s]}]' % part, code, warns=warns)


def _model(id: str, name: bytes) -> Row:
    return _with(f"B24-{id}", b'"model":"%s"' % name, "model_not_found", status=404, warns=True)


ROWS = [
    _row("B17-empty", b"", "invalid_json"),
    _row("B17-null", b"null", "invalid_json"),
    _row("B17-list", b"[]", "invalid_json"),
    _row("B17-text", b'"x"', "invalid_json"),
    _row("B17-trailing-garbage", BODY + b"x", "invalid_json"),
    _row("B17-two-documents", BODY + BODY, "invalid_json"),
    _row("B17-trailing-comma", b"{%s,}" % USER, "invalid_json"),
    Row(id="B17-byte-order-mark", sent=chat(b"\xef\xbb\xbf" + BODY), status=200),
    _with("B18-no-text", b'"odd":"\xff"', "invalid_utf8"),
    _with("B18-overlong", b'"odd":"\xc0\xaf"', "invalid_utf8"),
    _with("B18-surrogate-in-utf-8", b'"\xed\xa0\x80":1', "invalid_utf8"),
    _with("B18-half-a-pair", b'"user":"\\ud83d"', "invalid_utf8"),
    _with("B18-half-a-pair-in-a-name", b'"odd":{"\\udc00":1}', "invalid_utf8"),
    Row(id="B18-nul-in-a-text", sent=chat(b"{%s,%s}" % (USER, b'"user":"a\\u0000b"')), status=200),
    _with("B19-duplicate-model", b'"model":"small","model":"large"', "duplicate_key", warns=True),
    _with("B19-duplicate-cap", b'"max_tokens":1,"max_tokens":9', "duplicate_key", warns=True),
    _with("B19-escaped", b'"model":"small","mod\\u0065l":"large"', "duplicate_key", warns=True),
    _messages("B19-in-a-message", b'[{"role":"user","content":"a","content":"b"}]', "duplicate_key", warns=True),
    _with("B20-nan", b'"temperature":NaN', "invalid_number"),
    _with("B20-infinity", b'"odd":[-Infinity]', "invalid_number"),
    _with("B20-1e400", b'"temperature":1e400', "invalid_number"),
    _with("B20-5000-digits", b'"seed":' + b"9" * 5_000, "invalid_number"),
    _with("B20-5-million-digits", b'"odd":' + b"9" * 5_000_000, "invalid_number"),
    _with("B21-deep", b'"odd":%s' % DEEP, "too_complex"),
    _with("B21-a-million-objects", b'"odd":[%s{}]' % (b"{}," * 1_000_000), "too_complex"),
    _with("B21-300-000-keys", b'"odd":{%s}' % MANY_KEYS, "too_complex"),
    _with("B22-api-base", b'"api_base":"http://x"', "forbidden_parameter", warns=True),
    _with("B22-deep", b'"odd":[{"x":{"__proto__":{}}}]', "forbidden_parameter", warns=True),
    _messages("B22-in-a-message", b'[{"role":"user","content":"a","api_key":1}]', "forbidden_parameter", warns=True),
    _with("B24-empty", b'"model":""', "invalid_model"),
    _with("B24-number", b'"model":5', "invalid_model"),
    _with("B24-list", b'"model":[]', "invalid_model"),
    _with("B24-long", b'"model":"%s"' % (b"m" * 10_000), "invalid_model"),
    _model("unknown", b"gpt-9"),
    _model("path", b"../../x"),
    _model("sql", b"' OR 1=1"),
    _model("line-ends", b"a\\r\\nSet-Cookie: x"),
    _model("look-alike", "sm\u0430ll".encode()),
    _model("right-to-left", "\u202esmall".encode()),
    _model("nul", b"\\u0000"),
    _model("no-route", b"auto:"),
    _row("B26-missing", b"{}", "invalid_messages"),
    _messages("B26-none", b"[]"),
    _messages("B26-object", b"{}"),
    _messages("B26-null", b"null"),
    _messages("B26-100-000", b"[%s]" % b",".join([b'{"role":"user","content":"a"}'] * 100_000), "too_complex"),
    _messages("B27-unknown-role", b'[{"role":"wizard"}]'),
    _messages("B27-no-role", b'[{"content":"Hi"}]'),
    _messages("B27-tool-without-a-call", b'[{"role":"tool","content":"x"}]'),
    _messages("B27-number", b'[{"role":"user","content":5}]'),
    _messages("B27-object", b'[{"role":"user","content":{}}]'),
    _messages("B27-nothing", b'[{"role":"user"}]'),
    _messages("B28-unknown-type", b'[{"role":"user","content":[{"type":"smell"}]}]'),
    _messages("B28-text-without-text", b'[{"role":"user","content":[{"type":"text"}]}]'),
    _messages("B28-image-without-url", b'[{"role":"user","content":[{"type":"image_url"}]}]'),
    *(_image(f"B29-{url[:20].decode()}", url, "url_not_allowed", warns=True) for url in HOSTS),
    _image("B30-damaged", b"data:image/png;base64,AAAA*", "invalid_messages"),
    _image("B30-cut", b"data:image/png;base64,AAAAA", "invalid_messages"),
    _with("B31-negative", b'"max_tokens":-1', "invalid_value"),
    _with("B31-half", b'"max_tokens":1.5', "invalid_value"),
    _with("B31-text", b'"max_tokens":"10"', "invalid_value"),
    _with("B31-2^63", b'"max_tokens":9223372036854775808', "invalid_value"),
    _with("B31-two-that-differ", b'"max_tokens":1,"max_completion_tokens":2', "invalid_value"),
    Row(id="B31-two-alike", sent=chat(b'{%s,"max_tokens":2,"max_completion_tokens":2}' % USER), status=200),
    _with("B32-n-1000", b'"n":1000', "invalid_value"),
    _with("B32-n-negative", b'"n":-1', "invalid_value"),
    _with("B32-top-logprobs-99", b'"top_logprobs":99', "invalid_value"),
    _with("B33-temperature-9", b'"temperature":9', "invalid_value"),
    _with("B33-temperature-hot", b'"temperature":"hot"', "invalid_value"),
    _with("B33-top-p", b'"top_p":-1', "invalid_value"),
    _with("B33-1000-stops", b'"stop":[%s"x"]' % (b'"x",' * 1_000), "invalid_value"),
    _with("B33-biases", b'"logit_bias":{%s}' % MANY_TOKENS, "invalid_value"),
    _with("B34-5000-tools", b'"tools":[%s%s]' % ((TOOL + b",") * 5_000, TOOL), "invalid_tools"),
    _with("B34-object", b'"tools":{}', "invalid_tools"),
    _with("B34-no-name", b'"tools":[{"type":"function"}]', "invalid_tools"),
    _with("B34-space-in-a-name", b'"tools":[%s]' % SPACED_TOOL, "invalid_tools"),
    _with("B34-long-schema", b'"tools":[%s]' % LONG_TOOL, "invalid_tools"),
    _with("B34-text-for-a-schema", b'"tools":[%s]' % TEXT_TOOL, "invalid_tools"),
    _with("B36-yes", b'"stream":"yes"', "invalid_value"),
    _with("B37-nested", b'"metadata":{"a":{"b":"c"}}', "invalid_value"),
    _with("B37-17-keys", b'"metadata":{%s}' % MANY_LABELS, "invalid_value"),
    _with("B37-long-value", b'"metadata":{"a":"%s"}' % (b"v" * 513), "invalid_value"),
    _with("B37-long-key", b'"metadata":{"%s":"v"}' % (b"k" * 65), "invalid_value"),
    _with("audio", b'"modalities":["text","audio"]', "unsupported"),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
async def test_bad_input(proxy: OpenProxy, row: Row) -> None:
    await prove(await proxy(), row)


@pytest.mark.parametrize(
    "path", [b"chat/completions", b"completions", b"messages", b"responses", b"embeddings", b"route"]
)
async def test_bad_input_b19_in_every_format(proxy: OpenProxy, path: bytes) -> None:
    opened = await proxy()
    body = b'{"model":"small","max_tokens":5,%s,"input":"Hi","prompt":"Hi","model":"large"}' % USER
    answer = answered(await exchange(opened.port, chat(body).replace(b"chat/completions", path, 1)))
    assert (answer.status, answer.code) == (400, "duplicate_key")
    assert not opened.upstream.calls
    await nothing_is_left(opened)


PLACES = {
    b'{"messages":[{"role":"wizard"}]}': "messages[0].role",
    b'{"messages":[{"role":"user","content":[{"type":"text"}]}]}': "messages[0].content[0]",
    b'{"tools":[{"type":"function"}],%s}' % USER: "tools[0].function.name",
    b'{"metadata":{"a":{"b":"c"}},%s}' % USER: "metadata[...]",
    b'{"seed":%s,%s}' % (b"9" * 5_000, USER): "seed",
    b'{"stop":[%s"x"],%s}' % (b'"x",' * 1_000, USER): "stop",
}


@pytest.mark.parametrize("body", PLACES, ids=PLACES.values())
async def test_an_error_says_where_it_is(proxy: OpenProxy, body: bytes) -> None:
    answer = answered(await exchange((await proxy()).port, chat(body)))
    assert msgspec.json.decode(answer.body)["error"]["param"] == PLACES[body]


async def test_bad_input_b37_line_ends_in_labels_stay_in_the_body(proxy: OpenProxy) -> None:
    opened = await proxy(Say())
    assert (await opened.chat(metadata={"a": "b\r\nX: y"})).status == 200
    assert opened.upstream.calls[0].body["metadata"] == {"a": "b\r\nX: y"}
    assert "X" not in opened.upstream.calls[0].headers
    await nothing_is_left(opened)


async def test_bad_input_b35_a_refusal_of_a_schema_is_passed_on(proxy: OpenProxy) -> None:
    opened = await proxy(Fail(400))
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#"}}}
    response = await opened.chat(response_format=schema)
    assert (response.status, (await response.json())["error"]["code"]) == (400, "upstream_refused")
    await nothing_is_left(opened)


async def test_bad_input_b79_what_accept_says_and_head_on_a_stream(proxy: OpenProxy) -> None:
    opened = await proxy(Say())
    asked = chat(b'{"stream":true,%s}' % USER, b"Accept: application/json")
    answer = answered(await exchange(opened.port, asked))
    assert (answer.status, b"text/event-stream" in answer.head) == (200, True)
    head = answered(await exchange(opened.port, asked.replace(b"POST", b"HEAD", 1)))
    assert (head.status, head.body) == (405, b"")
    await nothing_is_left(opened)


async def test_bad_input_b80_http_1_0_gets_a_stream_that_ends_with_the_connection(proxy: OpenProxy) -> None:
    opened = await proxy(Say())
    asked = chat(b'{"stream":true,%s}' % USER).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    answer = answered(await exchange(opened.port, asked))
    assert b"Transfer-Encoding" not in answer.head and answer.body.endswith(b"data: [DONE]\n\n")
    await nothing_is_left(opened)
