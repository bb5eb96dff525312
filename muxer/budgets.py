"""Which limits a request touches, and in which calendar windows: no store."""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence, Set
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace

from muxer.config.settings import LimitSettings
from muxer.limits import Amounts, Budget, Line, Rate
from muxer.money import nanos
from muxer.stores import BudgetClaim, Quota, Window
from muxer.types import Caller

FOREVER = Window("total", 0, 0)
MOST_MET = 4_096
"""Of how many callers and targets it is remembered what they meet; a few kB each at most."""


class Calendar:
    """Windows of one time zone: [start, end) of its days and months, also where they have 23 or 25 hours (I9)."""

    def __init__(self, zone: str) -> None:
        self._zone = ZoneInfo(zone)
        self._current: dict[str, tuple[Window, Window]] = {}

    def windows(self, name: str, now: float) -> tuple[Window, ...]:
        """The window of that name in force at `now`, and the one after it (S14)."""
        if name == "total":
            return (FOREVER,)
        known = self._current.get(name)
        if known is None or not known[0].start_s <= now < known[0].end_s:
            known = self._current[name] = self._find(name, now)
        return known

    def _find(self, name: str, now: float) -> tuple[Window, Window]:
        today = datetime.fromtimestamp(now, self._zone)
        # Where midnight comes twice (Havana in autumn) the day begins at the first, also for who asks after the second.
        day = today.replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0, fold=0)
        local = day if name == "day" else day.replace(day=1)
        edges = [self._instant(local)]
        while len(edges) < 3:
            local = _after(name, local)
            edge = self._instant(local)
            if edge <= now:
                edges = [edge]  # a clock turned back over midnight shows yesterday's date again (Goose Bay, until 2010)
            elif edge > edges[-1]:
                edges.append(edge)  # and a day that was skipped begins when the next one does (Apia, 2011-12-30)
        return Window(name, edges[0], edges[1]), Window(name, edges[1], edges[2])

    def _instant(self, local: datetime) -> int:
        """The first instant at or after a local midnight, which some zones skip in spring (Apia a whole day, 2011)."""
        exact = local.replace(tzinfo=self._zone).astimezone(UTC)
        if exact.astimezone(self._zone).replace(tzinfo=None) == local:
            return int(exact.timestamp())
        # A time that does not exist is read with the offset before the gap; the gap's end is where the offset changes.
        low, high = int(exact.timestamp()) - 172_800, int(exact.timestamp()) + 172_800
        while low < high:
            middle = (low + high) // 2
            if datetime.fromtimestamp(middle, self._zone).replace(tzinfo=None) >= local:
                high = middle
            else:
                low = middle + 1
        return low


def _after(name: str, start: datetime) -> datetime:
    if name == "day":
        return start + timedelta(days=1)
    return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)


class Target(Struct, frozen=True):
    """What a request goes to, for limits per model or route."""

    model: str
    route: str


def lines(limits: Sequence[LimitSettings]) -> tuple[Line, ...]:
    """The limits of a file, one line per amount."""
    found: list[Line] = []
    for index, limit in enumerate(limits):
        where = {str(name): value for name, value in limit.where.items()}
        found += _lines(
            limit, Line(id=f"limits[{index}]", per=limit.per, where=where, on_store_error=limit.on_store_error)
        )
    return tuple(found)


def key_lines(limits: Sequence[Amounts], name: str, account: str = "") -> tuple[Line, ...]:
    """The limits of one key, one line per amount: `keys.NAME.limits[0].daily_usd`."""
    found: list[Line] = []
    for index, limit in enumerate(limits):
        found += _lines(
            limit,
            Line(id=f"keys.{name}.limits[{index}]", per="key", account=account, on_store_error=limit.on_store_error),
        )
    return tuple(found)


def _lines(limit: Amounts, of: Line) -> Iterator[Line]:
    for key, amount in _amounts(limit):
        budget, rate = (amount, None) if isinstance(amount, Budget) else (None, amount)
        found = replace(of, id=f"{of.id}.{key}", on_store_error=limit.on_store_error)
        yield replace(found, budget=budget, rate=rate)


def _amounts(limit: Amounts) -> Iterator[tuple[str, Budget | Rate]]:
    """Every amount of one limit by its key in the file."""
    soft = limit.hold == "expected"
    for key, window in (("daily_usd", "day"), ("monthly_usd", "month"), ("total_usd", "total")):
        amount: Decimal | None = getattr(limit, key)
        if amount is not None:
            yield key, Budget(window, nanos(amount), soft)
    if limit.requests_per_minute is not None:
        per_minute = limit.requests_per_minute
        yield "requests_per_minute", Rate("requests", limit.burst or per_minute, per_minute)
    if limit.tokens_per_minute is not None:
        per_minute = limit.tokens_per_minute
        yield "tokens_per_minute", Rate("tokens", limit.burst or per_minute, per_minute)
    if limit.concurrent is not None:
        yield "concurrent", Rate("slots", limit.concurrent, 0)


