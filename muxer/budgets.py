"""Which limits a request touches, and in which calendar windows: pure, no store."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from muxer.config.settings import LimitSettings
from muxer.interfaces import BudgetClaim, Window
from muxer.money import nanos
from muxer.types import Caller

FOREVER = Window("total", 0, 0)


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
        day = datetime.fromtimestamp(now, self._zone).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
        start = day if name == "day" else day.replace(day=1)
        middle = _after(name, start)
        edges = [self._instant(edge) for edge in (start, middle, _after(name, middle))]
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


class Line(Struct, frozen=True, kw_only=True):
    """One limit as a line of the file: the same amount for each subject of its scope."""

    id: str
    per: str
    where: dict[str, str]
    window: str
    limit_nanos: int
    soft: bool


class Target(Struct, frozen=True):
    """What a request goes to, for limits per model or route."""

    model: str
    route: str


def lines(limits: Sequence[LimitSettings]) -> tuple[Line, ...]:
    """The limits of a file, one line per amount; each is known by its place: `limits[0].daily_usd`."""
    return tuple(
        Line(
            id=f"limits[{index}].{key}",
            per=limit.per,
            where={str(name): value for name, value in limit.where.items()},
            window=window,
            limit_nanos=nanos(amount),
            soft=limit.hold == "expected",
        )
        for index, limit in enumerate(limits)
        for key, window, amount in (
            ("daily_usd", "day", limit.daily_usd),
            ("monthly_usd", "month", limit.monthly_usd),
            ("total_usd", "total", limit.total_usd),
        )
        if amount is not None
    )


def claims(
    limits: Sequence[Line], calendar: Calendar, caller: Caller, target: Target, now: float
) -> tuple[BudgetClaim, ...]:
    """Every window of every limit that names this request (S2)."""
    return tuple(
        BudgetClaim(
            limit=line.id,
            per=line.per,
            subject=subject,
            account=_account(line, subject),
            windows=calendar.windows(line.window, now),
            limit_nanos=line.limit_nanos,
            soft=line.soft,
        )
        for line in limits
        if all(value in _subjects(name, caller, target) for name, value in line.where.items())
        for subject in _subjects(line.per, caller, target)
    )


def _subjects(scope: str, caller: Caller, target: Target) -> tuple[str, ...]:
    if scope == "tag":
        return caller.tags
    one = {
        "all": "all",
        "user": caller.user,
        "team": caller.team,
        "key": caller.key,
        "model": target.model,
        "route": target.route,
    }[scope]
    return (one,) if one else ()


def _account(line: Line, subject: str) -> str:
    """The counter's name. Lines that count the same requests share one, so spend survives an edit of the amounts."""
    only = "".join(f"|{name}={value}" for name, value in sorted(line.where.items()))
    return f"{line.per}:{subject}{only}"
