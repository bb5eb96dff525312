"""The golden pairs of what callers get, against the types of the vendor's own package: strictly, as it never does."""

import json
from pathlib import Path

import anthropic.types
import pytest
from pydantic import TypeAdapter

WIRE = Path(__file__).parents[2] / "wire"
EVENT = TypeAdapter(anthropic.types.RawMessageStreamEvent)


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
            EVENT.validate_python(event)
