"""The offline provider: sensible, deterministic, and within every bound."""

from contextlib import aclosing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from muxer_demo import Demo, DemoSettings, open_demo, register_providers

from muxer import (
    ChatRequest,
    Chunk,
    FunctionSpec,
    NamedFunction,
    ResponseFormat,
    Tool,
    ToolCall,
    ToolChoice,
    Usage,
)
from muxer.testing import a_call, a_request, collected, open_context

SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "unit": {"enum": ["C", "F"]},
        "days": {"type": ["integer", "null"]},
        "where": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]},
        "tags": {"type": "array"},
        "note": {"type": "string"},
    },
    "required": ["city", "unit", "days", "where", "tags"],
}
EXAMPLE = b'{"city":"demo","unit":"C","days":0,"where":{"x":0},"tags":[]}'
TOOLS = (
    Tool(type="function", function=FunctionSpec(name="now")),
    Tool(type="function", function=FunctionSpec(name="weather", parameters=SCHEMA)),
)


async def answer(request: ChatRequest | str, **changes: object) -> list[Chunk]:
    async with aclosing(Demo().astreaming(a_call(request, **changes))) as chunks:
        return [chunk async for chunk in chunks]


async def called(tool_choice: str | ToolChoice) -> tuple[ToolCall, ...]:
    return collected(await answer(a_request(tools=TOOLS, tool_choice=tool_choice))).tool_calls


async def test_opens_without_settings() -> None:
    (kind,) = register_providers()
    assert (kind.name, kind.settings) == ("demo", DemoSettings)
    async with open_context() as context, open_demo(DemoSettings(), context) as provider:
        assert isinstance(provider, Demo)


def test_unknown_settings_are_errors() -> None:
    with pytest.raises(msgspec.ValidationError, match="api_key"):
        msgspec.convert({"api_key": "k"}, DemoSettings)


async def test_says_that_it_is_a_demo_and_from_which_model() -> None:
    chunks = await answer("What is the capital of France?", model="gpt-9")
    said = collected(chunks)
    assert said.text.startswith("This is a demo answer from gpt-9")
    assert said.text.endswith("You asked: “What is the capital of France?”")
    assert said.finish_reason == "stop"
    assert len([chunk for chunk in chunks if chunk.text]) > 3


async def test_answers_by_the_kind_of_prompt() -> None:
    prompts = (
        "Write a Python function",
        "Translate this",
        "Summarise it",
        "Solve x",
        "Explain why",
        "Write a poem",
        "Hi",
    )
    said = [collected(await answer(prompt)).text.partition(" You asked:")[0] for prompt in (*prompts, "")]
    assert len(set(said)) == len(prompts) + 1


async def test_the_last_chunk_is_a_usage_of_a_token_per_four_bytes() -> None:
    chunks = await answer("12345")
    written = len(collected(chunks).text.encode())
    assert chunks[-1].usage == Usage(input_tokens=2, output_tokens=-(-written // 4))
    assert [chunk for chunk in chunks[:-1] if chunk.usage] == []


async def test_answers_the_same_request_the_same() -> None:
    request = a_request(tools=TOOLS, tool_choice="required")
    assert await answer("Hello") == await answer("Hello")
    assert await answer(request) == await answer(request)


@given(text=st.text(), cap=st.integers(0, 60), n=st.integers(1, 3))
async def test_never_passes_the_cap(text: str, cap: int, n: int) -> None:
    chunks = await answer(a_request(text, n=n), output_cap=cap)
    usage = chunks[-1].usage
    assert usage is not None and usage.output_tokens <= n * cap
    assert usage.input_tokens <= len(text.encode())
    assert len(collected(chunks).text.split()) <= cap


async def test_says_when_the_cap_cut_it() -> None:
    said = collected(await answer(a_request("Hello", max_tokens=4)))
    assert (said.text, said.finish_reason) == ("This is a demo", "length")
    assert said.usage is not None and said.usage.output_tokens == 4


async def test_answers_n_times() -> None:
    chunks = await answer(a_request("Hello", n=3))
    (once,) = [chunk.usage for chunk in await answer("Hello") if chunk.usage]
    assert [chunk.index for chunk in chunks if chunk.finish_reason] == [0, 1, 2]
    assert len({"".join(c.text for c in chunks if c.index == index) for index in range(3)}) == 1
    assert chunks[-1].usage == Usage(input_tokens=once.input_tokens, output_tokens=3 * once.output_tokens)


async def test_calls_the_first_tool_where_one_is_required() -> None:
    (call,) = await called("required")
    assert (call.function.name, call.function.arguments) == ("now", "{}")


async def test_calls_the_tool_that_is_named_with_the_least_arguments() -> None:
    (call,) = await called(ToolChoice(type="function", function=NamedFunction("weather")))
    assert (call.function.name, call.function.arguments.encode()) == ("weather", EXAMPLE)


@pytest.mark.parametrize("choice", ["auto", "none", ToolChoice(type="function", function=NamedFunction("nobody"))])
async def test_calls_no_tool_unless_it_must(choice: str | ToolChoice) -> None:
    assert await called(choice) == ()


async def test_answers_json_where_json_is_asked_for() -> None:
    plain = ResponseFormat(type="json_object")
    strict = ResponseFormat(type="json_schema", json_schema={"name": "w", "schema": SCHEMA})
    said = [collected(await answer(a_request(response_format=form))).text for form in (plain, strict)]
    assert list(msgspec.json.decode(said[0])) == ["answer"]
    assert said[1].encode() == EXAMPLE


@given(
    schema=st.recursive(
        st.none() | st.text(),
        lambda s: (
            st.lists(s)
            | st.dictionaries(st.sampled_from(["type", "anyOf", "enum", "required", "properties", "object"]), s)
        ),
    )
)
async def test_takes_any_schema(schema: object) -> None:
    form = ResponseFormat(type="json_schema", json_schema={"schema": schema})
    msgspec.json.decode(collected(await answer(a_request(response_format=form))).text)
