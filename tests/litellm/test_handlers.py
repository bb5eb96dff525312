"""A `CustomLLM` unchanged: under LiteLLM itself and under ours it is asked the same and answers the same."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import litellm
import msgspec
import pytest
from muxer_litellm import LiteLLMSettings, open_litellm
from muxer_litellm.files import load_instance

from muxer import (
    ConfigInvalid,
    UpstreamAuth,
    UpstreamBadResponse,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    Usage,
)
from muxer.testing import a_call, a_request, collected, open_context

FOLDER = Path(__file__).parent / "examples"
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Paris"}]
FIELDS = {
    "messages": MESSAGES,
    "temperature": 0.3,
    "max_tokens": 20,
    "tools": [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}],
    "response_format": {"type": "json_object"},
    "user": "alice",
}


@asynccontextmanager
async def ours(name: str, **settings: Any) -> AsyncIterator[Any]:
    changes = {"handler": f"my_handlers.{name}", "api_key": "sk-1", "base_url": "https://example.com/v1", **settings}
    async with open_context(FOLDER) as context, open_litellm(LiteLLMSettings(**changes), context) as provider:
        yield provider


def asked(*, stream: bool = False) -> Any:
    raw = msgspec.json.encode({"model": "x", **FIELDS, **({"stream": True} if stream else {})})
    return a_call(a_request(stream=stream), model="m-1", raw=raw, output_cap=20)


async def theirs(handler: Any, *, stream: bool) -> Any:
    """The same request through LiteLLM itself, as its documentation registers a handler."""
    litellm.custom_provider_map = [{"provider": "mine", "custom_handler": handler}]
    more: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    more["_skip_mcp_handler"] = True  # LiteLLM 1.106.2 takes no tools without the packages of its extra `mcp`
    answer = await litellm.acompletion(
        model="mine/m-1", api_key="sk-1", api_base="https://example.com/v1", **FIELDS, **more
    )
    return [chunk async for chunk in answer] if stream else answer


@pytest.fixture(autouse=True)
def _no_map_left() -> Any:
    yield
    litellm.custom_provider_map = []


@pytest.mark.parametrize("name", ["whole", "tools", "mocked"])
async def test_a_whole_answer_is_the_same(name: str) -> None:
    expected = (await theirs(load_instance(f"my_handlers.{name}", FOLDER), stream=False)).model_dump(exclude_none=True)
    litellm.custom_provider_map = []
    async with ours(name) as provider:
        answer = await provider.acompletion(asked())
    told = msgspec.json.decode(answer.raw)
    assert told["choices"] == expected["choices"]
    assert told["usage"] == expected["usage"]
    assert answer.choices[0].text == expected["choices"][0]["message"].get("content")


@pytest.mark.parametrize("name", ["whole", "tools", "unfinished"])
async def test_a_stream_is_the_same(name: str) -> None:
    chunks = await theirs(load_instance(f"my_handlers.{name}", FOLDER), stream=True)
    expected = [chunk.model_dump(exclude_none=True) for chunk in chunks]
    litellm.custom_provider_map = []
    async with ours(name) as provider:
        told = [chunk async for chunk in provider.astreaming(asked(stream=True))]
    said = [msgspec.json.decode(chunk.raw) for chunk in told]
    spoken = [one["choices"] for one in expected if "usage" not in one]
    assert [one["choices"] for one in said if "usage" not in one] == spoken
    usages = [one["usage"] for one in said if "usage" in one]
    assert usages == ([] if name == "unfinished" else [expected[-1]["usage"]])


@pytest.mark.parametrize("stream", [False, True])
async def test_a_handler_is_asked_the_same(stream: bool) -> None:
    alone = load_instance("my_handlers.whole", FOLDER)
    await theirs(alone, stream=stream)
    litellm.custom_provider_map = []
    async with ours("whole") as provider:
        if stream:
            assert [chunk async for chunk in provider.astreaming(asked(stream=True))]
        else:
            await provider.acompletion(asked())
        (entry,) = litellm.custom_provider_map
        assert entry["custom_handler"]._instance.calls == alone.calls


async def test_the_usage_of_a_handler_is_what_is_billed() -> None:
    async with ours("whole") as provider:
        assert (await provider.acompletion(asked())).usage == Usage(input_tokens=11, output_tokens=5)


@pytest.mark.parametrize("stream", [False, True])
async def test_synchronous_methods_run_in_a_thread(stream: bool) -> None:
    async with ours("synchronous") as provider:
        if stream:
            answer = collected([chunk async for chunk in provider.astreaming(asked(stream=True))])
            assert (answer.text, answer.usage) == ("in a thread", Usage(input_tokens=11, output_tokens=5))
        else:
            assert (await provider.acompletion(asked())).choices[0].text == "in a thread"


async def test_without_a_streaming_method_the_stream_is_the_whole_answer() -> None:
    async with ours("whole_only") as provider:
        answer = collected([chunk async for chunk in provider.astreaming(asked(stream=True))])
    assert (answer.text, answer.finish_reason) == ("Said Paris", "stop")
    assert answer.usage == Usage(input_tokens=11, output_tokens=5)


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (400, UpstreamRefused),
        (401, UpstreamAuth),
        (429, UpstreamRateLimited),
        (500, UpstreamError),
        (503, UpstreamError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_status_of_an_error_says_what_it_is(status: int, failure: Any, stream: bool) -> None:
    async with ours(f"failing_{status}") as provider:
        with pytest.raises(failure) as raised:
            if stream:
                [chunk async for chunk in provider.astreaming(asked(stream=True))]
            await provider.acompletion(asked())
    assert raised.value.upstream_status == status
    assert ("no luck today" in raised.value.message) == (status != 401)


async def test_what_else_a_handler_raises_is_told_without_its_words() -> None:
    async with ours("broken") as provider:
        with pytest.raises(UpstreamBadResponse) as raised:
            await provider.acompletion(asked())
    assert "secret" not in raised.value.message


async def test_two_generations_of_a_handler_serve_side_by_side() -> None:
    async with ours("whole") as old:
        async with ours("whole") as new:
            assert (await new.acompletion(asked())).choices
        assert (await old.acompletion(asked())).choices
    assert litellm.custom_provider_map == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my_handlers.missing", "has no 'missing'"),
        ("no_such_file.x", "does not import"),
        ("my_handlers.not_a_handler", "no instance of CustomLLM"),
        ("my_handlers.Whole", "no instance of CustomLLM"),
    ],
)
async def test_a_handler_that_is_none_is_a_fault_of_the_configuration(name: str, words: str) -> None:
    with pytest.raises(ConfigInvalid, match=words):
        async with ours("whole", handler=name):
            pass
