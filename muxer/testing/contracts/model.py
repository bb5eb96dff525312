"""A ledger so small that it is plainly right: it keeps what happened, and sums it up when asked (RELIABILITY T1)."""

from collections.abc import Sequence

from msgspec import Struct

from muxer import Attempt, BudgetClaim, Granted, HoldChoice, Quota, QuotaStanding, Record, Refusal, Refused, Standing

_MOST_DEBT_S = 600  # of a rate, beyond a full burst

Account = tuple[str, str, int]
"""An account, the name of a window, and when that begins."""


class Leg(Struct):
    """A held attempt; once it has ended, what it cost."""

    choice: int
    granted: int
    taken: dict[Account, int]
    is_ended: bool = False
    cost: int = 0
    presumed: int = 0


class Request(Struct):
    """A request that was held, by the process `owner`. Once it `is_over` nothing about it changes any more. `drawn` is
    what it took, each with the number of the attempt, -1 where it is the request's. `resolved` is what the operator's
    word about its unknown legs was booked as, `overstated` where that may be more than was billed there, since some of
    those legs had other accounts."""

    owner: int
    legs: list[Leg]
    drawn: list[tuple[int, Quota]]
    resolved: dict[Account, int]
    state: str = "open"
    is_over: bool = False
    resolved_cost: int = 0
    overstated: tuple[Account, ...] = ()

    @property
    def cost(self) -> int:
        """What is known of its cost."""
        return sum(leg.cost for leg in self.legs) + self.resolved_cost

    @property
    def held(self) -> int:
        """What its legs hold while it is open, and is presumed when its owner died."""
        return sum(leg.granted for leg in self.legs if not leg.is_ended)

    @property
    def presumed(self) -> int:
        """What it may have cost, as far as anybody knows."""
        return sum(leg.presumed for leg in self.legs) + (self.held if self.state == "interrupted" else 0)


