"""The guard `redact`: what it finds and what it leaves, and that an answer has the originals however it is cut."""

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from muxer_redact import Redact, RedactSettings, open_redact
from muxer_redact.find import CATEGORIES, Finder
from muxer_redact.restore import Restorer

from muxer import (
    ChatRequest,
    Chunk,
    FunctionCall,
    Guard,
    GuardRefused,
    Message,
    ResponseFormat,
    TextPart,
    ThinkingPart,
    ToolCall,
    ToolCallDelta,
)
from muxer.testing import GuardContract, Raw, Say, a_request, a_visit, each_chunk, open_context
from tests.proxy import OpenProxy, events

SETTINGS = RedactSettings()
FINDER = Finder(CATEGORIES, {})
FOUND = {
    "email": ["a@b.co", "jane.doe+tag@mail.example.org", "ü.ser@exämple.de", "x_1%y@sub-domain.example.travel"],
    "phone": [
        "+41 44 668 18 00",
        "+1 (555) 123-4567",
        "555-123-4567",
        "(555) 123-4567",
        "+442079460958",
        "1-800-555-0199",
    ],
    "card": [
        "4111 1111 1111 1111",
        "4111111111111111",
        "5500-0000-0000-0004",
        "378282246310005",
        "3782 822463 10005",
        "6011000990139424",
    ],
    "secret": [
        "sk-proj-abcdefghijklmnopqrstuvwx",
        "sk-ant-api03-" + "a" * 40,
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_" + "a1" * 18,
        "xoxb-123456789012-abcdef",
        "AIza" + "b" * 35,
        "mux_ab12_" + "c" * 40,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijk",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow==\n-----END RSA PRIVATE KEY-----",
    ],
}
LEFT = [
    "What is the capital of France?",
    "Order 4111111111111112 of 2026-11-25",  # Luhn says no
    "1234567890123456789012345678901234567890",
    "IPv4 192.168.100.200, version 1.2.3-4567, 3.14159265358979",
    "user@localhost, @decorator, a @ b, foo@bar",
    "sk-short, task-force-of-the-twentieth-century, disk-usage",
    "12:30:45, 10-20-30, (5) 123, 2024-01-02 03:04",
    "550e8400-e29b-41d4-a716-446655440000",
    "eyJ is how a token begins",
]


@asynccontextmanager
async def opened(folder: Path, **settings: Any) -> AsyncIterator[Guard]:
    async with open_context(folder) as context, open_redact(RedactSettings(**settings), context) as guard:
        yield guard


class TestRedact(GuardContract):
    def open(self, folder: Path) -> AbstractAsyncContextManager[Guard]:
        return opened(folder)


@pytest.mark.parametrize(("what", "text"), [(what, text) for what, texts in FOUND.items() for text in texts])
def test_finds_it_whole_wherever_it_stands(what: str, text: str) -> None:
    for sentence in ("{}", "Mine is {}, thanks.", '{{"value":"{}"}}', "({})", "see:\n{}\nend", r"log: a\n{}", r"a\t{}"):
        around = sentence.format(text)
        (found,) = FINDER.find(around)
        assert (found.what, around[found.start : found.end]) == (what, text)


@pytest.mark.parametrize("text", LEFT)
def test_leaves_what_only_looks_like_it(text: str) -> None:
    assert FINDER.find(text) == []


@pytest.mark.parametrize(
    "pattern", ["a", "a@", "@a.", "1", "+1", "4 ", "sk-", "eyJa.", "-----BEGIN PRIVATE KEY-----", "(555) ", r"\n"]
)
def test_a_long_text_takes_no_longer_than_its_length(pattern: str) -> None:
    FINDER.find((pattern * 65_536)[:65_536])  # a quadratic search would not end within faulthandler_timeout


@given(
    st.lists(
        st.sampled_from(
            [*(text for texts in FOUND.values() for text in texts), "Paris ", " and ", "[", "]", "[EMAIL_1]"]
        )
    )
)
@example(["555-123-4567", "4111 1111 1111 1111"])
@example(["+1 (555) 123-4567", "4111 1111 1111 1111"])
async def test_what_goes_out_holds_nothing_and_comes_back_as_it_was(words: list[str]) -> None:
    text = " ".join(words)
    visit = a_visit(a_request(text))
    guard = Redact(RedactSettings())
    asked = await guard.before(visit) or visit.request
    sent = asked.question
    assert FINDER.find(sent) == []
    pieces = [Chunk(text=letter) for letter in sent] + [Chunk(finish_reason="stop")]
    back = [chunk async for chunk in guard.after(visit, each_chunk(pieces))]
    assert "".join(chunk.text for chunk in back) == text


