"""What a scripted upstream hears and how it answers, before any vendor's JSON: calls, acts and formats."""

import re
from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

import msgspec
from msgspec import Struct

from muxer import ToolCall, Usage

_WORDS = re.compile(r"\s*\S+|\s+\Z")


class Wait(Struct, frozen=True):
    """A pause in an answer; without `seconds` it ends when `upstream.gate` is set."""

    seconds: float | None = None


class Break(Struct, frozen=True):
    """The end of the connection, with or without the answer's end."""


Step = bytes | Wait | Break


class Act(Struct, frozen=True, kw_only=True):
    """One answer as it will be sent: steps before the headers, the headers, steps of the body; and its bill."""

    status: int = 200
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    before: tuple[Step, ...] = ()
    body: tuple[Step, ...] = ()
    billed: Usage | None = None


class Spoken(Struct, frozen=True, kw_only=True):
    """What the model says, in words, for a format to write down. `reports_usage` is off when it keeps its bill
    to itself."""

    words: tuple[str, ...]
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str
    usage: Usage
    reports_usage: bool = True
    probabilities: tuple[float, ...] = ()

    @property
    def text(self) -> str:
        """The words as one text."""
        return "".join(self.words)


class Asked(Struct, frozen=True, kw_only=True):
    """One request as an upstream understands it. Calls are numbered from 1. `heard` is the body in OpenAI's or
    Anthropic's words where the vendor has others (`Hears`)."""

    number: int
    path: str
    headers: Mapping[str, str]
    body: dict[str, object]
    format: "Format"
    heard: dict[str, object] | None = None

    @property
    def _said(self) -> dict[str, object]:
        return self.body if self.heard is None else self.heard

    @property
    def model(self) -> str:
        """The model asked for; empty when there is none."""
        return str(self._said.get("model") or "")

    @property
    def is_stream(self) -> bool:
        """Whether the answer is to be streamed."""
        return self._said.get("stream") is True

    @property
    def wants_usage(self) -> bool:
        """Whether an OpenAI stream is to end with its usage."""
        options = self._said.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True

    @property
    def wants_logprobs(self) -> bool:
        """Whether the answer is to tell how likely its tokens were."""
        return self._said.get("logprobs") is True

    @property
    def choices(self) -> int:
        """How many answers are asked for."""
        return _whole_number(self._said.get("n")) or 1

    @property
    def cap(self) -> int | None:
        """The most output tokens per answer."""
        ours = _whole_number(self._said.get("max_completion_tokens"))
        return _whole_number(self._said.get("max_tokens")) if ours is None else ours

    @property
    def question(self) -> str:
        """The text of the last message."""
        messages = self._said.get("messages")
        return "\n".join(texts(messages[-1])) if isinstance(messages, list) and messages else ""

    @property
    def input_tokens(self) -> int:
        """The rule of this upstream: a quarter of the UTF-8 bytes of all message text, rounded down, and 3."""
        said = [*texts(self._said.get("system")), *texts(self._said.get("messages"))]
        return sum(len(text.encode()) for text in said) // 4 + 3


class Format(Protocol):
    """A vendor's JSON. Another vendor is a class like this one and a path: `ScriptedUpstream(formats={...})`. A path
    that ends in `*` stands for all that begin like it."""

    def answer(self, asked: Asked, spoken: Spoken) -> Act:
        """The answer, whole or streamed as asked."""

    def error(self, status: int, message: str) -> bytes:
        """An error as this vendor writes it."""


@runtime_checkable
class Hears(Protocol):
    """A format whose requests say things in words of their own."""

    def heard(self, path: str, body: dict[str, object]) -> dict[str, object]:
        """The request as OpenAI would have it: `model`, `stream`, `n`, `max_tokens`, `system`, `messages`."""


def split_words(text: str) -> tuple[str, ...]:
    """The words of a text, each with the space before it: the output tokens of this upstream."""
    return tuple(_WORDS.findall(text))


def texts(value: object) -> Iterator[str]:
    """Every text in messages, their parts and tool results, in either vendor's shape."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict):
        yield from texts(value.get("content"))
        yield from texts(value.get("text"))


def _whole_number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
