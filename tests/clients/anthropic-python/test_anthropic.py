"""The `anthropic` package with nothing changed but base_url and api_key."""

import asyncio
from collections.abc import Iterator

import anthropic
import pytest

HELLO = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
}
MODELS = ("auto", "gpt-terra", "claude-haiku")


@pytest.fixture(params=["without /v1", "with /v1"])
def client(url: str, request: pytest.FixtureRequest) -> Iterator[anthropic.Anthropic]:
    base = url if request.param == "with /v1" else url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=base, api_key="sk-test-key-1") as client:
        yield client


@pytest.mark.parametrize("model", MODELS)
def test_answers(client: anthropic.Anthropic, model: str) -> None:
    message = client.messages.create(model=model, max_tokens=50, messages=HELLO, system="Be brief.")
    assert (message.type, message.role, message.stop_reason) == ("message", "assistant", "end_turn")
    assert message.content[0].text
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0
    assert message._request_id == message.router_metadata["request_id"]


@pytest.mark.parametrize("model", MODELS)
def test_streams(client: anthropic.Anthropic, model: str) -> None:
    with client.messages.stream(model=model, max_tokens=50, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text and message.content[0].text == text
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0


def test_streams_events_in_their_order(client: anthropic.Anthropic) -> None:
    with client.messages.create(model="auto", max_tokens=50, messages=HELLO, stream=True) as stream:
        names = [event.type for event in stream]
    assert names[:2] == ["message_start", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(names[2:-3]) == {"content_block_delta"}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", [False, True])
def test_calls_a_tool_and_takes_its_result(client: anthropic.Anthropic, model: str, stream: bool) -> None:
    asked = {"model": model, "max_tokens": 200, "tools": [WEATHER]}
    forced = {**asked, "messages": HELLO, "tool_choice": {"type": "tool", "name": "get_weather"}}
    if stream:
        with client.messages.stream(**forced) as events:
            message = events.get_final_message()
    else:
        message = client.messages.create(**forced)
    use = message.content[-1]
    assert (message.stop_reason, use.type, use.name) == ("tool_use", "tool_use", "get_weather")
    assert use.input == {"place": "demo"}
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}
    turns = [*HELLO, message.to_param(), {"role": "user", "content": [result]}]
    assert client.messages.create(**asked, messages=turns).content[0].text


def test_counts_tokens(client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model="auto", messages=HELLO, tools=[WEATHER])
    assert counted.input_tokens > 10


def test_lists_models(client: anthropic.Anthropic) -> None:
    names = [model.id for model in client.models.list()]
    assert names[0] == "auto" and "claude-haiku" in names
    model = client.models.retrieve("claude-haiku")
    assert (model.type, model.display_name, model.lifecycle) == ("model", "claude-haiku", "active")
    assert model.created_at.tzinfo


def test_keeps_to_a_schema(client: anthropic.Anthropic) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    wanted = {"format": {"type": "json_schema", "schema": schema}}
    for model in MODELS:
        message = client.messages.create(model=model, max_tokens=50, messages=HELLO, output_config=wanted)
        assert message.content[0].text == '{"city":"demo"}'


def test_a_used_up_rate_is_a_rate_limit(url: str, busy: str) -> None:
    with (
        anthropic.Anthropic(base_url=url, api_key=busy, max_retries=0) as client,
        pytest.raises(anthropic.RateLimitError) as caught,
    ):
        client.messages.create(model="auto", max_tokens=50, messages=HELLO)
    assert caught.value.body["error"]["type"] == "rate_limit_error"


def test_an_unknown_model_is_not_found(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(model="gpt-unknown", max_tokens=5, messages=HELLO)
    assert caught.value.body["error"]["type"] == "not_found_error"


def test_a_wrong_value_is_a_bad_request(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(model="auto", max_tokens=5, messages=[])
    assert caught.value.body["error"]["type"] == "invalid_request_error"


def test_a_wrong_key_is_an_authentication_error(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.AuthenticationError):
        client.with_options(api_key="sk-other").messages.create(model="auto", max_tokens=5, messages=HELLO)


def test_a_bearer_token_is_a_key(url: str) -> None:
    with anthropic.Anthropic(base_url=url, auth_token="sk-test-key-1") as client:
        assert client.messages.create(model="auto", max_tokens=5, messages=HELLO).content


@pytest.mark.parametrize("stream", [False, True])
def test_a_spent_budget_is_status_402_and_called_once(client: anthropic.Anthropic, stream: bool) -> None:
    with pytest.raises(anthropic.PaymentRequiredError) as caught:
        client.with_options(api_key="sk-poor").messages.create(
            model="auto", max_tokens=50, messages=HELLO, stream=stream
        )
    error = caught.value
    assert error.body["error"]["type"] == "billing_error"
    assert error.body["error"]["budget"]["limit_usd"]
    assert error.response.request.headers["x-stainless-retry-count"] == "0"


def test_awaits(url: str) -> None:
    asyncio.run(_stream(url))


async def _stream(url: str) -> None:
    asked = {"model": "auto", "max_tokens": 50, "messages": HELLO}
    async with (
        anthropic.AsyncAnthropic(base_url=url, api_key="sk-test-key-1") as client,
        client.messages.stream(**asked) as stream,
    ):
        assert [text async for text in stream.text_stream]
