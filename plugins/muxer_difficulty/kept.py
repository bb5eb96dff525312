"""Buckets as text for a record: sorted numbers by their distances, in base85. No word is in it."""

from base64 import b85decode, b85encode
from collections.abc import Iterator
from heapq import nsmallest

from muxer_difficulty.features import BUCKETS, Features

HASHING = 3  # rises with every change of what a text hashes to: what was kept before then says nothing any more
# A distance takes two bytes up to 16,383, and larger ones are few among so many: never more than 2,700 bytes.
MOST_BUCKETS = 1_320


def write(found: Features) -> str:
    """At most 3,400 characters. Of a text of many words not all are kept: the same ones of every text."""
    data, left = bytearray((HASHING,)), MOST_BUCKETS
    kept: dict[int, list[int]] = {}
    for done, place in enumerate(sorted(range(len(found)), key=lambda place: len(found[place]))):
        part, most = found[place], left // (len(found) - done)
        kept[place] = sorted(part if len(part) <= most else nsmallest(most, part, key=_rank))
        left -= len(kept[place])
    for place in range(len(found)):
        _append(data, len(kept[place]))
        before = -1
        for bucket in kept[place]:
            _append(data, bucket - before)
            before = bucket
    return b85encode(data).decode()


def read(text: str) -> Features:
    """The buckets again. Raises ValueError for what `write` did not write, or wrote by another hashing."""
    data = b85decode(text)
    if data[:1] != bytes((HASHING,)):
        raise ValueError("the features were hashed in another way")
    numbers, parts = _large(data[1:]), []
    try:
        for _ in Features._fields:
            bucket, part = -1, []
            for _ in range(next(numbers)):
                bucket += next(numbers)
                part.append(bucket)
            parts.append(part)
    except StopIteration:
        raise ValueError("the features are cut off") from None
    if next(numbers, None) is not None or any(part and part[-1] >= BUCKETS for part in parts):
        raise ValueError("there is more than features")
    return Features(*parts)


def _rank(bucket: int) -> int:
    """An order that has nothing to do with the buckets' own, and is the same for every text."""
    return bucket * 2_654_435_761 % (1 << 32)


def _append(data: bytearray, number: int) -> None:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)


def _large(data: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
