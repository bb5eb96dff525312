"""What a prompt is to the model: buckets of hashed words, pairs of words and marks of its shape. No text is kept.

The first buckets are those of shape; then come, by turns, one for words, one for neighbours, and one for words with
another one between them."""

import math
import re
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple
from zlib import crc32

BUCKETS = 1 << 19
SHAPES = 255  # no fewer than there are steps and marks; a multiple of three, so that the buckets of words are
TURNS = 3
READ_CHARS = 8_192  # of a longer text the head and the tail, each this long: the cost has a bound
_WORD = re.compile(r"[^\W\d_]+|\d+")
_SYMBOL = re.compile(r"[^\w\s]")
_END = re.compile(r"[.?!]")
_PLACES = (BUCKETS - SHAPES) // TURNS
_MARKS = ("$", "\\", "=", "^", "%", '"', "```", "_", "(", "- ", "!", ";")
# How many steps of each trait there are; most are halves of a power of two, of the length quarters.
_TRAITS = {
    "length": range(16, 60),
    "numbers": range(12),
    "counted": range(20),
    "digits": range(12),
    "letters": range(40),
    "variety": range(9),
    "sentences": range(20),
    "commas": range(20),
    "symbols": range(24),
}


class Features(NamedTuple):
    """The buckets of a prompt, each once: of its words and neighbours, of its words apart, and of its shape."""

    words: list[int]
    apart: list[int]
    shape: list[int]


def features(text: str) -> Features:
    """The buckets of a text; case and runs of blanks make no difference."""
    text = " ".join(text.split()) if len(text) <= 2 * READ_CHARS else f"{text[:READ_CHARS]} {text[-READ_CHARS:]}"
    words = _WORD.findall(text.casefold())
    found = _buckets(words, 0) | _buckets(map(" ".join, pairwise(words)), 1)
    apart = _buckets(map(" ".join, zip(words, words[2:], strict=False)), 2)
    return Features(list(found), list(apart), _shape(text, words))


def single(words: Sequence[int]) -> list[int]:
    """The buckets of words, without those of neighbours."""
    return [at for at in words if not at % TURNS]


def _shape(text: str, words: Sequence[str]) -> list[int]:
    """Every step up to how much there is of a trait, so that neighbours share most; and which marks."""
    numbers = [word for word in words if word.isdecimal()]
    plain = [word for word in words if not word.isdecimal()]
    amounts = (
        (max(1, len(text)) ** 4).bit_length(),
        len(set(numbers)),
        _halves(len(numbers)),
        max(map(len, numbers), default=0),
        4 * sum(map(len, plain)) // len(plain) if plain else 0,
        8 * len(set(words)) // len(words) if words else 0,
        _halves(len(_END.findall(text))),
        _halves(text.count(",")),
        _halves(len(_SYMBOL.findall(text))),
    )
    found = [_MARK_BUCKETS[mark] for mark in _MARKS if mark in text]
    for steps, (first, buckets) in zip(amounts, _STEP_BUCKETS, strict=True):
        found += buckets[: max(0, steps - first)]
    return found


def _halves(count: int) -> int:
    return int(2 * math.log2(1 + count))


def _buckets(names: Iterable[str], turn: int) -> set[int]:
    first = SHAPES + turn
    return {first + TURNS * (crc32(name.encode("utf-8", "replace")) % _PLACES) for name in names}


_MARK_BUCKETS = {mark: at for at, mark in enumerate(_MARKS)}
_FIRST_BUCKETS = accumulate(map(len, _TRAITS.values()), initial=len(_MARKS))
_STEP_BUCKETS = [
    (steps.start, range(first, first + len(steps)))
    for steps, first in zip(_TRAITS.values(), _FIRST_BUCKETS, strict=False)
]
