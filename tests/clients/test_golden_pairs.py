"""The golden pairs of what callers get, against the types of the vendors' own packages: strictly, as those never do."""

import json
from pathlib import Path

import anthropic.types
import openai.types.responses
import pytest
from pydantic import TypeAdapter

WIRE = Path(__file__).parent.parent / "wire"
MESSAGE_EVENT = TypeAdapter(anthropic.types.RawMessageStreamEvent)
RESPONSE_EVENT = TypeAdapter(openai.types.responses.ResponseStreamEvent)


def pairs_of(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", sorted(WIRE.joinpath(kind).iterdir()), ids=lambda path: path.stem)


@pairs_of("anthropic_inbound/answers")
def test_a_message_is_one(path: Path) -> None:
    if path.stem != "anthropics_own":  # which has what the package does not know yet
        anthropic.types.Message.model_validate(json.loads(path.read_text())["message"])


@pairs_of("anthropic_inbound/streams")
def test_events_are_those_of_a_message(path: Path) -> None:
    for event in json.loads(path.read_text())["events"]:
        if event["type"] != "ping":
            MESSAGE_EVENT.validate_python(event)


@pairs_of("responses/answers")
def test_a_response_is_one(path: Path) -> None:
    openai.types.responses.Response.model_validate(json.loads(path.read_text())["response"])


@pairs_of("responses/streams")
def test_events_are_those_of_a_response(path: Path) -> None:
    for event in json.loads(path.read_text())["events"]:
        RESPONSE_EVENT.validate_python(event)
