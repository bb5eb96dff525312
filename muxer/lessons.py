"""What a signal keeps of a request, so that it can learn from it once its answer was judged."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from muxer.interfaces import Labelled
from muxer.types import ChatRequest, SignalValue

MOST_FEATURES = 4_096
"""How many characters a signal may keep of a request; what is longer is not kept."""


class Lesson(Struct, frozen=True):
    """What was kept of a prompt, and how good one answer to it was, from 0 to 1: a strong model's, or a cheap one's."""

    features: str
    score: float
    is_strong: bool


@runtime_checkable
class KeepsFeatures(Protocol):
    """A signal that keeps something of requests on routes with `learn: true`."""

    def features(self, request: ChatRequest) -> str:
        """What it can learn from later, in its own words, no more than MOST_FEATURES: not the text. '': nothing."""


@runtime_checkable
class LearnsLater(KeepsFeatures, Protocol):
    """A signal that learns from what it kept: `muxer train --from`. Trainable, too."""

    def recall(self, features: str) -> Mapping[str, SignalValue]:
        """What it would measure of that request. Raises ValueError for what it did not write, or writes otherwise
        now."""

    def fit_with(self, rows: Sequence[Labelled], lessons: Sequence[Lesson], advance: Callable[[float], None]) -> bytes:
        """As `fit`, from both kinds of rows; all lessons are such as `recall` takes."""
