"""A limit as it is written, and its single amounts as requests meet them."""

from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta, Struct

Positive = Annotated[int, Meta(ge=1)]
Dollars = Annotated[Decimal, Meta(description="US dollars")]
OutagePolicy = Literal["refuse", "allow", "escrow"]
"""What a limit wants while the store cannot be asked (S18): nothing is sent; everything is, and counted later; what
was set aside for this process beforehand may be spent."""


class Amounts(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a limit allows. Every amount of it must hold."""

    daily_usd: Annotated[Dollars | None, Meta(description="US dollars per calendar day")] = None
    monthly_usd: Annotated[Dollars | None, Meta(description="US dollars per calendar month")] = None
    total_usd: Annotated[Dollars | None, Meta(description="US dollars for ever")] = None
    requests_per_minute: Annotated[Positive | None, Meta(description="requests a minute")] = None
    tokens_per_minute: Annotated[Positive | None, Meta(description="tokens a minute, input and output")] = None
    burst: Annotated[
        Positive | None, Meta(description="how much of either may come at once; default: one minute's worth")
    ] = None
    concurrent: Annotated[Positive | None, Meta(description="requests at the same time")] = None
    hold: Annotated[
        Literal["bound", "expected"],
        Meta(description="bound never overspends; expected refuses less near the limit"),
    ] = "bound"
    on_store_error: Annotated[
        OutagePolicy,
        Meta(description="while the store is away: refuse, allow and count later, or spend what was set aside"),
    ] = "refuse"

    @property
    def is_hard_budget(self) -> bool:
        """Whether it is about money and must hold: then every model needs a price (S19)."""
        amounts = (self.daily_usd, self.monthly_usd, self.total_usd)
        return self.hold == "bound" and any(amount is not None for amount in amounts)


RATES = ("requests_per_minute", "tokens_per_minute", "concurrent")
AMOUNTS = ("daily_usd", "monthly_usd", "total_usd", *RATES)
"""What limits something by itself; a limit has at least one of these."""


class Budget(Struct, frozen=True):
    """Money per calendar window."""

    window: str
    limit_nanos: int
    soft: bool


class Rate(Struct, frozen=True):
    """Requests or tokens a minute, or slots."""

    unit: Literal["requests", "tokens", "slots"]
    capacity: int
    per_minute: int


class Line(Struct, frozen=True, kw_only=True):
    """One amount of a limit, the same for each subject of its scope; known by its place: `limits[0].daily_usd`.

    `account` is its counter's name where that is not said by scope and subject.
    """

    id: str
    per: str
    where: dict[str, str] = {}
    account: str = ""
    budget: Budget | None = None
    rate: Rate | None = None
    on_store_error: OutagePolicy = "refuse"
