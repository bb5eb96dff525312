"""Small values for tests of what decides."""

import random
from collections.abc import Iterable
from decimal import Decimal

import msgspec
from msgspec import Struct

from muxer.config.settings import LimitSettings
from muxer.estimates import Estimates, Samples
from muxer.signals import Measured, measure
from muxer.types import ChatRequest, Record


class Nothing(Struct, frozen=True):
    """Settings of a component that has none."""


def measured(request: ChatRequest) -> Measured:
    """A request as it would be measured, coming in as its plain JSON."""
    return measure(request, msgspec.json.encode(request), {})


def learned(records: Iterable[Record]) -> Estimates:
    """What a proxy that saw these requests, and no other, expects of the next."""
    samples = Samples()
    for record in records:
        samples.add(record)
    return samples.estimates()


def a_limit(**fields: object) -> LimitSettings:
    """A limit of the file; amounts of dollars may be plain numbers."""
    decoded = {name: Decimal(str(value)) if name.endswith("_usd") else value for name, value in fields.items()}
    return msgspec.convert(decoded, LimitSettings)


def damaged(body: bytes, chance: random.Random) -> bytes:
    """The bytes, a few of them changed, doubled, left out, or swapped for something JSON has a meaning for."""
    pieces = [body[i : i + 1] for i in range(len(body))]
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(pieces))
        pieces[place] = chance.choice([b"", pieces[place] * 2, chance.randbytes(1), b'"', b"null", b"1e9", b"[", b"}"])
    return b"".join(pieces)
