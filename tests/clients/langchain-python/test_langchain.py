"""`langchain-openai` and `langchain-anthropic` with nothing changed but base_url and api_key."""

import anthropic
import openai
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]
HELLO = "What is the capital of France?"
SAID = f"You said: {HELLO}"


class Place(BaseModel):
    """Where it is."""

    city: str


@tool
def get_weather(place: str) -> str:
    """The weather at a place."""
    return f"sunny at {place}"


KINDS = ["openai to openai", "openai to claude", "responses", "anthropic to claude", "anthropic to openai"]


def opened(kind: str, root: str, key: str = "sk-test-key-1") -> BaseChatModel:
    model = "claude-haiku" if kind.endswith("claude") else "gpt-terra"
    if kind.startswith("anthropic"):
        return ChatAnthropic(model=model, base_url=root, api_key=key, max_retries=0, max_tokens=100)
    use = {"use_responses_api": True} if kind == "responses" else {}
    return ChatOpenAI(model=model, base_url=f"{root}/v1", api_key=key, max_retries=0, stream_usage=True, **use)


@pytest.fixture(params=KINDS)
def model(root: str, request: pytest.FixtureRequest) -> BaseChatModel:
    return opened(request.param, root)


def test_chats(model: BaseChatModel) -> None:
    answer = model.invoke([("system", "Be brief."), ("human", HELLO)])
    assert isinstance(answer, AIMessage) and answer.text == SAID
    usage = answer.usage_metadata
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0


def test_streams(model: BaseChatModel) -> None:
    whole: AIMessageChunk | None = None
    for chunk in model.stream(HELLO):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None and whole.text == SAID
    assert whole.usage_metadata["output_tokens"] > 0


async def test_streams_in_the_background(model: BaseChatModel) -> None:
    assert "".join([chunk.text async for chunk in model.astream(HELLO)]) == SAID


def test_calls_a_tool_and_takes_its_result(model: BaseChatModel) -> None:
    able = model.bind_tools([get_weather])
    asked = able.invoke(HELLO)
    (call,) = asked.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"place": "demo"})
    result = get_weather.invoke(call)
    assert isinstance(result, ToolMessage)
    assert able.invoke([HumanMessage(HELLO), asked, result]).text == "You said: sunny at demo"


def test_streams_a_tool_call(model: BaseChatModel) -> None:
    whole: AIMessageChunk | None = None
    for chunk in model.bind_tools([get_weather]).stream(HELLO):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [("get_weather", {"place": "demo"})]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structures(model: BaseChatModel, method: str) -> None:
    assert model.with_structured_output(Place, method=method).invoke(HELLO) == Place(city="demo")


def test_embeds(url: str) -> None:
    # LangChain counts tokens itself unless told not to, with tables it would fetch.
    embeddings = OpenAIEmbeddings(
        model="vectors", base_url=url, api_key="sk-test-key-1", check_embedding_ctx_length=False
    )
    first, second, third = embeddings.embed_documents(["a", "b", "a"])
    assert first == third != second
    assert embeddings.embed_query("a") == first


@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_is_the_vendors_error(root: str, kind: str, refusal: tuple[str, int]) -> None:
    key, status = refusal
    kinds = {401: "AuthenticationError", 402: "APIStatusError", 429: "RateLimitError"}
    package = anthropic if kind.startswith("anthropic") else openai
    with pytest.raises(getattr(package, kinds[status])) as caught:
        opened(kind, root, key).invoke(HELLO)
    assert caught.value.status_code == status
