"""The `openai` package with nothing changed but base_url and api_key."""

import asyncio
from collections.abc import Iterator

import openai
import pytest
from pydantic import BaseModel

HELLO = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="sk-test-key-1") as client:
        yield client


@pytest.mark.parametrize("model", ["auto", "auto:all", "gpt-terra"])
def test_chats(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=HELLO, max_tokens=50)
    assert answer.object == "chat.completion"
    assert answer.model == "gpt-terra"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert answer.router_metadata["selected_model"] == "gpt-terra"


def test_streams(client: openai.OpenAI) -> None:
    with client.chat.completions.create(model="auto", messages=HELLO, stream=True) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


def test_streams_with_usage_when_asked_for(client: openai.OpenAI) -> None:
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model="auto", messages=HELLO, stream=True, stream_options=options))
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 0


def test_a_stream_reads_as_the_helper_does(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="auto", messages=HELLO) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.content


@pytest.mark.parametrize("format", ["float", "base64", openai.omit])
def test_embeds(client: openai.OpenAI, format: str) -> None:
    answer = client.embeddings.create(model="vectors", input=["a", "b", "a"], dimensions=8, encoding_format=format)
    first, second, third = (one.embedding for one in answer.data)
    assert first == third != second
    assert answer.usage.total_tokens == 3 and answer.model == "vectors"
    if format != "base64":  # asked for by name it is handed on packed
        assert len(first) == 8 and isinstance(first[0], float)


def test_completes_a_text(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="gpt-terra", prompt="Once upon a time")
    assert answer.object == "text_completion" and answer.choices[0].text
    assert answer.usage.completion_tokens <= 16
    chunks = list(client.completions.create(model="gpt-terra", prompt="Once upon a time", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == answer.choices[0].text


def test_calls_a_tool(client: openai.OpenAI) -> None:
    required = {"type": "function", "function": {"name": "get_weather"}}
    answer = client.chat.completions.create(model="auto", messages=HELLO, tools=[WEATHER], tool_choice=required)
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    assert call.function.arguments.startswith("{")
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    messages = [*HELLO, answer.choices[0].message, result]
    assert client.chat.completions.create(model="auto", messages=messages, tools=[WEATHER]).choices


@pytest.mark.parametrize("mode", ["auto", "required"])
@pytest.mark.parametrize("model", ["claude-haiku", "mistral-small"])
def test_only_allowed_tools_are_called(client: openai.OpenAI, model: str, mode: str) -> None:
    other = {"type": "function", "function": {"name": "other"}}
    named = {"type": "function", "function": {"name": "get_weather"}}
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [named]}}
    answer = client.chat.completions.create(model=model, messages=HELLO, tools=[other, WEATHER], tool_choice=choice)
    assert [call.function.name for call in answer.choices[0].message.tool_calls] == ["get_weather"]


def test_parses(client: openai.OpenAI) -> None:
    class Place(BaseModel):
        city: str

    for model in ("gpt-terra", "claude-haiku", "mistral-small"):
        answer = client.chat.completions.parse(model=model, messages=HELLO, response_format=Place)
        assert answer.choices[0].message.parsed == Place(city="demo")


def test_a_used_up_rate_is_a_rate_limit(url: str, busy: str) -> None:
    with openai.OpenAI(base_url=url, api_key=busy, max_retries=0) as client, pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="auto", messages=HELLO)


def test_lists_models(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[0] == "auto"
    assert "gpt-terra" in names
    assert client.models.retrieve("gpt-terra").object == "model"


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-unknown", messages=HELLO)
    assert caught.value.code == "model_not_found"


def test_a_wrong_value_is_a_bad_request(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="auto", messages=[])
    assert caught.value.type == "invalid_request_error"
    assert caught.value.param == "messages"


def test_a_wrong_key_is_an_authentication_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        client.with_options(api_key="sk-other").models.list()
    assert caught.value.code == "invalid_api_key"


@pytest.mark.parametrize("stream", [False, True])
def test_a_spent_budget_is_status_402_and_called_once(client: openai.OpenAI, stream: bool) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.with_options(api_key="sk-poor").chat.completions.create(model="auto", messages=HELLO, stream=stream)
    error = caught.value
    assert (error.status_code, error.code, error.type) == (402, "budget_exceeded", "insufficient_quota")
    assert error.body["budget"]["limit_usd"]
    assert error.response.request.headers["x-stainless-retry-count"] == "0"


def test_awaits(url: str) -> None:
    asyncio.run(_stream(url))


async def _stream(url: str) -> None:
    async with openai.AsyncOpenAI(base_url=url, api_key="sk-test-key-1") as client:
        stream = await client.chat.completions.create(model="auto", messages=HELLO, stream=True)
        assert [chunk async for chunk in stream]