class LedgerModel:
    """What `Store` promises. Quotas of it need a clock of whole seconds and rates that divide a minute."""

    def __init__(self) -> None:
        self.now = 0
        self.requests: dict[str, Request] = {}
        self._levels: dict[str, int] = {}

    def hold(self, owner: int, id: str, choices: Sequence[HoldChoice]) -> Granted | Refused:
        """The answer to a hold."""
        if id not in self.requests:
            refusals: list[Refusal] = []
            for index, choice in enumerate(choices):
                taken = self._lacking(choice) or self._take(index, choice)
                if isinstance(taken, Leg):
                    self.requests[id] = Request(owner, [taken], [], {})
                    self._draw(self.requests[id], choice.quotas)
                    break
                refusals.append(taken)
            else:
                return Refused(refusals=tuple(refusals))
        known = self.requests[id]
        index, granted = (0, 0) if known.is_over else (known.legs[0].choice, known.legs[0].granted)
        choice = choices[min(index, len(choices) - 1)]
        budgets, quotas = map(self.standing, choice.claims), map(self.quota, choice.quotas)
        return Granted(choice=index, granted_nanos=granted, budgets=tuple(budgets), quotas=tuple(quotas))

    def extend(self, owner: int, id: str, leg: int, choice: HoldChoice, ended: Attempt | None) -> Granted | Refused:
        """The answer to an extension; `leg` is one that is there, or the next."""
        request = self.requests[id]
        if request.is_over or request.state == "done":
            return Refused(refusals=())
        request.owner, request.state = owner, "open"
        if leg == len(request.legs):
            if ended is not None and not request.legs[-1].is_ended:
                _end(request.legs[-1], ended)
                self._end_quotas(request, leg - 1, 0 if ended.outcome == "none" else None)
            taken = self._lacking(choice) or self._take(0, choice)
            if isinstance(taken, Refusal):
                return Refused(refusals=(taken,))
            request.legs.append(taken)
            self._draw(request, choice.quotas)
        return Granted(choice=0, granted_nanos=request.legs[leg].granted)

    def settle(self, record: Record) -> None:
        """A request ends, with an attempt for each leg."""
        request = self.requests[record.id]
        if request.is_over or request.state == "done":
            return
        for leg, attempt in zip(request.legs, record.attempts, strict=True):
            _end(leg, attempt)
        used = record.usage.input_tokens + record.usage.output_tokens
        self._end_quotas(request, -1, None if request.presumed else used)
        for number, attempt in enumerate(record.attempts):
            is_given = number == len(record.attempts) - 1 and attempt.outcome == "exact"
            tokens = used if is_given else 0 if attempt.outcome == "none" else None
            self._end_quotas(request, number, tokens)
        request.state, request.is_over = "done", request.presumed == 0

    def interrupt(self, owner: int) -> None:
        """A process is known to be dead."""
        for request in self.requests.values():
            if request.owner == owner and request.state == "open":
                for number in range(-1, len(request.legs)):
                    self._end_quotas(request, number, None)
                request.state = "interrupted"

    def resolve(self, id: str, cost: int) -> bool:
        """The operator says what unknown legs cost together. An account is booked what its own can have made of that:
        all, or what the others cannot have (I1)."""
        request = self.requests[id]
        unknown = [request.legs[number] for number in self.unknown(id)]
        if request.is_over or request.state == "open" or not unknown:
            return False
        bounds = {id: leg.presumed if leg.is_ended else leg.granted for id, leg in enumerate(unknown)}
        for account in {account for leg in unknown for account in leg.taken}:
            here = sum(bounds[id] for id, leg in enumerate(unknown) if account in leg.taken)
            there = sum(bounds.values()) - here
            request.resolved[account] = cost if not there else min(cost, here) if cost <= here + there else cost - there
            if not all(account in leg.taken for leg in unknown):
                request.overstated += (account,)
        for leg in unknown:
            leg.is_ended, leg.presumed = True, 0
        request.resolved_cost, request.is_over = cost, True
        return True

    def unknown(self, id: str) -> list[int]:
        """The legs of a request that is not open whose cost nobody knows."""
        return [
            number
            for number, leg in enumerate(self.requests[id].legs)
            if (leg.presumed if leg.is_ended else leg.granted)
        ]

    def accounts(self) -> list[Account]:
        """Everything that was ever taken from."""
        return sorted({one for request in self.requests.values() for leg in request.legs for one in leg.taken})

    def amounts(self, account: Account) -> tuple[int, int, int]:
        """Spent, held and presumed of one account in one window."""
        spent = held = presumed = 0
        for request in self.requests.values():
            spent += request.resolved.get(account, 0)
            for leg in request.legs:
                if account in leg.taken:
                    spent, presumed = spent + leg.cost, presumed + leg.presumed
                    held += leg.taken[account] if not leg.is_ended and request.state == "open" else 0
                    presumed += leg.taken[account] if not leg.is_ended and request.state == "interrupted" else 0
        return spent, held, presumed

    def sums(self) -> tuple[int, int]:
        """Held and presumed over all requests."""
        requests = self.requests.values()
        return sum(one.held for one in requests if one.state == "open"), sum(one.presumed for one in requests)

    def standing(self, claim: BudgetClaim) -> Standing:
        """How the limit behind a claim stands."""
        window = next((one for one in claim.windows if self.now < one.end_s or not one.end_s), claim.windows[-1])
        spent, held, presumed = self.amounts((claim.account, window.name, window.start_s))
        return claim.standing(window, spent, held, presumed)

    def quota(self, quota: Quota) -> QuotaStanding:
        """How a quota stands."""
        level = self._levels.get(_key(quota), 0)
        remaining, retry_after_s, resets_s = quota.capacity - level, 1, 0
        if quota.unit != "slots":
            interval_s = 60 // quota.per_minute
            ahead_s, full_s = level - self.now, quota.capacity * interval_s
            resets_s = 0 if ahead_s > full_s + _MOST_DEBT_S else min(max(0, ahead_s), full_s)
            remaining = quota.capacity - -(-resets_s // interval_s)
            retry_after_s = max(0, resets_s + (quota.amount - quota.capacity) * interval_s)
        return QuotaStanding(
            limit=quota.limit,
            per=quota.per,
            subject=quota.subject,
            unit=quota.unit,
            capacity=quota.capacity,
            remaining=max(0, remaining),
            retry_after_s=float(retry_after_s),
            resets_s=float(resets_s),
        )

    def _lacking(self, choice: HoldChoice) -> Refusal | None:
        for quota in choice.quotas:
            standing = self.quota(quota)
            if quota.amount > standing.remaining:
                return Refusal(model=choice.model, standing=standing, asked_nanos=0)
        return None

    def _take(self, index: int, choice: HoldChoice) -> Leg | Refusal:
        granted, found = choice.bound_nanos, [(claim, self.standing(claim)) for claim in choice.claims]
        for claim, at in found:
            if claim.limit_nanos is None:
                continue
            room = max(0, claim.limit_nanos - at.spent_nanos - at.held_nanos - at.presumed_nanos)
            least = choice.expected_nanos if claim.soft else choice.floor_nanos
            if least > room:
                return Refusal(model=choice.model, standing=at, asked_nanos=least)
            granted = granted if claim.soft else min(granted, room)
        taken: dict[Account, int] = {}
        for claim, at in found:
            start_s = next(one.start_s for one in claim.windows if one.end_s == at.resets_at_s)
            account = (claim.account, at.window, start_s)
            taken[account] = max(taken.get(account, 0), choice.expected_nanos if claim.soft else granted)
        return Leg(index, granted, taken)

    def _draw(self, request: Request, quotas: Sequence[Quota]) -> None:
        for quota in quotas:
            self._change(quota, quota.amount)
            request.drawn.append((len(request.legs) - 1 if quota.by_model else -1, quota))

    def _end_quotas(self, request: Request, number: int, used: int | None) -> None:
        for quota in [quota for leg, quota in request.drawn if leg == number]:
            if quota.unit == "slots":
                self._change(quota, -quota.amount)
            elif quota.unit == "tokens" and used is not None:
                self._change(quota, used - quota.amount)
        request.drawn = [(leg, quota) for leg, quota in request.drawn if leg != number]

    def _change(self, quota: Quota, amount: int) -> None:
        level = self._levels.get(_key(quota), 0)
        if quota.unit != "slots":
            interval_s = 60 // quota.per_minute
            owed_s = int(self.quota(quota).resets_s) + amount * interval_s
            level, amount = self.now, min(owed_s, quota.capacity * interval_s + _MOST_DEBT_S)
        self._levels[_key(quota)] = max(0, level + amount)


def _end(leg: Leg, attempt: Attempt) -> None:
    if not leg.is_ended:
        leg.is_ended, leg.cost, leg.presumed = True, attempt.cost_nanos, attempt.presumed_nanos


def _key(quota: Quota) -> str:
    return f"{quota.account} {quota.unit}"
