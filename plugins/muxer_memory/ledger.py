"""Holding and settling in plain objects: each method is all or nothing, since none of them waits."""

from collections import deque
from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from muxer import (
    Attempt,
    BudgetClaim,
    Drawn,
    Granted,
    HoldChoice,
    Quota,
    Quotas,
    QuotaStanding,
    Record,
    Refusal,
    Refused,
    Standing,
    Window,
    drawn,
    most_here,
)
from muxer_memory.keyed import Keyed

KEEP_S = 35 * 86_400
"""How long a counter is kept after its window, in seconds."""
_MANY_COUNTERS = 1_000


class Counter(Struct, eq=False):
    """What one account has in one window, in nano-dollars; the window ends at `end_s`, or never (0)."""

    end_s: int
    spent: int = 0
    held: int = 0
    presumed: int = 0


class Leg(Struct, eq=False):
    """One held attempt: which choice it was given, how much, from where; once ended, what of it is presumed."""

    choice: int
    granted: int
    taken: dict[Counter, int]
    is_ended: bool = False
    presumed: int = 0

    @property
    def unknown(self) -> int:
        """What it may have cost, as long as nobody knows."""
        return self.presumed if self.is_ended else self.granted

    def end(self, cost: int, presumed: int) -> None:
        """Replaces the hold by what the attempt cost."""
        for counter, nanos in self.taken.items():
            counter.held -= nanos
            counter.spent += cost
            counter.presumed += presumed
        self.is_ended, self.presumed = True, presumed


class Request(Struct, eq=False):
    """A record, and the legs of it while anything is held or presumed; `owner` is the process that holds it."""

    record: Record
    owner: str
    legs: tuple[Leg, ...]
    drawn: tuple[Drawn, ...]

    @property
    def is_open(self) -> bool:
        """Whether it can still be extended and settled; an owner that was only thought dead may do so too."""
        return self.record.state in ("open", "interrupted") and bool(self.legs)

    @property
    def held_nanos(self) -> int:
        """What its legs hold, or held when its owner died."""
        return sum(leg.granted for leg in self.legs if not leg.is_ended)


class _Levels:
    """See Levels."""

    def __init__(self) -> None:
        self._values: dict[str, int] = {}

    def level(self, account: str) -> int:
        """See Levels."""
        return self._values.get(account, 0)

    def set_level(self, account: str, value: int) -> None:
        """See Levels."""
        self._values[account] = value


