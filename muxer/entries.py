"""One request as the store is told it, and how it is told again: after an outage, a restart, a loss of its data."""

from msgspec import Struct
from msgspec.structs import replace

from muxer.stores import BudgetClaim, Granted, HoldChoice, Store
from muxer.types import Attempt, Record


class Leg(Struct, frozen=True, array_like=True):
    """A held attempt: what holding it takes, and the attempt before it, unless that was still under way."""

    choice: HoldChoice
    ended: Attempt | None = None


class Entry(Struct, frozen=True, array_like=True):
    """One request as the store is told it: how it was opened, its legs, and its record once it has ended. Without legs
    nothing was ever sent for it."""

    opening: Record
    legs: tuple[Leg, ...] = ()
    final: Record | None = None

    @property
    def step(self) -> int:
        """Grows with each change, so that two states of one request can be told apart."""
        return 2 * len(self.legs) + (self.final is not None)


async def reapply(store: Store, entry: Entry) -> None:
    """Tells the store all of a request again, whatever it knows of it already: nothing is counted twice (I6), and
    nothing is refused, since it has been spent. It counts in the windows of its admission (S14)."""
    at = entry.opening.at
    if entry.legs:
        await store.hold(entry.opening, [_spent(entry.legs[0].choice, at)])
    for number, leg in enumerate(entry.legs[1:], 1):
        reply = await store.extend(entry.opening.id, number, _spent(leg.choice, at), leg.ended)
        if not isinstance(reply, Granted):
            break  # it is settled already
    if entry.final is not None:
        await store.settle(entry.final)


def _spent(choice: HoldChoice, at_s: float) -> HoldChoice:
    """The choice without limits; rates and slots of then say nothing later."""
    claims = tuple(replace(pinned(claim, at_s), limit_nanos=None) for claim in choice.claims)
    return replace(choice, claims=claims, quotas=())


def pinned(claim: BudgetClaim, at_s: float) -> BudgetClaim:
    """The claim with the one window that was in force then."""
    window = next((window for window in claim.windows if at_s < window.end_s or window.end_s == 0), claim.windows[-1])
    return replace(claim, windows=(window,))
