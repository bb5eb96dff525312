"""Draws that can be repeated: each hashes what it is for, so that a request is replayed as it was decided."""

import hashlib
import math
from collections.abc import Sequence

_HASHES = 2.0**64


def drawn(names: Sequence[str], weights: Sequence[float], seed: str) -> list[str]:
    """The names in an order drawn by weight without replacement; zero is never drawn."""
    ranks = {name: _rank(f"{seed}/{name}", weight) for name, weight in zip(names, weights, strict=True)}
    return sorted((name for name in ranks if ranks[name] > -math.inf), key=ranks.__getitem__, reverse=True)


def _rank(seed: str, weight: float) -> float:
    """Efraimidis and Spirakis, 2006: the largest of u^(1/weight) is a draw by weight; the logarithm of it ranks alike
    and does not vanish for small weights."""
    if weight <= 0:
        return -math.inf
    return math.log((_hashed(seed) + 1) / _HASHES) / weight


def is_drawn(share: float, seed: str) -> bool:
    """Whether what the seed names is in this share (0..1) of all. Who is in a share is also in each larger one."""
    return _hashed(seed) < share * _HASHES


def _hashed(seed: str) -> int:
    return int.from_bytes(hashlib.blake2b(seed.encode("utf-8", "surrogatepass"), digest_size=8).digest())
