"""What a decision is made of: the rules, the question, the candidates, and the plan that comes of them."""

import math
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from muxer.budgets import FileLimits
from muxer.catalog import Catalog, Model
from muxer.config.settings import ConfidenceBy, DefaultsSettings, RouteSettings
from muxer.estimates import Estimates
from muxer.expressions import Expression
from muxer.gates import Excluded
from muxer.signals import Measured
from muxer.stores import BudgetClaim, HoldChoice, Quota
from muxer.types import Affinity, Caller, FallbackCause, Usage


class Rules(Struct, frozen=True, kw_only=True):
    """All that decides, taken from one configuration: a request keeps the rules it began with. `lines` are where the
    routes stand in the file, counted from 1."""

    catalog: Catalog
    routes: tuple[RouteSettings, ...]
    conditions: tuple[Expression | None, ...]
    limits: FileLimits
    defaults: DefaultsSettings
    config: str
    strict: bool = False
    budget_status: int = 402
    lines: tuple[int, ...] = ()


def with_retries(nanos: int, retry_share: float) -> int:
    """A cost with what failed tries add to it."""
    return nanos + math.ceil(nanos * retry_share)


class Candidate(Struct, frozen=True, kw_only=True):
    """A model that could serve the request, with the most and the likely cost, and the limits it would touch.

    `likely` are the tokens that the expected cost is of; nine answers in ten are no longer than `long_output_tokens`,
    and failed tries cost `retry_share` of what an answer does. `inserted_cap` is the output cap we add because the
    caller set none; it may shrink to what fits (S4). `quality` is what `order: value` predicts, from 0 to 1.
    """

    model: Model
    bound_nanos: int
    floor_nanos: int
    expected_nanos: int
    claims: tuple[BudgetClaim, ...]
    quotas: tuple[Quota, ...]
    bound_input_tokens: int
    likely: Usage = Usage()
    long_output_tokens: int = 0
    retry_share: float = 0.0
    inserted_cap: int | None = None
    quality: float | None = None

    @property
    def high_nanos(self) -> int:
        """What nine requests in ten cost no more than."""
        if self.model.price is None:
            return 0
        output = max(self.likely.output_tokens, self.long_output_tokens)
        nanos = self.model.price.cost_nanos(replace(self.likely, output_tokens=output))
        return min(self.bound_nanos, with_retries(nanos, self.retry_share))

    @property
    def choice(self) -> HoldChoice:
        """This candidate as the ledger takes it."""
        return HoldChoice(
            model=self.model.name,
            bound_nanos=self.bound_nanos,
            floor_nanos=self.floor_nanos,
            expected_nanos=self.expected_nanos,
            claims=self.claims,
            quotas=self.quotas,
        )

    @property
    def unasked(self) -> HoldChoice:
        """The same where nobody has to be asked: it is a request, but none to a model, and costs nothing."""
        quotas = tuple(quota for quota in self.quotas if quota.unit == "requests" and not quota.by_model)
        return replace(self.choice, bound_nanos=0, floor_nanos=0, expected_nanos=0, quotas=quotas)


class Cascade(Struct, frozen=True, kw_only=True):
    """Models asked one after another until an answer is sure enough: of each model the stage it is asked in. An answer
    is judged `by` its tokens or the model's own word, unless nobody of a later stage is left. `basis` says in words
    where the threshold is from."""

    threshold: float
    basis: str
    by: ConfidenceBy
    stages: Mapping[str, int]

    def after(self, model: str, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        """Of the candidates of a request those that are asked when the answer of this one is not sure enough."""
        names = [candidate.model.name for candidate in candidates]
        later = candidates[names.index(model) + 1 :]
        return tuple(one for one in later if self.stages[one.model.name] > self.stages[model])


class Terms(Struct, frozen=True, kw_only=True):
    """What a route says of its attempts: after which refusals another candidate is asked all the same, and after how
    many seconds without an answer one is asked beside the first."""

    fallback_on: tuple[FallbackCause, ...] = ()
    hedge_after_s: float | None = None


class Plan(Struct, frozen=True, kw_only=True):
    """The decision: candidates in the order they would be tried, those passed over, and the reason in words.

    `branch` says on which side of each share it met the request is: `trial`, `not trial`, joined by commas. Without a
    `cascade` the first answer is given.
    """

    route: str
    reason: str
    candidates: tuple[Candidate, ...]
    excluded: tuple[Excluded, ...]
    branch: str = ""
    is_sticky: bool = False
    learns: bool = False
    downgrades: bool = False
    timeout_s: float | None = None
    terms: Terms = Terms()
    cascade: Cascade | None = None

    @property
    def offered(self) -> tuple[Candidate, ...]:
        """Those that a hold may be for: the first, or where the route lets the budget decide, all."""
        return self.candidates if self.downgrades else self.candidates[:1]


class Question(Struct, frozen=True, kw_only=True):
    """Everything a plan depends on besides the rules. `is_cooling` tells why a model is set aside just now, or ''.
    `conversation` ties the turns of one together: what is drawn for it is drawn alike for each. `affinity` is where it
    is. `estimates` are the tables of what is likely.

    `decided` is the plan made before a guard of its route changed the request: its route stands, its costs do not.
    """

    id: str
    now: float
    caller: Caller
    requested: str
    measured: Measured
    is_cooling: Callable[[Model], str]
    conversation: str = ""
    affinity: Affinity = Affinity()
    estimates: Estimates = Estimates()
    decided: Plan | None = None
