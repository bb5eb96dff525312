"""What is measured of a request: free signals, needs, the likely size, and one that is never too small."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxer.signals import TOKENS_FOR_TOOLS, TOKENS_PER_IMAGE, TOKENS_PER_MESSAGE, Measured, measure
from muxer.testing import a_request
from muxer.types import ChatRequest, SignalValue
from muxer.wire.openai_inbound import decode_request

HI = {"messages": [{"role": "user", "content": "Hi"}]}
PICTURE = {"url": "data:image/png;base64," + "A" * 10**6}
IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": PICTURE}]}
FUNCTION = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def measured(body: Mapping[str, Any], *, ascii_only: bool = False) -> Measured:
    """As the body would be measured, its JSON written with or without escapes."""
    raw = json.dumps(body, ensure_ascii=ascii_only).encode()
    return measure(decode_request(raw), raw, {})


def test_the_free_signals_are_always_there() -> None:
    talk = [{"role": "system", "content": "Be brief."}, *HI["messages"], {"role": "assistant", "content": "Hello"}]
    found = measured({"messages": [*talk, {"role": "user", "content": "How are you?"}], "stream": True})
    assert [found.values[name] for name in ("chars", "turns", "stream")] == [12, 2, True]
    assert found.values["tokens"] == found.estimate_tokens > 40
    assert not any(found.values[name] for name in ("has_tools", "has_images", "wants_json"))


@pytest.mark.parametrize(
    ("fields", "need"),
    [
        ({"tools": [FUNCTION]}, "tools"),
        ({"messages": [IMAGE]}, "images"),
        ({"response_format": {"type": "json_object"}}, "json"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "json"),
        ({"logprobs": True}, "logprobs"),
        ({"stream": True}, "stream"),
    ],
)
def test_a_request_needs_what_it_asks_for(fields: dict[str, Any], need: str) -> None:
    needs = measured({**HI, **fields}).needs
    assert {n: getattr(needs, n) for n in ("tools", "images", "json", "logprobs", "stream")} == {
        n: n == need for n in ("tools", "images", "json", "logprobs", "stream")
    }


@pytest.mark.parametrize("fields", [{"tools": []}, {"response_format": {"type": "text"}}, {"logprobs": False}])
def test_a_request_that_asks_for_nothing_special_needs_nothing(fields: dict[str, Any]) -> None:
    needs = measured({**HI, **fields}).needs
    assert not (needs.tools or needs.json or needs.logprobs or needs.images)


@pytest.mark.parametrize(
    ("fields", "n", "cap"),
    [
        ({}, 1, None),
        ({"n": 3, "max_tokens": 7}, 3, 7),
        ({"max_completion_tokens": 8}, 1, 8),
        ({"max_tokens": 0}, 1, 0),
        ({"max_tokens": 5, "max_completion_tokens": 5}, 1, 5),
    ],
)
def test_how_many_answers_of_which_length(fields: dict[str, Any], n: int, cap: int | None) -> None:
    needs = measured({**HI, **fields}).needs
    assert (needs.n, needs.cap_tokens) == (n, cap)


def test_an_image_counts_as_itself_and_not_as_its_megabyte_of_text() -> None:
    found = measured({"messages": [IMAGE]})
    assert found.estimate_tokens < 1_000
    assert found.bound_tokens is not None and TOKENS_PER_IMAGE < found.bound_tokens < TOKENS_PER_IMAGE + 1_000


def test_tools_add_what_a_vendor_adds_for_them() -> None:
    plain, tools = measured(HI).bound_tokens, measured({**HI, "tools": [FUNCTION]}).bound_tokens
    assert plain is not None and tools is not None and tools - plain > TOKENS_FOR_TOOLS


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
        {"tools": [{"type": "web_search"}]},
        {"tools": [FUNCTION, {"type": "code_interpreter"}]},
        {"web_search_options": {}},
        {"service_tier": "priority"},
        {"service_tier": "scale"},
    ],
)
def test_what_a_vendor_may_add_at_will_has_no_bound(fields: dict[str, Any]) -> None:
    assert measured({**HI, **fields}).bound_tokens is None


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
messages = st.lists(texts.map(lambda text: {"role": "user", "content": text}), min_size=1, max_size=4)


@given(messages, st.booleans())
def test_the_bound_is_never_less_than_the_bytes_of_all_text(talk: list[dict[str, str]], ascii_only: bool) -> None:
    found = measured({"messages": talk}, ascii_only=ascii_only)
    size = sum(len(one["content"].encode()) + TOKENS_PER_MESSAGE for one in talk)
    assert found.bound_tokens is not None and size <= found.bound_tokens
    assert found.estimate_tokens <= found.bound_tokens


@given(texts, texts, st.booleans())
def test_the_bound_covers_tools_and_names_too(description: str, argument: str, ascii_only: bool) -> None:
    function = {"name": "look", "description": description, "parameters": {"properties": {argument: {}}}}
    found = measured({**HI, "tools": [{"type": "function", "function": function}]}, ascii_only=ascii_only)
    size = len(description.encode()) + len(argument.encode())
    assert found.bound_tokens is not None and size + TOKENS_FOR_TOOLS <= found.bound_tokens


class Shouting:
    def measure(self, request: ChatRequest) -> Mapping[str, SignalValue]:
        return {"shouting": float(request.question.isupper())}


def test_signals_of_plugins_are_measured_too() -> None:
    found = measure(a_request("HELP"), b"{}", {"shouting": Shouting()})
    assert found.values["shouting"] == 1.0
