"""`instructor` over OpenAI's client with nothing changed but base_url and api_key."""

from collections.abc import Iterator

import instructor
import openai
import pytest
from instructor import Instructor, Mode
from instructor.core import InstructorRetryException
from pydantic import BaseModel

HELLO = [{"role": "user", "content": "What is the capital of France?"}]
MODELS = ("gpt-terra", "claude-haiku", "mistral-small")
MODES = [Mode.TOOLS, Mode.JSON, Mode.JSON_SCHEMA]


class Place(BaseModel):
    city: str


def opened(url: str, mode: Mode = Mode.TOOLS, key: str = "sk-test-key-1") -> Instructor:
    return instructor.from_openai(openai.OpenAI(base_url=url, api_key=key, max_retries=0), mode=mode)


@pytest.fixture(params=MODES, ids=str)
def client(url: str, request: pytest.FixtureRequest) -> Iterator[Instructor]:
    client = opened(url, request.param)
    yield client
    client.client.close()


@pytest.mark.parametrize("model", MODELS)
def test_structures(client: Instructor, model: str) -> None:
    place, completion = client.create_with_completion(model=model, messages=HELLO, response_model=Place)
    assert place.city == "demo"
    assert completion.usage.total_tokens > 0


@pytest.mark.parametrize("model", MODELS)
def test_streams_what_is_known_so_far(client: Instructor, model: str) -> None:
    *_, last = client.create_partial(model=model, messages=HELLO, response_model=Place)
    assert last.city == "demo"


def test_a_refusal_is_its_own_error_over_openais(url: str, refusal: tuple[str, int]) -> None:
    key, status = refusal
    client = opened(url, key=key)
    with pytest.raises(InstructorRetryException) as caught:
        client.create(model="gpt-terra", messages=HELLO, response_model=Place, max_retries=0)
    cause = caught.value.__cause__
    client.client.close()
    assert isinstance(cause, openai.APIStatusError) and cause.status_code == status