class Ledger:
    """Requests, counters and quotas. Of requests that are over the last `keep_records` are kept."""

    def __init__(self, clock: Callable[[], float], keep_records: int) -> None:
        self.requests: dict[str, Request] = {}
        self.quotas = Quotas(_Levels())
        self.keyed = Keyed()
        self._clock = clock
        self._keep_records = keep_records
        self._over: deque[str] = deque()
        self._counters: dict[tuple[str, int], Counter] = {}
        self._many_counters = _MANY_COUNTERS

    def hold(self, owner: str, opening: Record, choices: Sequence[HoldChoice]) -> Granted | Refused:
        """Takes the first choice that fits and writes the open record; the same id again gets the same answer (S5)."""
        known = self.requests.get(opening.id)
        if known is not None:
            first = known.legs[0] if known.legs else Leg(0, 0, {})
            return self._granted(first, choices[min(first.choice, len(choices) - 1)])
        now, refusals = self._clock(), list[Refusal]()
        for index, choice in enumerate(choices):
            leg = self._take(index, choice, now)
            if isinstance(leg, Refusal):
                refusals.append(leg)
                continue
            taken = drawn(choice.quotas)
            self.quotas.take(taken, now)
            self.requests[opening.id] = Request(opening, owner, (leg,), taken)
            return self._granted(leg, choice)
        return Refused(refusals=tuple(refusals))

    def _granted(self, leg: Leg, choice: HoldChoice) -> Granted:
        return Granted(
            choice=leg.choice,
            granted_nanos=leg.granted,
            budgets=tuple(self.standing(claim) for claim in choice.claims),
            quotas=tuple(self.quota(quota) for quota in choice.quotas),
        )

    def extend(self, owner: str, id: str, number: int, choice: HoldChoice, ended: Attempt | None) -> Granted | Refused:
        """Settles leg `number - 1`, if it has ended, and holds leg `number`; a repeat gets the same answer (S7)."""
        request = self._reopened(id)
        if request is None:
            return Refused(refusals=())  # settled already, or never held: nothing more may be sent for it (I7)
        request.owner = owner  # whoever extends it is alive
        if number > len(request.legs):
            return Refused(refusals=())
        if number < len(request.legs):
            return Granted(choice=0, granted_nanos=request.legs[number].granted)
        last, now = request.legs[-1], self._clock()
        if ended is not None and not last.is_ended:
            last.end(ended.cost_nanos, ended.presumed_nanos)
            self._presume(request, ended.presumed_nanos)
            request.record = replace(request.record, cost_nanos=request.record.cost_nanos + ended.cost_nanos)
            request.drawn = self.quotas.end_leg(request.drawn, number - 1, ended, now)
        leg = self._take(0, choice, now)
        if isinstance(leg, Refusal):
            return Refused(refusals=(leg,))
        taken = drawn(choice.quotas, number)
        self.quotas.take(taken, now)
        request.drawn, request.legs = (*request.drawn, *taken), (*request.legs, leg)
        return Granted(choice=0, granted_nanos=leg.granted)

    def settle(self, record: Record) -> None:
        """Replaces every leg's hold by its attempt's cost and completes the record; settled it stays as it is (I6)."""
        request = self._reopened(record.id)
        if request is None:
            return
        for number, leg in enumerate(request.legs):
            if not leg.is_ended:
                attempt = record.attempts[number] if number < len(record.attempts) else None
                leg.end(*(attempt.cost_nanos, attempt.presumed_nanos) if attempt else (0, 0))
        self.quotas.settle(request.drawn, record, self._clock())
        request.record, request.drawn = replace(record, feedback=request.record.feedback), ()
        if not record.presumed_nanos:
            self._close(request)

    def interrupt(self, owner: str) -> None:
        """Moves what a dead process held to presumed, where it still counts (S10), and frees its slots (I11)."""
        for request in self.requests.values():
            if request.owner == owner and request.record.state == "open":
                self._move(request, 1)
                self.quotas.end(request.drawn, None, self._clock())
                request.drawn = ()

    def resolve(self, id: str, cost_nanos: int) -> bool:
        """Replaces what is presumed for a request by what it cost; False when nothing is."""
        request = self.requests.get(id)
        if request is None or request.record.state == "open":
            return False
        unknown = [leg for leg in request.legs if leg.unknown]
        if not unknown:
            return False
        bound = sum(leg.unknown for leg in unknown)
        for counter in {counter for leg in unknown for counter in leg.taken}:
            here = [leg for leg in unknown if counter in leg.taken]
            counter.spent += most_here(cost_nanos, sum(leg.unknown for leg in here), bound)
            counter.presumed -= sum(leg.presumed if leg.is_ended else leg.taken[counter] for leg in here)
        cost = request.record.cost_nanos + cost_nanos
        request.record = replace(request.record, cost_nanos=cost, presumed_nanos=0)
        self._close(request)
        return True

    def feedback(self, id: str, score: float, user: str | None, quotas: Sequence[Quota]) -> bool | Refused:
        """See KeepsFeedback."""
        now = self._clock()
        lacking = self.quotas.lacking(quotas, now)
        if lacking is not None:
            return Refused(refusals=(Refusal(model="", standing=lacking, asked_nanos=0),))
        self.quotas.take(drawn(quotas), now)
        request = self.requests.get(id)
        if request is None or user not in (None, request.record.user):
            return False
        request.record = replace(request.record, feedback=score)
        return True

    def standing(self, claim: BudgetClaim) -> Standing:
        """How the limit behind a claim stands now."""
        window = self._window(claim)
        return _standing(claim, window, self._counters.get(_key(claim, window), Counter(window.end_s)))

    def quota(self, quota: Quota) -> QuotaStanding:
        """How a quota stands now."""
        return self.quotas.stand(quota, self._clock())

    def _take(self, index: int, choice: HoldChoice, now: float) -> Leg | Refusal:
        """Checks all quotas and claims of a choice, then takes its money; changes nothing when refused."""
        lacking = self.quotas.lacking(choice.quotas, now)
        if lacking is not None:
            return Refusal(model=choice.model, standing=lacking, asked_nanos=0)
        granted, taken = choice.bound_nanos, dict[Counter, int]()
        counters = [self._counter(claim) for claim in choice.claims]
        for claim, counter in zip(choice.claims, counters, strict=True):
            if claim.limit_nanos is None:
                continue
            room = claim.limit_nanos - counter.spent - counter.held - counter.presumed
            least = choice.expected_nanos if claim.soft else choice.floor_nanos
            # A request that costs nothing passes even where a limit was lowered below its use (S19, S20).
            if least > 0 and least > room:
                return Refusal(model=choice.model, standing=self.standing(claim), asked_nanos=least)
            if not claim.soft and choice.bound_nanos > 0:
                granted = min(granted, max(room, choice.floor_nanos))
        for claim, counter in zip(choice.claims, counters, strict=True):
            # Several limits may count the same money: it is taken once, as the hardest of them wants it.
            nanos = choice.expected_nanos if claim.soft else granted
            taken[counter] = max(nanos, taken.get(counter, 0))
        for counter, nanos in taken.items():
            counter.held += nanos
        return Leg(index, granted, taken)

    def _counter(self, claim: BudgetClaim) -> Counter:
        """The counter behind a claim, made if there is none; now and then those long over are let go."""
        window = self._window(claim)
        key = _key(claim, window)
        found = self._counters.get(key)
        if found is not None:
            return found
        if len(self._counters) >= self._many_counters:
            old_s = self._clock() - KEEP_S
            kept = {name: one for name, one in self._counters.items() if not 0 < one.end_s < old_s}
            self._counters, self._many_counters = kept, 2 * len(kept) + _MANY_COUNTERS
        return self._counters.setdefault(key, Counter(window.end_s))

    def _reopened(self, id: str) -> Request | None:
        """A request that is not settled, whose holds count as held from here on."""
        request = self.requests.get(id)
        if request is None or not request.is_open:
            return None
        if request.record.state == "interrupted":
            self._move(request, -1)
        return request

    def _move(self, request: Request, sign: int) -> None:
        """Makes an open request interrupted, its holds presumed (1); or open again, when its process was only thought
        dead (-1)."""
        for leg in request.legs:
            for counter, nanos in () if leg.is_ended else leg.taken.items():
                counter.held -= sign * nanos
                counter.presumed += sign * nanos
        self._presume(request, sign * request.held_nanos)
        request.record = replace(request.record, state="interrupted" if sign == 1 else "open")

    def _presume(self, request: Request, nanos: int) -> None:
        if nanos:
            request.record = replace(request.record, presumed_nanos=request.record.presumed_nanos + nanos)

    def _close(self, request: Request) -> None:
        """Nothing is left to be settled or resolved: the record alone stays, until many came after it."""
        request.legs = ()
        self._over.append(request.record.id)
        if len(self._over) > self._keep_records:
            del self.requests[self._over.popleft()]

    def _window(self, claim: BudgetClaim) -> Window:
        """The window in force at the store's clock; past the last one offered, that one (S14)."""
        now = self._clock()
        for window in claim.windows:
            if now < window.end_s or not window.end_s:
                return window
        return claim.windows[-1]


def _key(claim: BudgetClaim, window: Window) -> tuple[str, int]:
    return f"{claim.account}:{window.name}", window.start_s


def _standing(claim: BudgetClaim, window: Window, counter: Counter) -> Standing:
    return claim.standing(window, counter.spent, counter.held, counter.presumed)
