"""The `mistralai` package with nothing changed but server_url and api_key."""

from collections.abc import Iterator

import pytest
from mistralai.client import Mistral
from mistralai.client.errors import SDKError
from pydantic import BaseModel

HELLO = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}
MODELS = ("mistral-small", "gpt-terra", "claude-haiku")


class Place(BaseModel):
    city: str


@pytest.fixture
def client(root: str) -> Iterator[Mistral]:
    with Mistral(server_url=root, api_key="sk-test-key-1") as client:
        yield client


@pytest.mark.parametrize("model", MODELS)
def test_chats(client: Mistral, model: str) -> None:
    answer = client.chat.complete(model=model, messages=HELLO, max_tokens=50, temperature=0.2)
    assert answer.choices[0].message.content == "You said: What is the capital of France?"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


@pytest.mark.parametrize("model", MODELS)
def test_streams(client: Mistral, model: str) -> None:
    with client.chat.stream(model=model, messages=HELLO) as stream:
        chunks = [event.data for event in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "You said: What is the capital of France?"
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"


@pytest.mark.parametrize("model", MODELS)
def test_calls_a_tool_and_takes_its_result(client: Mistral, model: str) -> None:
    answer = client.chat.complete(model=model, messages=HELLO, tools=[WEATHER], tool_choice="any")
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"place":"demo"}')
    result = {"role": "tool", "name": "get_weather", "tool_call_id": call.id, "content": "sunny"}
    turns = [*HELLO, answer.choices[0].message, result]
    assert client.chat.complete(model=model, messages=turns, tools=[WEATHER]).choices[0].message.content


@pytest.mark.parametrize("model", MODELS)
def test_parses_what_it_is_told_to(client: Mistral, model: str) -> None:
    answer = client.chat.parse(Place, model=model, messages=HELLO, max_tokens=50)
    assert answer.choices[0].message.parsed == Place(city="demo")


def test_embeds(client: Mistral) -> None:
    answer = client.embeddings.create(model="vectors", inputs=["a", "b", "a"])
    first, second, third = (one.embedding for one in answer.data)
    assert first == third != second


def test_lists_models(client: Mistral) -> None:
    # Its own type of a model is full of what only Mistral knows; others it hands on as they came.
    assert {"auto", *MODELS} <= {model.raw["id"] for model in client.models.list().data}


def test_a_refusal_is_an_sdk_error(root: str, refusal: tuple[str, int]) -> None:
    key, status = refusal
    with Mistral(server_url=root, api_key=key) as client, pytest.raises(SDKError) as caught:
        client.chat.complete(model="mistral-small", messages=HELLO)
    assert caught.value.status_code == status


def test_a_vendors_failure_is_an_sdk_error(client: Mistral) -> None:
    with pytest.raises(SDKError) as caught:
        client.chat.complete(model="mistral-small", messages=[{"role": "user", "content": "fail with 500"}])
    assert caught.value.status_code == 502
