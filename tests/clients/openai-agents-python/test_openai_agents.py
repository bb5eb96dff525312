"""`openai-agents` over OpenAI's client with nothing changed but base_url and api_key."""

import openai
import pytest
from agents import Agent, Model, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool
from pydantic import BaseModel

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]
HELLO = "What is the capital of France?"
SAID = f"You said: {HELLO}"
KINDS = [OpenAIResponsesModel, OpenAIChatCompletionsModel]
MODELS = ("gpt-terra", "claude-haiku")


class Place(BaseModel):
    city: str


@function_tool
def get_weather(place: str) -> str:
    """The weather at a place."""
    return f"sunny at {place}"


def opened(kind: type[Model], name: str, url: str, key: str = "sk-test-key-1") -> Model:
    return kind(model=name, openai_client=openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0))


@pytest.fixture(
    params=[(kind, name) for kind in KINDS for name in MODELS], ids=lambda pair: f"{pair[0].__name__}-{pair[1]}"
)
def model(url: str, request: pytest.FixtureRequest) -> Model:
    return opened(*request.param, url)


async def test_answers(model: Model) -> None:
    result = await Runner.run(Agent(name="a", instructions="Be brief.", model=model), HELLO)
    assert result.final_output == SAID
    assert result.context_wrapper.usage.output_tokens > 0


async def test_streams(model: Model) -> None:
    result = Runner.run_streamed(Agent(name="a", model=model), HELLO)
    deltas = [
        event.data.delta
        async for event in result.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    assert "".join(deltas) == result.final_output == SAID


@pytest.mark.parametrize("stream", [False, True])
async def test_runs_a_tool(model: Model, stream: bool) -> None:
    agent = Agent(name="a", model=model, tools=[get_weather])
    if stream:
        result = Runner.run_streamed(agent, HELLO)
        async for _ in result.stream_events():
            pass
    else:
        result = await Runner.run(agent, HELLO)
    assert result.final_output == "You said: sunny at demo"


async def test_hands_over_to_another_agent(model: Model) -> None:
    other = Agent(name="other", model=model)
    result = await Runner.run(Agent(name="first", model=model, handoffs=[other]), HELLO)
    assert result.last_agent is other
    assert result.final_output


async def test_structures(model: Model) -> None:
    result = await Runner.run(Agent(name="a", model=model, output_type=Place), HELLO)
    assert result.final_output == Place(city="demo")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refusal_is_openais_error(url: str, kind: type[Model], refusal: tuple[str, int]) -> None:
    key, status = refusal
    kinds = {401: openai.AuthenticationError, 402: openai.APIStatusError, 429: openai.RateLimitError}
    with pytest.raises(kinds[status]) as caught:
        await Runner.run(Agent(name="a", model=opened(kind, "gpt-terra", url, key)), HELLO)
    assert caught.value.status_code == status
