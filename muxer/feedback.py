"""How good an answer was, as its caller says it afterwards: kept with the record of the request."""

from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from muxer.assemble import Assembly
from muxer.budgets import Target
from muxer.errors import NotFound
from muxer.types import Caller

_ACCOUNT = "feedback:"


class Score(Struct, frozen=True, forbid_unknown_fields=True):
    """A request by its `x-muxer-request-id`, and how good its answer was, from 0 to 1."""

    request_id: Annotated[str, Meta(min_length=1, max_length=128)]
    score: Annotated[float, Meta(ge=0, le=1)]


async def keep(assembly: Assembly, caller: Caller, given: Score) -> Score:
    """Keeps a score; the last one counts. Raises NotFound for a request that is not there or not the caller's (an
    admin may judge any), RateLimited, Unsupported and StoreUnavailable."""
    met = assembly.parts.rules.limits.met(caller, Target("", ""), assembly.parts.clock())
    # Scores come at the pace of the answers they are about: to count with them would halve what a caller may ask.
    rates = [replace(rate, account=_ACCOUNT + rate.account) for rate in met.quotas if rate.unit == "requests"]
    user = None if caller.role == "admin" else caller.user
    if not await assembly.parts.ledger.feedback(given.request_id, given.score, user, rates):
        raise NotFound("no such request")
    return given
