"""The model of difficulty as it decides and as it lies in a file: weights, and how their sum becomes a chance."""

import math
import zlib
from array import array
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from muxer_difficulty.features import BUCKETS, SHAPES, TURNS, Features, features, single

VERSION = 3
_LARGEST_BYTES = 2 << 20


class NotAnArtefact(ValueError):
    """A file that is no model of this version."""


class Artefact(Struct, frozen=True, kw_only=True):
    """What a file holds: weights as bytes, zlib over a signed byte a bucket, each a multiple of `unit`.

    `slope` and `offset` make a chance of a sum of weights; `prompts` says from how many it was learned.
    """

    version: int = VERSION
    weights: bytes
    unit: float
    slope: float
    offset: float
    prompts: int


class Model:
    """Gives each prompt the chance that the strong model's answer is better than the cheap one's."""

    def __init__(self, artefact: Artefact) -> None:
        table = zlib.decompress(artefact.weights)
        self._weights = array("b", table)
        of_words = table[SHAPES::TURNS]
        self._fill = 1 - of_words.count(0) / len(of_words)
        self._unit = artefact.unit
        self._slope = artefact.slope
        self._offset = artefact.offset
        self.prompts = artefact.prompts

    def chance(self, text: str) -> float:
        """From 0 to 1. The less of a prompt's words the model has met, the nearer to the mean of all prompts."""
        return self.chance_of(features(text))

    def chance_of(self, found: Features) -> float:
        """The same for a prompt of which the features are known."""
        total = self._unit * sum_of(self._weights, found) * self._known(found)
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, self._slope * total + self._offset))))

    def _known(self, found: Features) -> float:
        words = single(found.words)
        if not words or self._fill == 1:
            return 0.0
        # A word that was never met lies on the bucket of another one as often as the table is full.
        met = sum(1 for at in words if self._weights[at]) / len(words)
        return max(0.0, met - self._fill) / (1 - self._fill)


def sum_of(weights: Sequence[float], found: Features) -> float:
    """What each group of buckets says, however many there are in it."""
    parts: list[float] = [sum([weights[at] for at in part]) / math.sqrt(len(part)) for part in found if part]
    return sum(parts)


def load(data: bytes) -> Model:
    """The model in a file's bytes. Raises NotAnArtefact."""
    try:
        artefact = msgspec.msgpack.decode(data, type=Artefact)
        inflater = zlib.decompressobj()
        weights = inflater.decompress(artefact.weights, _LARGEST_BYTES)
    except (msgspec.DecodeError, zlib.error) as error:
        raise NotAnArtefact(f"no artefact of `muxer train`: {error}") from error
    if artefact.version != VERSION:
        raise NotAnArtefact(f"an artefact of version {artefact.version}; this reads version {VERSION}: train it again")
    numbers = (artefact.unit, artefact.slope, artefact.offset)
    if len(weights) != BUCKETS or not all(map(math.isfinite, numbers)):
        raise NotAnArtefact("no artefact of `muxer train`: its table has not the right size")
    return Model(artefact)
