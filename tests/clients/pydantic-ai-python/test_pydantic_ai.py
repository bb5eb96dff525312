"""`pydantic-ai-slim` with nothing changed but its providers' base_url and api_key."""

import anthropic
import openai
import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.embeddings import Embedder
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]
HELLO = "What is the capital of France?"
SAID = f"You said: {HELLO}"
KINDS = ["chat to openai", "chat to claude", "responses to openai", "messages to claude", "messages to openai"]


class Place(BaseModel):
    city: str


def opened(kind: str, root: str, key: str = "sk-test-key-1") -> Model:
    name = "claude-haiku" if kind.endswith("claude") else "gpt-terra"
    if kind.startswith("messages"):
        client = anthropic.AsyncAnthropic(base_url=root, api_key=key, max_retries=0)
        return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=client))
    provider = OpenAIProvider(openai_client=openai.AsyncOpenAI(base_url=f"{root}/v1", api_key=key, max_retries=0))
    return (OpenAIResponsesModel if kind.startswith("responses") else OpenAIChatModel)(name, provider=provider)


@pytest.fixture(params=KINDS)
def model(root: str, request: pytest.FixtureRequest) -> Model:
    return opened(request.param, root)


async def test_answers(model: Model) -> None:
    result = await Agent(model, instructions="Be brief.").run(HELLO)
    assert result.output == SAID
    assert result.usage.input_tokens > 0 and result.usage.output_tokens > 0


async def test_streams(model: Model) -> None:
    async with Agent(model).run_stream(HELLO) as result:
        assert "".join([text async for text in result.stream_text(delta=True)]) == SAID


async def test_runs_a_tool(model: Model) -> None:
    agent, asked = Agent(model), []

    @agent.tool_plain
    def get_weather(place: str) -> str:
        asked.append(place)
        return "sunny"

    assert (await agent.run(HELLO)).output == "You said: sunny"
    assert asked == ["demo"]


@pytest.mark.parametrize("output", [ToolOutput(Place), PromptedOutput(Place)], ids=["tool", "prompted"])
async def test_structures(model: Model, output: object) -> None:
    assert (await Agent(model, output_type=output).run(HELLO)).output == Place(city="demo")


# For Claude it keeps a list of the models that can, by Anthropic's own names.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("messages")])
async def test_structures_by_schema(root: str, kind: str) -> None:
    result = await Agent(opened(kind, root), output_type=NativeOutput(Place)).run(HELLO)
    assert result.output == Place(city="demo")


async def test_embeds(root: str) -> None:
    provider = OpenAIProvider(base_url=f"{root}/v1", api_key="sk-test-key-1")
    result = await Embedder(OpenAIEmbeddingModel("vectors", provider=provider)).embed_documents(["a", "b", "a"])
    first, second, third = result.embeddings
    assert first == third != second


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refusal_is_a_model_http_error(root: str, kind: str, refusal: tuple[str, int]) -> None:
    key, status = refusal
    with pytest.raises(ModelHTTPError) as caught:
        await Agent(opened(kind, root, key)).run(HELLO)
    assert caught.value.status_code == status
