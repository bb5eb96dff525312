"""The provider `mistral` against a scripted upstream that answers as Mistral does."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from muxer_mistral import MistralSettings, open_mistral, register_providers

from muxer import Answer, ChatRequest, Completes, Provider, Secret, Unsupported
from muxer.testing import (
    Act,
    Asked,
    Fail,
    Format,
    ProviderContract,
    Say,
    ScriptedUpstream,
    Spoken,
    a_call,
    open_context,
)
from muxer.testing.vendors import OpenAIChat

HI = {"role": "user", "content": "Hi"}


class MistralChat:
    """Refuses fields it does not know, and reports the usage of every stream without being asked."""

    openai: Format = OpenAIChat()

    def answer(self, asked: Asked, spoken: Spoken) -> Act:
        if "stream_options" in asked.body:
            return Fail(422).play(asked)
        wanting = {**asked.body, "stream_options": {"include_usage": True}}
        return self.openai.answer(replace(asked, body=wanting), spoken)

    def error(self, status: int, message: str) -> bytes:
        return msgspec.json.encode({"object": "error", "message": message, "type": "x", "param": None, "code": "1"})


FORMATS = {"/v1/chat/completions": MistralChat()}


class TestMistral(ProviderContract):
    formats = FORMATS

    @asynccontextmanager
    async def open_provider(self, upstream: ScriptedUpstream) -> AsyncIterator[Provider]:
        settings = MistralSettings(
            api_key=Secret(self.api_key), base_url=f"{upstream.url}/v1", first_byte_timeout_s=self.first_byte_timeout_s
        )
        async with open_context() as context, open_mistral(settings, context) as provider:
            yield provider


async def asked(fields: dict[str, Any], *, spaced: bool = False) -> tuple[dict[str, Any], Answer]:
    """The body that Mistral gets for a request, and the answer; the request may be written with spaces."""
    raw = msgspec.json.format(msgspec.json.encode({"messages": [HI], **fields}), indent=1 if spaced else -1)
    request = msgspec.json.decode(raw, type=ChatRequest)
    async with (
        ScriptedUpstream(Say(text="Hello"), FORMATS) as upstream,
        open_context() as context,
        open_mistral(MistralSettings(base_url=f"{upstream.url}/v1"), context) as provider,
    ):
        assert isinstance(provider, Completes)
        answer = await provider.acompletion(a_call(request, raw=raw))
    return dict(upstream.calls[0].body), answer


def test_offers_the_kind_mistral() -> None:
    assert [kind.name for kind in register_providers()] == ["mistral"]


async def test_a_seed_has_another_name() -> None:
    body, answer = await asked({"seed": 7})
    assert (body.get("random_seed"), "seed" in body, answer.dropped) == (7, False, ())


@pytest.mark.parametrize("spaced", [False, True], ids=["compact", "spaced"])
async def test_the_role_developer_has_an_older_name(spaced: bool) -> None:
    said = {"role": "user", "content": '"role": "developer","role":"developer"'}
    body, _ = await asked({"messages": [{"role": "developer", "content": "Be brief."}, said]}, spaced=spaced)
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, said]


A_TOOL, OTHER_TOOL = ({"type": "function", "function": {"name": name}} for name in ("f", "g"))
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [OTHER_TOOL]}}


async def test_tools_that_are_allowed_and_not_offered_are_refused() -> None:
    with pytest.raises(Unsupported, match="none of them is among the tools"):
        await asked({"tools": [A_TOOL], "tool_choice": ALLOWED})


async def test_fields_that_mistral_refuses_are_dropped_and_named() -> None:
    known = {"temperature": 0.5, "tools": [], "parallel_tool_calls": False, "safe_prompt": True, "n": 2, "top_k": 5}
    body, answer = await asked({**known, "user": "u", "logit_bias": {}, "service_tier": "priority", "vendor": 1})
    assert body == {"messages": [HI], "model": "m-1", **known}
    assert set(answer.dropped) == {"user", "logit_bias", "service_tier", "vendor"}


@pytest.mark.parametrize(
    ("given", "sent", "dropped"),
    [
        ({"temperature": 1.5}, {"temperature": 1.5}, ()),
        ({"temperature": 1.9}, {"temperature": 1.5}, ("temperature",)),
        ({"temperature": None}, {"temperature": None}, ()),
        ({"seed": -1}, {}, ("seed",)),
        ({"seed": None}, {}, ()),
        ({"service_tier": "default"}, {"service_tier": "standard_only"}, ()),
        ({"service_tier": "auto"}, {"service_tier": "auto"}, ()),
        ({"service_tier": None}, {}, ()),
        ({"logprobs": True, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}, ()),
        ({"tool_choice": "required"}, {"tool_choice": "required"}, ()),
        (
            {"tools": [A_TOOL, OTHER_TOOL, {"type": "custom"}], "tool_choice": ALLOWED},
            {"tools": [OTHER_TOOL], "tool_choice": "required"},
            (),
        ),
        ({"reasoning_effort": "high"}, {"reasoning_effort": "high"}, ()),
    ],
    ids=str,
)
async def test_what_has_other_bounds_or_names_there(
    given: dict[str, Any], sent: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    body, answer = await asked(given)
    assert (body, answer.dropped) == ({"messages": [HI], "model": "m-1", **sent}, dropped)


def a_tool_call(id: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}


def assistant(**fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, **fields}


def result(id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": "1"}


async def sent_messages(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    """The history as Mistral gets it; nothing of it is named as dropped."""
    body, answer = await asked({"messages": messages})
    assert answer.dropped == ()
    return msgspec.convert(body["messages"], list[dict[str, Any]])


async def test_ids_of_other_models_become_nine_letters_and_digits_alike_in_call_and_result() -> None:
    _, call, found = await sent_messages(
        HI, assistant(tool_calls=[a_tool_call("call_PTLP8xhu3uwZk")]), result("call_PTLP8xhu3uwZk")
    )
    (id,) = [one["id"] for one in call["tool_calls"]]
    assert re.fullmatch(r"[A-Za-z0-9]{9}", id) and found["tool_call_id"] == id


async def test_ids_of_its_own_are_kept() -> None:
    history = [HI, assistant(tool_calls=[a_tool_call("abcDEF123")]), result("abcDEF123")]
    assert await sent_messages(*history) == history


async def test_a_user_s_turn_after_a_tool_s_has_one_of_the_assistant_s_between() -> None:
    history = [HI, assistant(tool_calls=[a_tool_call("abcDEF123")]), result("abcDEF123")]
    bridge = {"role": "assistant", "content": "Understood."}
    assert await sent_messages(*history, HI) == [*history, bridge, HI]


async def test_a_final_turn_of_the_assistant_s_is_a_prefix() -> None:
    assert await sent_messages(HI, assistant(content="It is")) == [HI, assistant(content="It is", prefix=True)]
    own = assistant(content="It is", prefix=False)
    assert await sent_messages(HI, own) == [HI, own]


async def test_what_clients_send_back_and_mistral_refuses_is_left_out() -> None:
    got: dict[str, Any] = {
        "content": "Yes",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "reasoning_content": "Hm.",
    }
    history = [
        {**HI, "name": "Al"},
        assistant(**got, tool_calls=None),
        {"role": "function", "name": "f", "content": "42"},
    ]
    assert await sent_messages(*history) == [HI, assistant(content="Yes"), {"role": "user", "content": "42"}]


async def test_parts_of_other_vendors_are_said_in_text_or_left_out() -> None:
    parts = [
        {"type": "thinking", "thinking": "Hm.", "signature": "abc"},
        {"type": "refusal", "refusal": "No."},
        {"type": "text", "text": "Yes."},
    ]
    _, kept, _ = await sent_messages(HI, assistant(content=parts), HI)
    assert kept["content"] == [{"type": "text", "text": "No."}, {"type": "text", "text": "Yes."}]


async def test_an_empty_turn_of_the_assistant_s_has_content_all_the_same() -> None:
    assert await sent_messages(HI, assistant(), HI) == [HI, assistant(content=""), HI]


async def test_a_cap_by_either_name_is_max_tokens() -> None:
    body, answer = await asked({"max_completion_tokens": 5})
    assert (body.get("max_tokens"), "max_completion_tokens" in body, answer.dropped) == (5, False, ())


async def test_what_another_vendor_wants_back_with_a_call_is_not_sent() -> None:
    call = {"id": "abc123def", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    signed = {**call, "extra_content": {"google": {"thought_signature": "c2ln"}}}
    history = [HI, assistant(tool_calls=[signed]), result("abc123def")]
    body, answer = await asked({"messages": history}, spaced=True)
    assert body["messages"] == [HI, assistant(tool_calls=[call]), result("abc123def")]
    assert answer.dropped == ()
