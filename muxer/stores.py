"""What a store is asked and what it answers: holds, claims, quotas, standings, records."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct
from msgspec.structs import replace

from muxer.limits import OutagePolicy
from muxer.types import Attempt, Record


class Window(Struct, frozen=True):
    """A span of calendar time [start_s, end_s) in Unix seconds; `total` ends never (end_s 0)."""

    name: str
    start_s: int
    end_s: int


class BudgetClaim(Struct, frozen=True, kw_only=True):
    """Money to be taken from one limit.

    `account` names the counter (`user:alice`), `windows` are the one in force at the caller's clock and the next;
    the store picks by its own clock (S14). A claim without `limit_nanos` only counts.
    """

    limit: str
    per: str
    subject: str
    account: str
    windows: tuple[Window, ...]
    limit_nanos: int | None
    soft: bool = False
    on_store_error: OutagePolicy = "refuse"

    def standing(self, window: Window, spent_nanos: int, held_nanos: int, presumed_nanos: int) -> "Standing":
        """How the limit stands in that window, by the amounts that a store has counted."""
        return Standing(
            limit=self.limit,
            per=self.per,
            subject=self.subject,
            window=window.name,
            limit_nanos=self.limit_nanos,
            spent_nanos=spent_nanos,
            held_nanos=held_nanos,
            presumed_nanos=presumed_nanos,
            resets_at_s=window.end_s,
        )


class Quota(Struct, frozen=True, kw_only=True):
    """Requests, tokens or slots to be taken from one limit.

    Requests and tokens flow back at `per_minute` up to `capacity` (GCRA); slots come back when the request ends or its
    process dies. Of tokens an estimate is taken, which the settlement corrects by the record's usage. One `by_model`
    counts attempts: it ends with the attempt that took it.
    """

    limit: str
    per: str
    subject: str
    account: str
    unit: Literal["requests", "tokens", "slots"]
    capacity: int
    per_minute: int = 0
    amount: int = 1
    by_model: bool = False
    on_store_error: OutagePolicy = "refuse"

    def standing(self, remaining: int, retry_after_s: float, resets_s: float) -> "QuotaStanding":
        """How the quota stands, by what a store has counted; none is left where more was taken than there was."""
        return QuotaStanding(
            limit=self.limit,
            per=self.per,
            subject=self.subject,
            unit=self.unit,
            capacity=self.capacity,
            remaining=max(0, remaining),
            retry_after_s=retry_after_s,
            resets_s=resets_s,
        )


class HoldChoice(Struct, frozen=True, kw_only=True):
    """A model and what holding it takes: `bound_nanos`, or as much as fits but not under `floor_nanos`.

    `quotas` are taken with the money, by a hold or an extension.
    """

    model: str
    bound_nanos: int
    floor_nanos: int
    expected_nanos: int
    claims: tuple[BudgetClaim, ...] = ()
    quotas: tuple[Quota, ...] = ()

    @property
    def extending(self) -> "HoldChoice":
        """What a further attempt takes: of rates and slots only those by model, as the request has the others."""
        if all(quota.by_model for quota in self.quotas):
            return self
        return replace(self, quotas=tuple(quota for quota in self.quotas if quota.by_model))


class Standing(Struct, frozen=True, kw_only=True):
    """How one limit stands: amounts in nano-dollars; `resets_at_s` is 0 for a window without end."""

    limit: str
    per: str
    subject: str
    window: str
    limit_nanos: int | None
    spent_nanos: int
    held_nanos: int
    presumed_nanos: int
    resets_at_s: int


class QuotaStanding(Struct, frozen=True, kw_only=True):
    """How one quota stands. `retry_after_s`: when the amount asked for would fit; `resets_s`: when all is back."""

    limit: str
    per: str
    subject: str
    unit: Literal["requests", "tokens", "slots"]
    capacity: int
    remaining: int
    retry_after_s: float
    resets_s: float


class Granted(Struct, frozen=True, kw_only=True):
    """A hold was taken for `choices[choice]`, of `granted_nanos`; how its limits stand with it taken."""

    choice: int
    granted_nanos: int
    budgets: tuple[Standing, ...] = ()
    quotas: tuple[QuotaStanding, ...] = ()


class Refusal(Struct, frozen=True, kw_only=True):
    """Why one choice did not fit: the limit as it stood and what was asked of it."""

    model: str
    standing: Standing | QuotaStanding
    asked_nanos: int


class Refused(Struct, frozen=True, kw_only=True):
    """No choice fitted; nothing was taken. One refusal per choice, in order."""

    refusals: tuple[Refusal, ...]


class Summary(Struct, frozen=True):
    """Spend of a group of requests; `group` has the values of the fields asked for."""

    group: dict[str, str]
    requests: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    cost_nanos: int = 0
    held_nanos: int = 0
    presumed_nanos: int = 0


@runtime_checkable
class Store(Protocol):
    """Holds, counters and records. Every change is keyed by request id and safe to repeat (I6).

    All methods raise StoreUnavailable when the store cannot answer; then nothing was changed that a repeat of the
    same call would not also do. The store logs `store_unavailable` with the reason when that begins and
    `store_available` when it is over, never once per request (S18).
    """

    async def hold(self, opening: Record, choices: Sequence[HoldChoice]) -> Granted | Refused:
        """Takes the first choice that fits all its claims and writes the open record: all or nothing."""

    async def extend(self, id: str, leg: int, choice: HoldChoice, ended: Attempt | None) -> Granted | Refused:
        """Before attempt number `leg` (the opening hold is leg 0): settles the attempt before it, `ended`, with what
        that took by model, and holds the next by the same check (S7). Without `ended` the one before is still under way
        (a hedge) and stays held. Refused still settles `ended`; without refusals it says that the request is settled or
        was never held."""

    async def settle(self, record: Record) -> None:
        """Replaces the hold of each leg by the cost of the attempt of the same number, frees the rest, and completes
        the record (S9). A request that was never held is ignored; a store whose calls may overtake each other
        remembers its id, so that a hold that comes after takes nothing."""

    async def standings(self, claims: Sequence[BudgetClaim]) -> Sequence[Standing]:
        """How the limits behind the claims stand, one per claim."""

    async def quotas(self, quotas: Sequence[Quota]) -> Sequence[QuotaStanding]:
        """How the quotas stand, one per quota; nothing is taken."""

    async def summary(self, by: Sequence[str], since_s: float, where: Mapping[str, str]) -> list[Summary]:
        """Spend grouped by record fields (`user`, `team`, `key`, `route`, `model`, `provider`, `day`, `state`)."""

    async def record(self, id: str) -> Record | None:
        """One record."""

    def records(self, since_s: float, where: Mapping[str, str], limit: int) -> AsyncIterator[Record]:
        """Records from the newest to the oldest, at most `limit`."""

    async def held(self) -> tuple[int, int]:
        """Nano-dollars held and presumed over all open and unresolved requests."""


@runtime_checkable
class Resolves(Protocol):
    """A store that lets its operator say what presumed spend really cost (S10)."""

    async def presumed(self, limit: int) -> list[Record]:
        """Finished or interrupted requests whose cost is not known, the newest first."""

    async def resolve(self, id: str, cost_nanos: int) -> bool:
        """Replaces what is presumed for a request by what it cost; False when nothing is presumed for it (I6). How
        the cost was split among attempts with different accounts nobody knows: each is booked `most_here` (I1)."""


@runtime_checkable
class KeepsFeedback(Protocol):
    """A store that keeps with a record how good the answer was."""

    async def feedback(
        self, id: str, score: float, user: str | None = None, quotas: Sequence[Quota] = ()
    ) -> bool | Refused:
        """Takes the quotas, and keeps the score in the record of that id, open or over: the last score counts, and no
        settlement before or after changes it. False, and only the quotas were taken, when there is no record, or it is
        not of that user (None: of anybody). Refused, and nothing was done, when a quota has not what is asked."""


@runtime_checkable
class HasTrouble(Protocol):
    """A store that may be able to answer and not to write."""

    @property
    def trouble(self) -> str:
        """Why nothing can be held now; '' when it can."""


@runtime_checkable
class Examines(Protocol):
    """A store that can tell whether what it keeps holds together."""

    async def examine(self) -> list[str]:
        """What is wrong, a sentence each; empty when all is well. May take a while."""


@runtime_checkable
class HasJournal(Protocol):
    """Settings of a store on another machine, by which the file alone says that a journal is kept."""

    @property
    def journal(self) -> str:
        """Where; see `IsRemote.journal`."""


@runtime_checkable
class IsRemote(Protocol):
    """A store on another machine: it can be away, or come back without what it knew. The core then keeps a journal on
    this machine (S6) from which both are made good. Its settings are `HasJournal`."""

    @property
    def journal(self) -> Path:
        """The journal's file; no two processes share one."""

    def on_lost(self, reassert: Callable[[], Awaitable[None]]) -> None:
        """Names what is to be called when the server has lost data, before anything new is admitted (S17). It repeats
        holds, extensions and settlements of this process."""
