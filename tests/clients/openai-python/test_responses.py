"""The Responses API of the `openai` package with nothing changed but base_url and api_key."""

from collections.abc import Iterator

import openai
import pytest

HELLO = "What is the capital of France?"
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    "strict": False,
}
MODELS = ("auto", "claude-haiku")


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="sk-test-key-1") as client:
        yield client


@pytest.mark.parametrize("model", MODELS)
def test_answers(client: openai.OpenAI, model: str) -> None:
    response = client.responses.create(model=model, input=HELLO, instructions="Be brief.", max_output_tokens=50)
    assert (response.object, response.status, response.error) == ("response", "completed", None)
    assert response.output_text
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 0
    assert response._request_id == response.router_metadata["request_id"]


@pytest.mark.parametrize("model", MODELS)
def test_streams(client: openai.OpenAI, model: str) -> None:
    with client.responses.stream(model=model, input=HELLO) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        response = stream.get_final_response()
    assert text and response.output_text == text
    assert response.usage.output_tokens > 0


def test_streams_events_in_their_order(client: openai.OpenAI) -> None:
    with client.responses.create(model="auto", input=HELLO, stream=True) as stream:
        events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    names = [event.type.removeprefix("response.") for event in events]
    assert names[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert names[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", [False, True])
def test_calls_a_tool_and_takes_its_output(client: openai.OpenAI, model: str, stream: bool) -> None:
    asked = {"model": model, "tools": [WEATHER]}
    forced = {**asked, "input": HELLO, "tool_choice": {"type": "function", "name": "get_weather"}}
    if stream:
        with client.responses.stream(**forced) as events:
            response = events.get_final_response()
    else:
        response = client.responses.create(**forced)
    call = response.output[-1]
    assert (call.type, call.name, call.arguments) == ("function_call", "get_weather", '{"place":"demo"}')
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    items = [{"role": "user", "content": HELLO}, *response.output, result]
    assert client.responses.create(**asked, input=items).output_text


def test_a_schema_is_kept_to(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    text = {"format": {"type": "json_schema", "name": "place", "schema": schema}}
    assert client.responses.create(model="auto", input=HELLO, text=text).output_text == '{"city":"demo"}'


def test_state_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="auto", input=HELLO, previous_response_id="resp_1")
    assert (caught.value.code, caught.value.param) == ("unsupported", "previous_response_id")


def test_a_spent_budget_is_status_402_and_called_once(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.with_options(api_key="sk-poor").responses.create(model="auto", input=HELLO)
    assert (caught.value.status_code, caught.value.code) == (402, "budget_exceeded")
    assert caught.value.response.request.headers["x-stainless-retry-count"] == "0"
