"""What a request took, and from where, as its row keeps it for as long as that is not settled."""

import msgspec
from msgspec import Struct

from muxer import Drawn


class Taken(Struct, frozen=True, array_like=True):
    """What one leg took from one counter."""

    account: str
    start: int
    nanos: int


class Leg(Struct, frozen=True, array_like=True):
    """One held attempt: which choice it was given, how much, from where; once ended, what of it is presumed."""

    choice: int
    granted: int
    taken: tuple[Taken, ...]
    ended: bool = False
    presumed: int = 0

    @property
    def unknown(self) -> int:
        """What it may have cost, as long as nobody knows."""
        return self.presumed if self.ended else self.granted


encode = msgspec.json.Encoder().encode
decode_drawn = msgspec.json.Decoder(tuple[Drawn, ...]).decode
decode_legs = msgspec.json.Decoder(tuple[Leg, ...]).decode
