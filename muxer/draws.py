"""Draws that can be repeated: each hashes what it is for, so that a request is replayed as it was decided."""

import hashlib
import math
from collections.abc import Sequence


def drawn(names: Sequence[str], weights: Sequence[float], seed: str) -> list[str]:
    """The names in an order drawn by weight without replacement; zero is never drawn."""
    ranks = {name: _rank(f"{seed}/{name}", weight) for name, weight in zip(names, weights, strict=True)}
    return sorted((name for name in ranks if ranks[name] > -math.inf), key=ranks.__getitem__, reverse=True)


def _rank(seed: str, weight: float) -> float:
    """Efraimidis and Spirakis, 2006: the largest of u^(1/weight) is a draw by weight; the logarithm of it ranks alike
    and does not vanish for small weights."""
    if weight <= 0:
        return -math.inf
    hashed = hashlib.blake2b(seed.encode(), digest_size=8).digest()
    return math.log((int.from_bytes(hashed) + 1) / 2.0**64) / weight
