"""What a scripted upstream can be told to do with a call; `then` wraps one behaviour in another."""

from collections.abc import Mapping
from typing import Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from muxer import ToolCall, Usage
from muxer.testing.calls import Act, Asked, Break, Spoken, Step, Wait, split_words

ECHOED_WORDS = 16
EVENT_STREAM = {"Content-Type": "text/event-stream; charset=utf-8"}


class Behaviour(Protocol):
    """Decides how one call is answered and billed. A function of the call, so a test can write its own."""

    def play(self, asked: Asked) -> Act:
        """The answer."""


class Say(Struct, frozen=True, kw_only=True):
    """Answers with this text, or with the first words of the question.

    Each word is an output token and an event of a stream; a text over the caller's cap is cut (`length`). What is
    billed is `usage`, else counted. `reports_usage=False` bills all the same and does not say so. `probabilities` are
    those of the words, told by the formats that have them to who asks.
    """

    text: str | None = None
    usage: Usage | None = None
    finish_reason: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    reports_usage: bool = True
    probabilities: tuple[float, ...] = ()

    def play(self, asked: Asked) -> Act:
        """Answers in the format of the call."""
        words = split_words(self._text(asked))
        kept = words if asked.cap is None else words[: asked.cap]
        finished = "length" if len(kept) < len(words) else "tool_calls" if self.tool_calls else "stop"
        called = sum(1 + len(split_words(call.function.arguments)) for call in self.tool_calls)
        output = len(kept) + called if asked.cap is None else min(len(kept) + called, asked.cap)
        usage = Usage(input_tokens=asked.input_tokens, output_tokens=output * asked.choices)
        spoken = Spoken(
            words=kept,
            tool_calls=self.tool_calls,
            finish_reason=self.finish_reason or finished,
            usage=self.usage or usage,
            reports_usage=self.reports_usage,
            probabilities=self.probabilities if asked.wants_logprobs else (),
        )
        return asked.format.answer(asked, spoken)

    def _text(self, asked: Asked) -> str:
        if self.text is not None:
            return self.text
        if self.tool_calls:
            return ""
        return "You said: " + "".join(split_words(asked.question)[:ECHOED_WORDS]).strip()


class Fail(Struct, frozen=True):
    """Answers with an error and bills nothing; without `body` the error is in the vendor's own shape."""

    status: int = 500
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    body: bytes | None = None

    def play(self, asked: Asked) -> Act:
        """Answers the error."""
        body = asked.format.error(self.status, "scripted to fail") if self.body is None else self.body
        headers = {"Content-Type": "application/json", **self.headers}
        return Act(status=self.status, headers=headers, body=(body,))


class BillAndFail(Struct, frozen=True):
    """Answers with an error after billing what `billed` would have cost: the vendor that charges for nothing."""

    status: int = 500
    billed: Behaviour = Say()

    def play(self, asked: Asked) -> Act:
        """Answers the error, with a bill."""
        return replace(Fail(self.status).play(asked), billed=self.billed.play(asked).billed)


class Raw(Struct, frozen=True, kw_only=True):
    """Answers with exactly these pieces of bytes, each sent by itself."""

    pieces: tuple[bytes, ...] = ()
    status: int = 200
    headers: Mapping[str, str] = msgspec.field(default_factory=lambda: EVENT_STREAM)
    billed: Usage | None = None

    def play(self, asked: Asked) -> Act:
        """Answers the bytes."""
        return Act(status=self.status, headers=self.headers, body=self.pieces, billed=self.billed)


class Stall(Struct, frozen=True, kw_only=True):
    """Waits before the headers, or after so many pieces of the body (0: right after the headers).

    It waits `seconds`, or until the test sets `upstream.gate`; then it goes on as `then`.
    """

    seconds: float | None = None
    after_pieces: int | None = None
    then: Behaviour = Say()

    def play(self, asked: Asked) -> Act:
        """Answers as `then`, with a pause in it."""
        act = self.then.play(asked)
        pause = Wait(self.seconds)
        if self.after_pieces is None:
            return replace(act, before=(pause, *act.before))
        body = act.body
        return replace(act, body=(*body[: self.after_pieces], pause, *body[self.after_pieces :]))


class Slow(Struct, frozen=True, kw_only=True):
    """Waits before each piece of the body."""

    seconds: float
    then: Behaviour = Say()

    def play(self, asked: Asked) -> Act:
        """Answers as `then`, drop by drop."""
        act = self.then.play(asked)
        body = tuple(step for piece in act.body for step in (Wait(self.seconds), piece))
        return replace(act, body=body)


class Cut(Struct, frozen=True, kw_only=True):
    """Closes the connection after so many bytes of the body, or before the headers. The whole answer is billed."""

    after_bytes: int | None = None
    then: Behaviour = Say()

    def play(self, asked: Asked) -> Act:
        """Answers as `then`, up to the cut."""
        act = self.then.play(asked)
        if self.after_bytes is None:
            return replace(act, before=(*act.before, Break()))
        body: list[Step] = []
        left = self.after_bytes
        for step in act.body:
            body.append(step[:left] if isinstance(step, bytes) else step)
            left -= len(step) if isinstance(step, bytes) else 0
            if left <= 0:
                break
        return replace(act, body=(*body, Break()))
