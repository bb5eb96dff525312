"""Requests that are no conversation: texts to go on with, texts to turn into vectors."""

from typing import ClassVar, Literal

from muxer.types import ChatRequest, Message

Input = str | tuple[int, ...]
"""A text, or the numbers of its tokens as the model counts them."""


class InputsRequest(ChatRequest, frozen=True, kw_only=True, omit_defaults=True):
    """A request made of inputs. Its `messages` are the texts among them, one message each, for whoever reads a request
    as a conversation: signals, guards, records. Tokens are in no message.

    `field` is what the inputs are called in a body, and `is_list` whether the caller sent a list.
    """

    field: ClassVar[str]
    inputs: tuple[Input, ...]
    is_list: bool = False

    @property
    def token_counts(self) -> tuple[int, ...]:
        """How long the inputs are that came as tokens."""
        return tuple(len(one) for one in self.inputs if not isinstance(one, str))

    @property
    def text_bytes(self) -> tuple[int, ...]:
        """How long the inputs are, in UTF-8, that came as texts."""
        return tuple(len(message.text.encode()) for message in self.messages)


class TextRequest(InputsRequest, frozen=True, kw_only=True, omit_defaults=True):
    """Texts to go on with (OpenAI's older completions). `top_logprobs` is what a body there calls `logprobs`."""

    field: ClassVar[str] = "prompt"
    best_of: int | None = None
    echo: bool = False
    suffix: str | None = None

    @property
    def text_bytes(self) -> tuple[int, ...]:
        """The same; each text is read with the suffix."""
        suffix = len((self.suffix or "").encode())
        return tuple(size + suffix for size in super().text_bytes)

    @property
    def written_choices(self) -> int:
        """How many answers may be written and billed, also those that are not returned (B78)."""
        return len(self.inputs) * (self.n or 1) * (self.best_of or 1)


class EmbeddingRequest(InputsRequest, frozen=True, kw_only=True, omit_defaults=True):
    """Texts to turn into vectors of so many `dimensions`, where the caller says."""

    field: ClassVar[str] = "input"
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None


def messages_of(inputs: tuple[Input, ...]) -> tuple[Message, ...]:
    """The texts among inputs as messages."""
    return tuple(Message(role="user", content=one) for one in inputs if isinstance(one, str))
