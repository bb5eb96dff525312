"""`litellm` as a library, with the proxy as the base_url of its OpenAI and Anthropic providers."""

import litellm
import pytest

HELLO = [{"role": "user", "content": "What is the capital of France?"}]
SAID = "You said: What is the capital of France?"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}
MODELS = ("openai/gpt-terra", "openai/claude-haiku", "litellm_proxy/mistral-small", "anthropic/claude-haiku")


def to(model: str, url: str, key: str = "sk-test-key-1") -> dict[str, object]:
    base = url.removesuffix("/v1") if model.startswith("anthropic") else url
    return {"model": model, "api_base": base, "api_key": key, "num_retries": 0, "max_retries": 0}


@pytest.mark.parametrize("model", MODELS)
def test_chats(url: str, model: str) -> None:
    answer = litellm.completion(messages=HELLO, max_tokens=50, **to(model, url))
    assert answer.choices[0].message.content == SAID
    assert answer.usage.total_tokens > 0


@pytest.mark.parametrize("model", MODELS)
def test_streams(url: str, model: str) -> None:
    chunks = list(litellm.completion(messages=HELLO, max_tokens=50, stream=True, **to(model, url)))
    assert litellm.stream_chunk_builder(chunks).choices[0].message.content == SAID


@pytest.mark.parametrize("model", MODELS)
def test_calls_a_tool_and_takes_its_result(url: str, model: str) -> None:
    answer = litellm.completion(messages=HELLO, max_tokens=50, tools=[WEATHER], **to(model, url))
    message = answer.choices[0].message
    (call,) = message.tool_calls
    assert (call.function.name, call.function.arguments.replace(" ", "")) == ("get_weather", '{"place":"demo"}')
    turns = [*HELLO, message.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    answer = litellm.completion(messages=turns, max_tokens=50, tools=[WEATHER], **to(model, url))
    assert answer.choices[0].message.content == "You said: sunny"


def test_answers_responses(url: str) -> None:
    response = litellm.responses(input="What is the capital of France?", **to("openai/gpt-terra", url))
    assert response.output[-1].content[0].text == SAID


def test_embeds(url: str) -> None:
    answer = litellm.embedding(input=["a", "b", "a"], **to("openai/vectors", url))
    first, second, third = (one["embedding"] for one in answer.data)
    assert first == third != second


@pytest.mark.parametrize("model", ["openai/gpt-terra", "anthropic/claude-haiku"])
def test_a_refusal_is_its_own_error(url: str, model: str, refusal: tuple[str, int]) -> None:
    key, status = refusal
    kinds = {
        401: litellm.AuthenticationError,
        402: (litellm.exceptions.PaymentRequiredError, litellm.APIError),
        429: litellm.RateLimitError,
    }
    with pytest.raises(kinds[status]) as caught:
        litellm.completion(messages=HELLO, max_tokens=50, **to(model, url, key))
    assert caught.value.status_code == status
