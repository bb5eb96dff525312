"""The golden pairs of what callers get, against the types of the vendor's own package: strictly, as it never does."""

import json
from pathlib import Path

import openai.types.responses
import pytest
from pydantic import TypeAdapter

WIRE = Path(__file__).parents[2] / "wire"
EVENT = TypeAdapter(openai.types.responses.ResponseStreamEvent)


def pairs_of(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", sorted(WIRE.joinpath(kind).iterdir()), ids=lambda path: path.stem)


@pairs_of("responses/answers")
def test_a_response_is_one(path: Path) -> None:
    openai.types.responses.Response.model_validate(json.loads(path.read_text())["response"])


@pairs_of("responses/streams")
def test_events_are_those_of_a_response(path: Path) -> None:
    for event in json.loads(path.read_text())["events"]:
        EVENT.validate_python(event)