def claims(
    limits: Sequence[Line], calendar: Calendar, caller: Caller, target: Target, now: float
) -> tuple[BudgetClaim, ...]:
    """Every window of every budget that names this request, those of its key included (S2)."""
    found: list[BudgetClaim] = []
    for line in (*limits, *caller.limits):
        budget = line.budget
        if budget is None:
            continue
        for subject in _touched(line, caller, target):
            found.append(
                BudgetClaim(
                    limit=line.id,
                    per=line.per,
                    subject=subject,
                    account=_account(line, subject),
                    windows=calendar.windows(budget.window, now),
                    limit_nanos=budget.limit_nanos,
                    soft=budget.soft,
                    on_store_error=line.on_store_error,
                )
            )
    return tuple(found)


class Met(Struct, frozen=True):
    """What one caller meets at one target until a window ends; of each quota 1 is asked. `own` are the caller's own
    limits that are among them, and the times are Unix seconds."""

    claims: tuple[BudgetClaim, ...]
    quotas: tuple[Quota, ...]
    own: Sequence[Line]
    begins_s: float
    ends_s: float
    is_hard: bool
    has_token_rates: bool

    def drawn(self, tokens: int) -> tuple[Quota, ...]:
        """The quotas for a request of about so many tokens."""
        if not self.has_token_rates:
            return self.quotas
        return tuple(replace(quota, amount=tokens) if quota.unit == "tokens" else quota for quota in self.quotas)


class FileLimits:
    """The limits of one configuration. What a caller meets is the same for each of its requests to a target until a
    window ends, and is remembered until then: to find it took a third of a decision."""

    def __init__(self, lines: Sequence[Line], calendar: Calendar) -> None:
        self.lines = tuple(lines)
        self.calendar = calendar
        self._known: OrderedDict[Hashable, Met] = OrderedDict()
        # Who differs only in what no limit looks at meets the same.
        scopes = {scope for line in self.lines for scope in (line.per, *line.where)}
        self._of_caller = _reading({"user", "key", "team"} & scopes | ({"tags"} if "tag" in scopes else set()))
        self._of_target = _reading({"model", "route"} & scopes)

    def met(self, caller: Caller, target: Target, now: float) -> Met:
        """What the caller meets there in the windows of `now`."""
        key: Hashable = self._of_caller(caller), self._of_target(target)
        if caller.limits:
            key = caller.key, caller.user, caller.team, caller.tags, target
        known = self._known.get(key)
        if known is None or known.own is not caller.limits or not known.begins_s <= now < known.ends_s:
            if len(self._known) >= MOST_MET:
                self._known.popitem(last=False)
            known = self._known[key] = self._find(caller, target, now)
        return known

    def _find(self, caller: Caller, target: Target, now: float) -> Met:
        touched = claims(self.lines, self.calendar, caller, target, now)
        drawn = quotas(self.lines, caller, target, 1)
        current = [claim.windows[0] for claim in touched if claim.windows[0] is not FOREVER]
        return Met(
            claims=touched,
            quotas=drawn,
            own=caller.limits,
            begins_s=max((window.start_s for window in current), default=-math.inf),
            ends_s=min((window.end_s for window in current), default=math.inf),
            is_hard=any(not claim.soft for claim in touched),
            has_token_rates=any(quota.unit == "tokens" for quota in drawn),
        )


def _reading(fields: Set[str]) -> Callable[[object], Hashable]:
    """What has the values of these fields."""
    return attrgetter(*sorted(fields)) if fields else lambda _: None


def quotas(limits: Sequence[Line], caller: Caller, target: Target, tokens: int) -> tuple[Quota, ...]:
    """Every rate and slot limit that names this request, as `claims`; `tokens` is the estimate taken of token rates."""
    return tuple(
        Quota(
            limit=line.id,
            per=line.per,
            subject=subject,
            account=_account(line, subject),
            unit=line.rate.unit,
            capacity=line.rate.capacity,
            per_minute=line.rate.per_minute,
            amount=tokens if line.rate.unit == "tokens" else 1,
            by_model=line.per == "model" or "model" in line.where,
            on_store_error=line.on_store_error,
        )
        for line in (*limits, *caller.limits)
        if line.rate is not None
        for subject in _touched(line, caller, target)
    )


def _touched(line: Line, caller: Caller, target: Target) -> tuple[str, ...]:
    """The subjects of a line that this request belongs to; none where its `where` does not match."""
    for name, value in line.where.items():
        if value not in _subjects(name, caller, target):
            return ()
    return _subjects(line.per, caller, target)


def _subjects(scope: str, caller: Caller, target: Target) -> tuple[str, ...]:
    one: str
    match scope:
        case "user":
            one = caller.user
        case "key":
            one = caller.key
        case "team":
            one = caller.team
        case "all":
            one = "all"
        case "model":
            one = target.model
        case "route":
            one = target.route
        case _:
            return caller.tags
    return (one,) if one else ()


def _account(line: Line, subject: str) -> str:
    """The counter's name. Lines that count the same requests share one, so spend survives an edit of the amounts."""
    if line.account:
        return line.account
    only = "".join(f"|{name}={_escaped(value)}" for name, value in sorted(line.where.items()))
    return f"{line.per}:{_escaped(subject)}{only}"


def _escaped(name: str) -> str:
    """A name in which no bar can be taken for one of ours: whoever may choose a name must not get another's counter."""
    return name.replace("|", "||")