@given(st.text(alphabet="[EMAIL_12]x", max_size=40), st.lists(st.integers(1, 5)))
def test_the_pieces_of_a_text_do_not_matter(text: str, cuts: list[int]) -> None:
    values = {"[EMAIL_1]": "a@b.co", "[EMAIL_12]": "c@d.co"}
    whole, restorer = Restorer(values), Restorer(values)
    pieces, start = [], 0
    for cut in cuts:
        pieces.append(text[start : start + cut])
        start += cut
    pieces.append(text[start:])
    assert "".join(map(restorer.feed, pieces)) + restorer.rest() == whole.feed(text) + whole.rest()


async def test_the_same_value_has_the_same_placeholder_in_every_message() -> None:
    messages = (
        Message(role="system", content="Help jane@x.org."),
        Message(role="user", content=(TextPart("I am jane@x.org"), TextPart("or +41 44 668 18 00"))),
        Message(role="assistant", tool_calls=(ToolCall(id="1", function=FunctionCall("mail", '{"to":"jane@x.org"}')),)),
        Message(role="tool", content="sent to bob@x.org", tool_call_id="1"),
    )
    asked = await Redact(RedactSettings()).before(a_visit(ChatRequest(messages=messages)))
    assert asked is not None
    said = json.dumps([message.text for message in asked.messages])
    assert said == json.dumps(["Help [EMAIL_1].", "I am [EMAIL_1]\nor [PHONE_1]", "", "sent to [EMAIL_2]"])
    assert asked.messages[2].tool_calls and asked.messages[2].tool_calls[0].function.arguments == '{"to":"[EMAIL_1]"}'


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        (r'{"to":"jane\u0040x.org"}', '{"to":"[EMAIL_1]"}'),
        (r'{"to":"\u00fcser@ex\u00e4mple.de"}', '{"to":"[EMAIL_1]"}'),
        (r'{"t":"see\njane@x.org"}', r'{"t":"see\n[EMAIL_1]"}'),
        (r'{"t":"see\n4111111111111111"}', r'{"t":"see\n[CARD_1]"}'),
        (r'{"t":"a\u0020sk-abcdefghijklmnopqrst"}', '{"t":"a [SECRET_1]"}'),
        ('{"card":4111111111111111, "n": -1.5e3}', '{"card":"[CARD_1]", "n": -1.5e3}'),
        (r'[["jane@x.org", "ü\""], {"jane@x.org": true}]', r'[["[EMAIL_1]", "ü\""], {"[EMAIL_1]": true}]'),
        (r'{"broken":"\njane@x.org', r'{"broken":"\n[EMAIL_1]'),
        (r'{"half":"\ud83d\njane@x.org"}', r'{"half":"\ud83d\n[EMAIL_1]"}'),
    ],
    ids=range(9),
)
async def test_in_json_it_finds_what_the_texts_say_and_leaves_json(text: str, sent: str) -> None:
    call = ToolCall(id="1", function=FunctionCall("mail", text))
    messages = (Message(role="assistant", tool_calls=(call,)), Message(role="tool", content=text, tool_call_id="1"))
    asked = await Redact(RedactSettings()).before(a_visit(ChatRequest(messages=messages)))
    assert asked is not None and asked.messages[0].tool_calls is not None
    assert (asked.messages[0].tool_calls[0].function.arguments, asked.messages[1].content) == (sent, sent)


async def test_an_answer_in_json_stays_json() -> None:
    settings = RedactSettings(patterns={"name": 'O"Neil'})
    visit, guard = a_visit(a_request('Who is O"Neil?', response_format=ResponseFormat("json_object"))), Redact(settings)
    await guard.before(visit)
    back = [chunk.text async for chunk in guard.after(visit, each_chunk([Chunk(text='{"name":"[NAME_1]"}')]))]
    assert json.loads("".join(back)) == {"name": 'O"Neil'}


async def test_thousands_of_values_take_no_longer_than_their_number() -> None:
    own = "".join(f"[EMAIL_{number}]" for number in range(1, 40_000))
    visit, guard = a_visit(a_request(own + " ".join(f"a{number}@x.org" for number in range(40_000)))), Redact(SETTINGS)
    asked = await guard.before(visit)  # a quadratic search would not end within faulthandler_timeout
    assert asked is not None and asked.question.endswith("[EMAIL_79999]")
    back = [chunk.text async for chunk in guard.after(visit, each_chunk([Chunk(text=asked.question)]))]
    assert "".join(back) == visit.request.question


