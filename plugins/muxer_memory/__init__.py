"""A store in the memory of one process: the same replies as the others give, and nothing is left when it ends."""

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

from msgspec import Meta, Struct

from muxer import (
    Attempt,
    BudgetClaim,
    ConfigInvalid,
    Context,
    Fault,
    Granted,
    HoldChoice,
    KeyedRequest,
    Kind,
    Quota,
    QuotaStanding,
    Record,
    Refused,
    Standing,
    Store,
    Summary,
    hookimpl,
)
from muxer_memory import reading
from muxer_memory.ledger import Ledger

__all__ = ["Ledger", "MemorySettings", "MemoryStore", "open_memory", "open_over"]


class MemorySettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`keep_records` is how many requests are remembered once nothing is held or presumed for them."""

    keep_records: Annotated[int, Meta(ge=1)] = 10_000


class MemoryStore:
    """What one process does with a ledger, under the name `owner`."""

    def __init__(self, ledger: Ledger, owner: str) -> None:
        self._ledger = ledger
        self.owner = owner

    async def hold(self, opening: Record, choices: Sequence[HoldChoice]) -> Granted | Refused:
        """See Store."""
        return self._ledger.hold(self.owner, opening, choices)

    async def extend(self, id: str, leg: int, choice: HoldChoice, ended: Attempt | None) -> Granted | Refused:
        """See Store."""
        return self._ledger.extend(self.owner, id, leg, choice, ended)

    async def settle(self, record: Record) -> None:
        """See Store."""
        self._ledger.settle(record)

    async def standings(self, claims: Sequence[BudgetClaim]) -> Sequence[Standing]:
        """See Store."""
        return [self._ledger.standing(claim) for claim in claims]

    async def quotas(self, quotas: Sequence[Quota]) -> Sequence[QuotaStanding]:
        """See Store."""
        return [self._ledger.quota(quota) for quota in quotas]

    async def summary(self, by: Sequence[str], since_s: float, where: Mapping[str, str]) -> list[Summary]:
        """See Store."""
        return reading.summary(reading.chosen(self._ledger.requests.values(), since_s, where), by)

    async def record(self, id: str) -> Record | None:
        """See Store."""
        request = self._ledger.requests.get(id)
        return request.record if request else None

    async def records(self, since_s: float, where: Mapping[str, str], limit: int) -> AsyncIterator[Record]:
        """See Store."""
        chosen = reading.chosen(self._ledger.requests.values(), since_s, where)
        for record in reading.newest((request.record for request in chosen), limit):
            yield record

    async def presumed(self, limit: int) -> list[Record]:
        """See Resolves."""
        records = (request.record for request in self._ledger.requests.values())
        return reading.newest((one for one in records if one.presumed_nanos > 0 and one.state != "open"), limit)

    async def resolve(self, id: str, cost_nanos: int) -> bool:
        """See Resolves."""
        return self._ledger.resolve(id, cost_nanos)

    async def first_of(self, keyed: KeyedRequest, instead_of: str = "") -> KeyedRequest:
        """See RemembersKeyed."""
        return self._ledger.keyed.first_of(keyed, instead_of)

    async def forget_keyed(self, keyed: KeyedRequest) -> None:
        """See RemembersKeyed."""
        self._ledger.keyed.forget(keyed)

    async def feedback(
        self, id: str, score: float, user: str | None = None, quotas: Sequence[Quota] = ()
    ) -> bool | Refused:
        """See KeepsFeedback."""
        return self._ledger.feedback(id, score, user, quotas)

    async def held(self) -> tuple[int, int]:
        """See Store."""
        requests = self._ledger.requests.values()
        held = sum(request.held_nanos for request in requests if request.record.state == "open")
        return held, sum(request.record.presumed_nanos for request in requests)


@asynccontextmanager
async def open_memory(settings: MemorySettings, context: Context) -> AsyncIterator[Store]:
    """An empty store. Raises ConfigInvalid in one of several workers: budgets of their own would add up."""
    if context.worker:
        problem = "the memory store belongs to one process: with several workers each would grant every budget once"
        hint = "run one worker, or use the store kind 'sqlite', which workers share"
        raise ConfigInvalid([Fault(problem, path="store.kind", hint=hint)])
    async with open_over(Ledger(context.clock, settings.keep_records)) as store:
        yield store


@asynccontextmanager
async def open_over(ledger: Ledger) -> AsyncIterator[MemoryStore]:
    """A process's work on a ledger that may be there already, as the contract's tests need it; what it leaves open when
    it ends counts and says so."""
    store = MemoryStore(ledger, secrets.token_hex(8))
    try:
        yield store
    finally:
        ledger.interrupt(store.owner)


@hookimpl
def register_stores() -> list[Kind[Store]]:
    """Offers the kind `memory`."""
    return [Kind("memory", MemorySettings, open_memory)]
