"""A ledger so small that it is plainly right, and the comparing of a store's answers with it (RELIABILITY T1)."""

from hypothesis import strategies as st
from msgspec import Struct

from muxer import Attempt, BudgetClaim, Granted, HoldChoice, Refused, Store
from muxer.testing.builders import a_record
from muxer.testing.contracts.money import a_choice, a_claim, an_attempt, plain

ACCOUNTS = ("all:", "user:alice", "model:m-1")


class Operation(Struct, frozen=True):
    """One thing that happens to one request; each kind reads what it needs."""

    kind: str
    id: str
    floor_nanos: int
    more_nanos: int
    cost_nanos: int
    is_presumed: bool
    accounts: frozenset[str]

    @property
    def choice(self) -> HoldChoice:
        """What is asked for."""
        claims = [a_claim(account) for account in sorted(self.accounts)]
        bound = self.floor_nanos + self.more_nanos
        return a_choice(bound, *claims, floor_nanos=self.floor_nanos, claims=tuple(claims))

    def ended(self, granted_nanos: int) -> Attempt:
        """How an attempt ended that was granted so much, at an honest vendor's."""
        cost = min(self.cost_nanos, granted_nanos)
        return an_attempt(presumed_nanos=cost) if self.is_presumed else an_attempt(cost_nanos=cost)


OPERATIONS = st.builds(
    Operation,
    kind=st.sampled_from(["hold", "hold", "extend", "repeat", "settle"]),
    id=st.sampled_from(["a", "b", "c", "d"]),
    floor_nanos=st.integers(0, 60),
    more_nanos=st.integers(0, 60),
    cost_nanos=st.integers(0, 60),
    is_presumed=st.booleans(),
    accounts=st.frozensets(st.sampled_from(ACCOUNTS)),
)


class _Counter(Struct):
    spent: int = 0
    held: int = 0
    presumed: int = 0


class _Leg(Struct):
    answer: Granted
    accounts: tuple[str, ...]
    ended: Attempt | None = None


class LedgerModel:
    """Hard limits in one window: `hold`, `extend` and `settle` as `Store` promises them. None is a refusal."""

    def __init__(self) -> None:
        self._counters = {account: _Counter() for account in ACCOUNTS}
        self._legs: dict[str, list[_Leg]] = {}

    def legs(self, id: str) -> int:
        """How many legs a request has."""
        return len(self._legs.get(id, ()))

    def is_open(self, id: str) -> bool:
        """Whether the last leg of a request is still held."""
        return id in self._legs and self._legs[id][-1].ended is None

    def last_granted(self, id: str) -> int:
        """What the last leg was granted."""
        return self._legs[id][-1].answer.granted_nanos

    def attempts(self, id: str) -> tuple[Attempt, ...]:
        """How each leg ended so far."""
        return tuple(leg.ended for leg in self._legs[id] if leg.ended is not None)

    def amounts(self, account: str) -> tuple[int, int, int]:
        """Spent, held and presumed of one account."""
        counter = self._counters[account]
        return counter.spent, counter.held, counter.presumed

    def hold(self, id: str, choice: HoldChoice) -> Granted | None:
        """The answer to a hold."""
        return self._legs[id][0].answer if id in self._legs else self._take(id, choice)

    def extend(self, id: str, leg: int, choice: HoldChoice, ended: Attempt) -> Granted | None:
        """The answer to an extension."""
        if leg < self.legs(id):
            return self._legs[id][leg].answer
        self.end(id, ended)
        return self._take(id, choice)

    def end(self, id: str, attempt: Attempt) -> None:
        """Settles the last leg."""
        leg = self._legs[id][-1]
        leg.ended = attempt
        for account in leg.accounts:
            counter = self._counters[account]
            counter.held -= leg.answer.granted_nanos
            counter.spent += attempt.cost_nanos
            counter.presumed += attempt.presumed_nanos

    def _take(self, id: str, choice: HoldChoice) -> Granted | None:
        granted = min([choice.bound_nanos, *(self._room(claim) for claim in choice.claims)])
        if granted < choice.floor_nanos:
            return None
        accounts = tuple(claim.account for claim in choice.claims)
        for account in accounts:
            self._counters[account].held += granted
        leg = _Leg(Granted(choice=0, granted_nanos=granted), accounts)
        self._legs.setdefault(id, []).append(leg)
        return leg.answer

    def _room(self, claim: BudgetClaim) -> int:
        assert claim.limit_nanos is not None
        return claim.limit_nanos - sum(self.amounts(claim.account))


async def compare(store: Store, model: LedgerModel, operation: Operation) -> None:
    """Does one operation to both and compares their answers; one that makes no sense now is passed over."""
    id, choice = operation.id, operation.choice
    if operation.kind == "hold" and (model.is_open(id) or not model.legs(id)):
        answer = await store.hold(a_record(id=id), [choice])
        assert _granted(answer) == model.hold(id, choice)
        return
    if not model.is_open(id):
        return
    ended = operation.ended(model.last_granted(id))
    if operation.kind == "settle":
        model.end(id, ended)
        await store.settle(a_record(id=id, state="done", attempts=model.attempts(id)))
        return
    leg = model.legs(id) - (operation.kind == "repeat")
    if leg > 0:
        answer = await store.extend(id, leg, choice, ended)
        assert _granted(answer) == model.extend(id, leg, choice, ended)


def _granted(answer: Granted | Refused) -> Granted | None:
    answer = plain(answer)
    return answer if isinstance(answer, Granted) else None
