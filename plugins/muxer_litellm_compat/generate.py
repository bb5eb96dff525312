"""What `/key/generate` is asked, as a key of ours; what a key here cannot have is refused, never dropped."""

import calendar
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta, Struct

from muxer import Amounts, InvalidRequest, NewKey, moment

DAY, MONTH = "1d", "30d"
"""How this plugin writes the two periods that a budget here can have."""

_AtLeastOne = Annotated[int, Meta(ge=1)]
_BestEffort = Literal["best_effort_throughput"]
_WORDS: Mapping[str, str] = {"hourly": "1h", "daily": DAY, "weekly": "7d", "monthly": MONTH}
# LiteLLM ends `1d` at midnight, and both `30d` and `1mo` on the first of a month, as the windows here end.
_WINDOWS: Mapping[str, str] = {DAY: "daily_usd", "24h": "daily_usd", MONTH: "monthly_usd", "1mo": "monthly_usd"}
_SECONDS: Mapping[str, int] = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_FIELDS: Mapping[str, str] = {"name": "key_alias", "user": "user_id", "team": "team_id", "expires": "duration"}
# What LiteLLM finds in a key's metadata and acts on.
_NO_METADATA = frozenset(
    (
        "disable_global_guardrails", "enforced_params", "guardrails", "logging", "mcp_rpm_limit", "model_rpm_limit",
        "model_tpm_limit", "policies", "prompts", "tag_rpm_limit", "tags",
    )
)  # fmt: skip


class BudgetWindow(Struct, frozen=True, forbid_unknown_fields=True):
    """One of several budgets of a key."""

    budget_duration: str
    max_budget: Decimal


class GenerateKey(Struct, frozen=True, kw_only=True):
    """The fields of LiteLLM's GenerateKeyRequest that a key here can have."""

    key_alias: str | None = None
    user_id: str | None = None
    team_id: str | None = None
    models: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    metadata: dict[str, object] | None = None
    duration: str | None = None
    max_budget: Decimal | None = None
    budget_duration: str | None = None
    budget_limits: tuple[BudgetWindow, ...] | None = None
    tpm_limit: _AtLeastOne | None = None
    rpm_limit: _AtLeastOne | None = None
    max_parallel_requests: _AtLeastOne | None = None
    key_type: Literal["default", "llm_api"] | None = None
    tpm_limit_type: _BestEffort | None = None
    rpm_limit_type: _BestEffort | None = None


class Wanted(Struct, frozen=True):
    """A key to be made; `places` says of each of its limits which field asked for it."""

    key: NewKey
    places: tuple[str, ...]


def refuse_the_rest(fields: Mapping[str, object]) -> None:
    """Refuses the first field that asks for something a key here cannot have; one that asks for nothing (null, false,
    0, an empty text, list or object) is fine."""
    for name, value in fields.items():
        if value and name not in GenerateKey.__struct_fields__:
            raise InvalidRequest(f"{name[:64]}: keys here cannot have that; leave it out", param=name[:64])
    metadata = fields.get("metadata")
    for name in sorted(_NO_METADATA.intersection(metadata if isinstance(metadata, dict) else ())):
        raise InvalidRequest(f"metadata.{name}: nobody would act on it; leave it out", param=f"metadata.{name}")


def new_key(asked: GenerateKey, now: float) -> Wanted:
    """The key that was asked for at `now` (Unix seconds). Raises InvalidRequest, which names LiteLLM's field."""
    limits = list(_limits(asked))
    key = NewKey(
        name=asked.key_alias or f"key-{secrets.token_hex(6)}",
        user=asked.user_id or "",
        team=asked.team_id or "",
        tags=asked.tags or (),
        models=_models(asked.models or ()),
        expires=None if asked.duration is None else _expires(asked.duration, now),
        limits=tuple(amounts for _, amounts in limits),
        metadata=asked.metadata or {},
    )
    return Wanted(key, tuple(place for place, _ in limits))


@contextmanager
def translated(wanted: Wanted) -> Iterator[None]:
    """Lets what is said of a field of ours be said of LiteLLM's."""
    try:
        yield
    except InvalidRequest as error:
        if error.param is None:
            raise
        limit = re.match(r"limits\[(\d+)\].*", error.param)
        field = wanted.places[int(limit[1])] if limit else _FIELDS.get(error.param, error.param)
        raise InvalidRequest(error.message.replace(error.param, field, 1), param=field) from error


def _limits(asked: GenerateKey) -> Iterator[tuple[str, Amounts]]:
    """Each limit with the field that asks for it; `max_budget` is the first of budgets."""
    if asked.max_budget is not None:
        yield "max_budget", _budget(asked.max_budget, asked.budget_duration, "budget_duration")
    elif asked.budget_duration:
        raise InvalidRequest("budget_duration: needs max_budget", param="budget_duration")
    for index, window in enumerate(asked.budget_limits or ()):
        place = f"budget_limits[{index}]"
        yield f"{place}.max_budget", _budget(window.max_budget, window.budget_duration, f"{place}.budget_duration")
    if asked.tpm_limit is not None:
        yield "tpm_limit", Amounts(tokens_per_minute=asked.tpm_limit)
    if asked.rpm_limit is not None:
        yield "rpm_limit", Amounts(requests_per_minute=asked.rpm_limit)
    if asked.max_parallel_requests is not None:
        yield "max_parallel_requests", Amounts(concurrent=asked.max_parallel_requests)


def _budget(amount: Decimal, duration: str | None, place: str) -> Amounts:
    if not duration:
        return Amounts(total_usd=amount)
    window = _WINDOWS.get(_WORDS.get(duration.lower(), duration))
    if window is None:
        known = ", ".join(_WINDOWS)
        raise InvalidRequest(f"{place}: budgets here are by day or month ({known}), or without end", param=place)
    return Amounts(daily_usd=amount) if window == "daily_usd" else Amounts(monthly_usd=amount)


def _models(names: Sequence[str]) -> tuple[str, ...]:
    for name in ("all-team-models", "no-default-models"):
        if name in names:
            raise InvalidRequest(f"models: teams have no models here, so {name} means nothing", param="models")
    return () if "all-proxy-models" in names else tuple(names)


def _expires(duration: str, now: float) -> str:
    """The instant at which `30s`, `12h`, `30d` or `1mo` from now are over."""
    found = re.fullmatch(r"(\d{1,9})(mo|[smhdw])", _WORDS.get(duration.lower(), duration), re.ASCII)
    if found is None:
        raise InvalidRequest("duration: write it as 30s, 30m, 30h, 30d, 4w or 1mo", param="duration")
    number, unit, begun = int(found[1]), found[2], datetime.fromtimestamp(now, UTC)
    try:
        ended = _months_later(begun, number) if unit == "mo" else begun + timedelta(seconds=number * _SECONDS[unit])
        return moment(ended.timestamp())
    except (ValueError, OverflowError) as error:
        raise InvalidRequest("duration: ends past the year 9999", param="duration") from error


def _months_later(begun: datetime, months: int) -> datetime:
    """The same day of a later month, or its last."""
    year, month = divmod(begun.year * 12 + begun.month - 1 + months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return begun.replace(year=year, month=month + 1, day=min(begun.day, last))
