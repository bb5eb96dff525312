"""What every signal must do, as tests to inherit."""
# ruff: noqa: D102  # a test's name is its sentence

import math
import time
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muxer import (
    ChatRequest,
    FunctionCall,
    FunctionSpec,
    HasEvidence,
    ImagePart,
    ImageURL,
    Message,
    ResponseFormat,
    Signal,
    TextPart,
    Tool,
    ToolCall,
)
from muxer.testing.builders import a_request

LONG_BYTES = 64 * 1024
LONG_S = 0.5  # a hundred times what a good signal takes, so that only the hopeless fail on a busy machine
LONG_PATTERNS = [
    "a",
    " ",
    "\n",
    "word ",
    "((((",
    "def f(x):\n    return x\n",
    "`",
    "```\n",
    "aA1_",
    "é",
    "漢字",
    "0.",
    '"',
]

CONVERSATION = (
    Message(role="system", content="Be brief."),
    Message(role="user", content=(TextPart("What is this?"), ImagePart(ImageURL("https://example.org/a.png")))),
    Message(role="assistant", tool_calls=(ToolCall(id="1", function=FunctionCall(name="look")),)),
    Message(role="tool", content="A cat.", tool_call_id="1"),
)
TOOLS = (Tool(type="function", function=FunctionSpec(name="look", parameters={"type": "object"})),)
SHAPES = [
    a_request(""),
    a_request("\x00\u202e\ufeff"),
    ChatRequest(messages=()),
    ChatRequest(messages=(Message(role="assistant"),)),
    ChatRequest(messages=CONVERSATION, tools=TOOLS, response_format=ResponseFormat(type="json_object")),
]

# Hypothesis warns when two classes inherit one test; here that is the point.
any_text = settings(deadline=None, suppress_health_check=[HealthCheck.differing_executors])


class SignalContract:
    """Subclass it as `TestMySignal`, say how to make yours, and copy what its kind declares."""

    declared: Mapping[str, type] = {}  # a subclass sets its kind's `signals`

    def signal(self) -> Signal:
        """A signal as it is in force."""
        raise NotImplementedError

    def test_declares_names_usable_in_a_rule(self) -> None:
        assert self.declared
        assert [name for name in self.declared if not name.isidentifier()] == []
        assert set(self.declared.values()) <= {float, int, bool, str}

    @any_text
    @given(text=st.text())
    def test_gives_each_name_a_finite_value_of_its_type(self, text: str) -> None:
        self.check(self.signal(), a_request(text))

    @any_text
    @given(text=st.text())
    def test_measures_the_same_twice(self, text: str) -> None:
        signal, request = self.signal(), a_request(text)
        assert signal.measure(request) == signal.measure(request) == self.signal().measure(request)

    @pytest.mark.parametrize("request_", SHAPES, ids=range(len(SHAPES)))
    def test_takes_requests_of_every_shape(self, request_: ChatRequest) -> None:
        self.check(self.signal(), request_)

    @pytest.mark.parametrize("pattern", LONG_PATTERNS)
    def test_takes_a_long_text_in_its_stride(self, pattern: str) -> None:
        signal = self.signal()
        request = a_request((pattern * LONG_BYTES)[:LONG_BYTES])
        started = time.process_time()  # a busy machine is not its fault
        self.check(signal, request)
        assert time.process_time() - started < LONG_S

    @any_text
    @given(text=st.text())
    def test_evidence_belongs_to_its_names(self, text: str) -> None:
        signal = self.signal()
        evidence = signal.evidence(a_request(text)) if isinstance(signal, HasEvidence) else {}
        assert set(evidence) <= set(self.declared)
        assert all(isinstance(quote, str) for quotes in evidence.values() for quote in quotes)

    def check(self, signal: Signal, request: ChatRequest) -> None:
        """Asserts that a signal keeps its word about one request."""
        values = signal.measure(request)
        assert {name: type(value) for name, value in values.items()} == self.declared
        assert all(math.isfinite(value) for value in values.values() if isinstance(value, float))