async def test_a_longer_conversation_begins_as_the_shorter_did() -> None:
    first = (Message(role="user", content="I am jane@x.org"),)
    later = (*first, Message(role="assistant", content="Hi jane@x.org"), Message(role="user", content="and bob@x.org"))
    short, long = [await Redact(RedactSettings()).before(a_visit(ChatRequest(messages=one))) for one in (first, later)]
    assert short and long and long.messages[0] == short.messages[0]


async def test_signed_reasoning_is_left_alone() -> None:
    message = Message(role="assistant", content=(ThinkingPart("jane@x.org?", "signature"), TextPart("jane@x.org")))
    asked = await Redact(RedactSettings()).before(a_visit(ChatRequest(messages=(message,))))
    assert asked and asked.messages[0].parts == (ThinkingPart("jane@x.org?", "signature"), TextPart("[EMAIL_1]"))


async def test_a_callers_own_placeholder_stays_his() -> None:
    visit = a_visit(a_request("Replace [EMAIL_1] by jane@x.org"))
    guard = Redact(RedactSettings())
    asked = await guard.before(visit)
    assert asked and asked.question == "Replace [EMAIL_1] by [EMAIL_2]"
    back = [chunk async for chunk in guard.after(visit, each_chunk([Chunk(text="[EMAIL_1] is [EMAIL_2]")]))]
    assert "".join(chunk.text for chunk in back) == "[EMAIL_1] is jane@x.org"


async def test_arguments_of_tools_get_the_originals_as_json() -> None:
    settings = RedactSettings(patterns={"name": 'O"Neil'})
    visit, guard = a_visit(a_request('Mail O"Neil')), Redact(settings)
    await guard.before(visit)
    deltas = [ToolCallDelta(0, "1", "mail", '{"to":"[NA'), ToolCallDelta(0, None, None, 'ME_1]"}')]
    chunks = [*(Chunk(tool_calls=(delta,)) for delta in deltas), Chunk(finish_reason="tool_calls")]
    back = [call.arguments async for chunk in guard.after(visit, each_chunk(chunks)) for call in chunk.tool_calls]
    assert json.loads("".join(back)) == {"to": 'O"Neil'}


async def test_what_must_not_be_asked_about_is_refused_without_quoting_it() -> None:
    guard = Redact(RedactSettings(refuse=("secret",)))
    with pytest.raises(GuardRefused, match="looks like a secret") as refused:
        await guard.before(a_visit(a_request(f"My key is {FOUND['secret'][0]}")))
    assert FOUND["secret"][0] not in refused.value.message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patterns": {"Name": "x"}}, "is no name"),
        ({"patterns": {"email": "x"}}, "is no name"),
        ({"patterns": {"name": "("}}, "no regular expression"),
        ({"refuse": ("name",)}, "is not looked for"),
        ({"what": ("email",), "refuse": ("card",)}, "is not looked for"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RedactSettings(**settings)


@pytest.mark.parametrize("stream", [False, True])
async def test_over_http_the_upstream_never_sees_it_and_the_caller_always_does(proxy: OpenProxy, stream: bool) -> None:
    answer = Say(text="I wrote to [EMAIL_1] and [EMAIL_1].")
    running = await proxy(answer, plugins="[openai, sqlite, redact]", guards="[{kind: redact, required: true}]")
    response = await running.chat(messages=[{"role": "user", "content": "Write to jane@x.org"}], stream=stream)
    said = (await events(response)).text if stream else (await response.json())["choices"][0]["message"]["content"]
    assert said == "I wrote to jane@x.org and jane@x.org."
    (call,) = running.upstream.calls
    assert "jane@x.org" not in json.dumps(call.body) and response.headers["x-muxer-redacted"] == "1"
    record = await running.record(response)
    assert record.notes == {"redacted": "email: 1"} and "jane" not in repr(record) + repr(running.log.lines)


async def test_over_http_choices_and_arguments_that_mix_letter_by_letter_get_their_originals(proxy: OpenProxy) -> None:
    pieces = list[bytes]()

    def say(index: int, delta: dict[str, object], reason: str | None = None) -> None:
        choice = {"index": index, "delta": delta, "finish_reason": reason}
        pieces.append(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")

    for place, (one, other) in enumerate(zip("to [EMAIL_1]", '{"a":"[EMAIL_2]\\n"}'.ljust(12), strict=False)):
        call = {"index": 0, "function": {"arguments": other}}
        say(0, {"content": one})
        say(1, {"tool_calls": [call | ({"id": "1", "type": "function"} if not place else {})]})
    for letter in '{"a":"[EMAIL_2]\\n"}'[12:]:
        say(1, {"tool_calls": [{"index": 0, "function": {"arguments": letter}}]})
    say(0, {}, "stop")
    say(1, {}, "tool_calls")
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":5,"total_tokens":10}}\n\n'
    answer = Raw(pieces=(*pieces, usage, b"data: [DONE]\n\n"), headers={"Content-Type": "text/event-stream"})
    running = await proxy(answer, plugins="[openai, sqlite, redact]", guards="[{kind: redact, required: true}]")
    response = await running.chat(messages=[{"role": "user", "content": "jane@x.org, bob@x.org"}], stream=True, n=2)
    found = await events(response)
    deltas = [(one["index"], one["delta"]) for event in found.data for one in event.get("choices", ())]
    said = "".join(delta.get("content") or "" for index, delta in deltas if index == 0)
    calls = [call for index, delta in deltas if index == 1 for call in delta.get("tool_calls", ())]
    assert (said, found.is_done) == ("to jane@x.org", True)
    assert json.loads("".join(call["function"].get("arguments", "") for call in calls)) == {"a": "bob@x.org\n"}


MAIL = "zoe@example.com"
CALL = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
OLD_CALL = {
    "role": "assistant",
    "content": None,
    "function_call": {"name": "f", "arguments": '{"to": "zoe\\u0040example.com"}'},
}


def document(text: str = MAIL) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text}}


