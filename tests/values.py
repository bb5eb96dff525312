"""Small values for tests of what decides."""

from decimal import Decimal

import msgspec
from msgspec import Struct

from muxer.config.settings import LimitSettings
from muxer.signals import Measured, measure
from muxer.types import ChatRequest


class Nothing(Struct, frozen=True):
    """Settings of a component that has none."""


def measured(request: ChatRequest) -> Measured:
    """A request as it would be measured, coming in as its plain JSON."""
    return measure(request, msgspec.json.encode(request), {})


def a_limit(**fields: object) -> LimitSettings:
    """A limit of the file; amounts of dollars may be plain numbers."""
    decoded = {name: Decimal(str(value)) if name.endswith("_usd") else value for name, value in fields.items()}
    return msgspec.convert(decoded, LimitSettings)
