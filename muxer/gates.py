"""What can keep a model from a request."""

from typing import Literal

from msgspec import Struct

Gate = Literal[
    "not_allowed", "unavailable", "cooling", "embeddings", "tools", "images", "json", "logprobs", "context",
    "output_cap", "price_unknown", "cost_unbounded", "budget", "burst", "dominated",
]  # fmt: skip
"""What can remove a candidate: the key, its provider, a pause after failures, what it cannot do, money,
a rate that could never let it pass, another that is cheaper and no worse."""


class Excluded(Struct, frozen=True):
    """A candidate that was passed over, the gate that removed it, and the particulars in words."""

    model: str
    gate: Gate
    detail: str = ""


TOO_DEAR = "does not fit the budget"
"""The particulars of the gate `budget`."""
