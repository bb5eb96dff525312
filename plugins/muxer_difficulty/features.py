"""What a prompt is to the model: buckets of hashed words, pairs of words and marks of its shape. No text is kept."""

import re
from itertools import pairwise
from typing import NamedTuple
from zlib import crc32

BUCKETS = 1 << 17
READ_CHARS = 8_192  # of a longer text the head and the tail, each this long: the cost has a bound
_WORD = re.compile(r"[^\W\d_]+|\d+")
_MARKS = ("$", "\\", "=", "^", "%", '"', "```", "_", "(", "- ", "!", ";")
_LENGTHS, _NUMBERS = range(16, 60), range(12)  # quarters of a power of two; different numbers


class Features(NamedTuple):
    """The buckets of a prompt, each once: of its words and pairs of words, and of its shape."""

    words: list[int]
    shape: list[int]


def features(text: str) -> Features:
    """The buckets of a text; case and runs of blanks make no difference."""
    text = " ".join(text.split()) if len(text) <= 2 * READ_CHARS else f"{text[:READ_CHARS]} {text[-READ_CHARS:]}"
    words = _WORD.findall(text.casefold())
    names = dict.fromkeys([*words, *map(" ".join, pairwise(words))])
    return Features(_hashed(names), _hashed(_shape(text, words)))


def _shape(text: str, words: list[str]) -> list[str]:
    """How long, how many numbers, which marks: one step a name, so that neighbours share most. A word has no colon."""
    quarters = (max(1, len(text)) ** 4).bit_length()
    numbers = len({word for word in words if word.isdigit()})
    return [
        *(f"length:{step}" for step in _LENGTHS if step < quarters),
        *(f"numbers:{step}" for step in _NUMBERS if step < numbers),
        *(f"mark:{mark}" for mark in _MARKS if mark in text),
    ]


def _hashed(names: dict[str, None] | list[str]) -> list[int]:
    return list({crc32(name.encode("utf-8", "replace")) % BUCKETS for name in names})
