"""Bodies that somebody broke on purpose: each is read or refused with a field's name, in every format, and what is read
can be sent on to every vendor or is refused again."""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxer.errors import InvalidRequest
from muxer.inbound import Inbound
from muxer.signals import measure
from muxer.types import Call
from muxer.wire import anthropic_messages, gemini, openai_chat
from muxer.wire.anthropic_inbound import MESSAGES
from muxer.wire.gemini.abilities import Abilities
from muxer.wire.responses_inbound import RESPONSES

CALL = {"type": "tool_use", "id": "t", "name": "look", "input": {"a": "b"}}
RESULT = {
    "type": "tool_result",
    "tool_use_id": "t",
    "is_error": True,
    "content": [
        {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "5m"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
    ],
}
MESSAGE = {
    "model": "auto",
    "max_tokens": 5,
    "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm.", "signature": ""}, CALL]},
        {"role": "user", "content": [RESULT, {"type": "text", "text": "And?"}]},
    ],
    "tools": [{"name": "look", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "tool", "name": "look"},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    "metadata": {"user_id": "u"},
    "context_management": {"edits": [{"type": "clear_thinking"}]},
    "stop_sequences": ["x"],
    "speed": "standard",
}
RESPONSE = {
    "model": "auto",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "reasoning", "summary": [], "encrypted_content": "muxer1.e30="},
        {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x"}]},
    ],
    "tools": [{"type": "function", "name": "look", "parameters": {"type": "object"}}],
    "tool_choice": {"type": "function", "name": "look"},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
    "reasoning": {"effort": "low"},
    "metadata": {"a": "b"},
    "include": ["message.output_text.logprobs"],
}
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.just("\ud800")
)
JUNK = st.recursive(
    SCALARS, lambda some: st.lists(some, max_size=2) | st.dictionaries(st.text(max_size=3), some, max_size=2)
)


def places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a document."""
    yield here
    for name, member in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(member, (*here, name))


def broken(value: Any, path: tuple[Any, ...], junk: Any) -> Any:
    """The document with another value at that path."""
    if not path:
        return junk
    if isinstance(value, dict):
        return {**value, path[0]: broken(value[path[0]], path[1:], junk)}
    return [broken(one, path[1:], junk) if number == path[0] else one for number, one in enumerate(value)]


def sent_everywhere(inbound: Inbound) -> None:
    """Measures a request and writes it for each vendor."""
    measured = measure(inbound.request, inbound.raw, {}, is_priced=inbound.is_priced)
    assert measured.estimate_tokens >= 0
    call = Call(id="r", api=inbound.api, raw=inbound.raw, request=inbound.request, model="m")
    with contextlib.suppress(InvalidRequest):
        openai_chat.request_fields(call, cap_field="max_tokens")
    with contextlib.suppress(InvalidRequest):
        anthropic_messages.encode_request(call, stream=False, max_tokens_default=5)
    with contextlib.suppress(InvalidRequest):
        gemini.encode_request(call, Abilities())


@pytest.mark.parametrize(
    ("read", "body"), [(MESSAGES.read, MESSAGE), (RESPONSES.read, RESPONSE)], ids=["messages", "responses"]
)
@given(data=st.data())
def test_a_broken_body_is_read_or_refused(read: Callable[[bytes], Inbound], body: Any, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 2))):
        body = broken(body, data.draw(st.sampled_from(list(places(body)))), data.draw(JUNK))
    try:
        inbound = read(json.dumps(body).encode())
    except InvalidRequest as error:
        assert len(error.message) < 400
        return
    sent_everywhere(inbound)


@pytest.mark.parametrize("read", [MESSAGES.read, RESPONSES.read], ids=["messages", "responses"])
@given(body=st.binary(max_size=40) | JUNK.map(lambda junk: json.dumps(junk).encode()))
def test_junk_is_refused(read: Callable[[bytes], Inbound], body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read(body)


@pytest.mark.parametrize("read", [MESSAGES.read, RESPONSES.read], ids=["messages", "responses"])
def test_half_of_a_pair_in_the_name_of_a_field_is_refused(read: Callable[[bytes], Inbound]) -> None:
    with pytest.raises(InvalidRequest):
        read(rb'{"max_tokens":1,"messages":[{"role":"user","content":"Hi"}],"input":"Hi","\ud800":1}')