def found(text: str = MAIL) -> dict[str, Any]:
    return {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": text}]}


def claude(*blocks: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "/v1/messages", {"model": "haiku", "max_tokens": 9, "messages": [{"role": "user", "content": list(blocks)}]}


CLAUDE: dict[str, Any] = {
    "plugins": "[openai, anthropic, sqlite, redact]",
    "guards": "[{kind: redact}]",
    "providers": """
  main: {kind: openai, api_key: sk-upstream, base_url: "UPSTREAM/v1"}
  claude: {kind: anthropic, api_key: sk-ant, base_url: "UPSTREAM"}""",
    "models": "{small: {provider: main, name: small-1}, haiku: {provider: claude, name: haiku-1}}",
    "routes": "[{name: r, use: [small]}]",
    "limits": "[]",
}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        claude(document()),
        claude(found()),
        claude({"type": "tool_result", "tool_use_id": "a", "content": [document()]}),
        claude({"type": "tool_result", "tool_use_id": "a", "content": [found()]}),
        claude({"type": "text", "text": "Hi", "citations": [{"type": "char_location", "cited_text": MAIL}]}),
        ("/v1/completions", {"model": "small", "prompt": "def f():", "suffix": f"# by {MAIL}"}),
        ("/v1/chat/completions", {"model": "small", "messages": [{"role": "user", "content": "Hi"}, OLD_CALL]}),
    ],
    ids=["document", "search result", "tool's document", "tool's search result", "quotation", "suffix", "old call"],
)
async def test_what_is_found_where_nothing_can_be_replaced_is_refused(
    proxy: OpenProxy, path: str, body: dict[str, Any]
) -> None:
    opened = await proxy(**CLAUDE)
    response = await opened.ask(path, body)
    error = (await response.json())["error"]
    assert (response.status, error["code"], opened.upstream.calls) == (400, "guard_refused", [])
    assert MAIL not in error["message"]


async def test_other_documents_pass_and_so_does_a_tool_s_result_with_placeholders(proxy: OpenProxy) -> None:
    opened = await proxy(**CLAUDE)
    assert (await opened.ask(*claude(document("Paris"), found("Lyon")))).status == 200
    path, body = claude({"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": MAIL}]})
    body["messages"] = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [CALL]}, *body["messages"]]
    assert (await opened.ask(path, body)).status == 200
    assert MAIL not in str(opened.upstream.calls[-1].body) and "[EMAIL_1]" in str(opened.upstream.calls[-1].body)


async def test_a_refusal_of_a_model_in_the_history_gets_placeholders(proxy: OpenProxy) -> None:
    opened = await proxy(plugins="[openai, sqlite, redact]", guards="[{kind: redact}]")
    refusal = {"role": "assistant", "content": [{"type": "refusal", "refusal": f"I do not write to {MAIL}"}]}
    assert (await opened.chat(messages=[{"role": "user", "content": "Hi"}, refusal])).status == 200
    assert "I do not write to [EMAIL_1]" in str(opened.upstream.calls[0].body)
