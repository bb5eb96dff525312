"""Claims, choices and attempts for tests of a store, how it is opened, and the reading of its counters."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from msgspec.structs import replace

from muxer import Attempt, BudgetClaim, Granted, HoldChoice, Outcome, Refused, Standing, Store, Window
from muxer.testing.builders import START_S, a_record

DAY_S = 86_400
TODAY = Window("day", START_S, START_S + DAY_S)
TOMORROW = Window("day", START_S + DAY_S, START_S + 2 * DAY_S)


def a_claim(account: str = "user:alice", limit_nanos: int | None = 100, **changes: object) -> BudgetClaim:
    """A daily limit on one account, with fields changed."""
    per, _, subject = account.partition(":")
    claim = BudgetClaim(
        limit=f"limits[{per}]",
        per=per,
        subject=subject,
        account=account,
        windows=(TODAY, TOMORROW),
        limit_nanos=limit_nanos,
    )
    return replace(claim, **changes)


def a_choice(bound_nanos: int, *claims: BudgetClaim, **changes: object) -> HoldChoice:
    """A model that takes its whole bound or nothing, from alice's day unless other claims are given."""
    choice = HoldChoice(
        model="m-1",
        bound_nanos=bound_nanos,
        floor_nanos=bound_nanos,
        expected_nanos=bound_nanos // 2,
        claims=claims or (a_claim(),),
    )
    return replace(choice, **changes)


def an_attempt(cost_nanos: int = 0, presumed_nanos: int = 0, **changes: object) -> Attempt:
    """An attempt that cost so much for sure, or so much as far as anybody knows."""
    outcome: Outcome = "presumed" if presumed_nanos else "exact" if cost_nanos else "none"
    attempt = Attempt(
        model="m-1",
        provider="p-1",
        upstream="m-1-large",
        outcome=outcome,
        cost_nanos=cost_nanos,
        presumed_nanos=presumed_nanos,
    )
    return replace(attempt, **changes)


def plain(reply: Granted | Refused) -> Granted | Refused:
    """A reply without how its limits stand."""
    return replace(reply, budgets=(), quotas=()) if isinstance(reply, Granted) else reply


def amounts(standing: Standing) -> tuple[int, int, int]:
    """Spent, held and presumed."""
    return standing.spent_nanos, standing.held_nanos, standing.presumed_nanos


async def counted(store: Store, claim: BudgetClaim | None = None) -> tuple[int, int, int]:
    """What is spent, held and presumed of one claim; alice's day unless another is given."""
    (standing,) = await store.standings([claim or a_claim()])
    return amounts(standing)


async def spend(store: Store, id: str, *attempts: Attempt) -> None:
    """A request from hold to settlement: it holds 60, or what is left of alice's day."""
    await store.hold(a_record(id=id), [a_choice(60, floor_nanos=0)])
    cost = sum(attempt.cost_nanos for attempt in attempts)
    presumed = sum(attempt.presumed_nanos for attempt in attempts)
    await store.settle(a_record(id=id, state="done", cost_nanos=cost, presumed_nanos=presumed, attempts=attempts))


class StoreTests:
    """Tests of a store that a subclass opens."""

    def open_store(self, folder: Path, clock: Callable[[], float]) -> AbstractAsyncContextManager[Store]:
        """Opens the store kept in `folder`: opened again there, it remembers. `clock` gives Unix seconds."""
        raise NotImplementedError
