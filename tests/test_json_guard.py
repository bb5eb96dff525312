"""The JSON of request bodies: what is refused, whatever is asked, and that nothing else is."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxer import json_guard
from muxer.errors import InvalidRequest
from muxer.json_guard import MAX_DEPTH, MAX_NODES
from muxer.refusals import DuplicateKey, ForbiddenParameter, InvalidNumber, TooComplex

TEXTS = st.text().filter(lambda text: text not in json_guard.FORBIDDEN)
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)
NAMES = st.sampled_from(["a", "model", "é", '"', "\\", "a:b", ""])


def nested(depth: int) -> bytes:
    return b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)


@given(VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_any_json_that_a_writer_writes_passes(value: object, is_ascii: bool, indent: int | None) -> None:
    json_guard.check(json.dumps({"value": value}, ensure_ascii=is_ascii, indent=indent).encode())


@given(st.lists(st.tuples(NAMES, VALUES), max_size=5), st.booleans(), st.sampled_from([",", " ,\n"]))
def test_a_name_twice_is_found_wherever_it_stands_and_however_it_is_written(
    pairs: list[tuple[str, object]], is_ascii: bool, comma: str
) -> None:
    members = comma.join(f"{json.dumps(n, ensure_ascii=is_ascii)}:{json.dumps(v)}" for n, v in pairs)
    body = f'{{"messages":[{{"x":[{{{members}}}]}}]}}'.encode()
    if len({name for name, _ in pairs}) == len(pairs):
        json_guard.check(body)
        return
    with pytest.raises(DuplicateKey):
        json_guard.check(body)


@given(st.binary(max_size=60) | VALUES.map(msgspec.json.encode))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    try:
        json_guard.check(body)
    except InvalidRequest as error:
        assert len(error.message) < 200 and error.message.isprintable()


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"model":"a","messages":[],"model":"b"}', "model"),
        (b'{"max_tokens":1,"x":2,"max_tokens" : 99999}', "max_tokens"),
        (b'{"mod\\u0065l":1,"model":2}', "model"),
        (b'{"messages":[{"role":"user","content":"a","content":"b"}]}', "messages[0].content"),
        (b'{"input":[{"content":[{"text":"a","text":"b"}]}]}', "input[0].content[0].text"),
        (b'{"metadata":{"a":1,"a":2}}', "metadata.a"),
        (b'[{"":1,"":2}]', "[0]."),
    ],
)
def test_the_place_of_a_name_that_stands_twice_is_told(body: bytes, place: str) -> None:
    with pytest.raises(DuplicateKey, match="stands twice") as refused:
        json_guard.check(body)
    assert refused.value.param == place


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"a":NaN}', None),
        (b'{"a":[-Infinity]}', None),
        (b'{"a":1,"b":[1e400]}', "b"),
        (b'{"a":%s}' % (b"9" * 5_000), "a"),
        (b'{"a":-%s}' % (b"9" * 5_000_000), "a"),
        (b" [1e999]", None),
        (b'{"a":1e400,,}', None),
        (b'{"a":1e400,"b":' + b"[" * 5_000, None),
    ],
    ids=[
        *("nan", "infinity", "1e400", "5,000 digits", "5 million digits", "in a list"),
        *("before what is no JSON", "before what has no end"),
    ],
)
def test_numbers_that_are_none_or_too_large_are_refused(body: bytes, param: str | None) -> None:
    with pytest.raises(InvalidNumber) as refused:
        json_guard.check(body)
    assert refused.value.param == param


def test_a_name_of_the_callers_is_quoted_short_and_in_print() -> None:
    with pytest.raises(InvalidNumber) as refused:
        json_guard.check(b'{"\x7f%s":1e549}' % (b"\x7f" * 60))
    assert refused.value.message == f"'{'?' * 61}': a number is out of range"
    assert refused.value.param == "?" * 61


def test_as_deep_as_allowed_passes_and_one_deeper_does_not() -> None:
    json_guard.check(nested(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(TooComplex):
            json_guard.check(nested(depth))


@pytest.mark.parametrize("member", [b"{},", b"1,", b'"",', b"[[],{}],"])
def test_more_values_than_allowed_are_refused(member: bytes) -> None:
    with pytest.raises(TooComplex):
        json_guard.check(b'{"a":[%s1]}' % (member * MAX_NODES))


def test_a_long_text_is_not_many_values() -> None:
    json_guard.check(msgspec.json.encode({"text": '[,{"\\' * MAX_NODES}))


@pytest.mark.parametrize("name", sorted(json_guard.FORBIDDEN))
@pytest.mark.parametrize(
    "body",
    [
        '{"NAME":1}',
        '{"messages":[{"content":[{"text":"x","NAME":{}}]}]}',
        '{"tools":[{"function":{"name":"a","NAME":1}}]}',
        '{"input":{"NAME":1}}',
        '{"parameters":{"NAME":1}}',
        '{ "\\u0061":1, "extra": {"NAME":1}}',
    ],
)
def test_a_name_that_chooses_a_host_or_a_key_is_refused(body: str, name: str) -> None:
    with pytest.raises(ForbiddenParameter) as refused:
        json_guard.check(body.replace("NAME", name).encode())
    assert str(refused.value.param).endswith(name)


@pytest.mark.parametrize(
    "body",
    [
        '{"metadata":{"api_key":"x"}}',
        '{"messages":[{"content":"api_key: \\"base_url\\""}]}',
        '{"tools":[{"function":{"name":"a","parameters":{"properties":{"base_url":{"type":"string"}}}}}]}',
        '{"tools":[{"name":"a","input_schema":{"properties":{"api_key":{}}}}]}',
        '{"response_format":{"json_schema":{"schema":{"properties":{"api_base":{}}}}}}',
        '{"messages":[{"content":[{"type":"tool_use","input":{"api_key":"x"}}]}]}',
        '{"messages":[{"tool_calls":[{"function":{"arguments":{"callback_url":"x"}}}]}]}',
    ],
)
def test_names_of_the_caller_s_own_tools_and_texts_pass(body: str) -> None:
    json_guard.check(body.encode())
