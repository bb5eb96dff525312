"""How limits stand, in words, numbers and headers: what a refusal says, and what is left after a hold."""

from collections.abc import Sequence
from datetime import UTC, datetime

from muxer import measurements
from muxer.errors import BudgetExceeded, BudgetExceededAsRate, ConcurrencyExceeded, MuxerError, RateLimited
from muxer.interfaces import Meter
from muxer.money import usd
from muxer.stores import Granted, HoldChoice, QuotaStanding, Refusal, Refused, Standing


def refusal_of(reply: Refused, budget_status: int) -> MuxerError:
    """The error of a refusal: the first choice's, since that is the model the request would have had."""
    refusal = reply.refusals[0]
    at = refusal.standing
    if isinstance(at, QuotaStanding):
        return _quota_error(at)
    fields = budget_fields(at) | {"asked_usd": usd(refusal.asked_nanos)}
    error = BudgetExceededAsRate if budget_status == 429 else BudgetExceeded
    return error(_words(refusal, at), fields)


def _quota_error(at: QuotaStanding) -> RateLimited:
    if at.unit == "slots":
        message = f"{at.per} {at.subject!r} has {at.capacity} requests running, as many as {at.limit} allows"
        return ConcurrencyExceeded(f"{message}; wait for one to end", at.retry_after_s)
    return RateLimited(
        f"{at.per} {at.subject!r} has used up its {at.unit} for now: {at.remaining} of {at.capacity} are left under "
        f"{at.limit}; try again in {at.retry_after_s:.1f} s",
        at.retry_after_s,
        _rate_headers([at]),
    )


def _words(refusal: Refusal, at: Standing) -> str:
    resets = f"it resets at {_instant(at.resets_at_s)}" if at.resets_at_s else "it never resets"
    return (
        f"the {_ADJECTIVES[at.window]} budget of {at.per} {at.subject!r} is used up for this request: limit "
        f"${usd(at.limit_nanos or 0)}, spent ${usd(at.spent_nanos)}, held ${usd(at.held_nanos)}, presumed "
        f"${usd(at.presumed_nanos)}, asked ${usd(refusal.asked_nanos)} for {refusal.model}; {resets}. "
        f"{_remedy(at.limit)}, set a lower max_tokens, or wait"
    )


def _remedy(limit: str) -> str:
    is_stored = limit.startswith("keys.*.")
    return "Ask for a key with higher limits" if is_stored else f"Raise {limit} in routing.yaml"


_ADJECTIVES = {"day": "daily", "month": "monthly", "total": "total"}


def _instant(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def budget_fields(standing: Standing) -> dict[str, object]:
    """A standing as it is shown to callers: dollars as exact decimal strings, times in UTC."""
    fields: dict[str, object] = {
        "per": standing.per,
        "subject": standing.subject,
        "window": standing.window,
        "limit_usd": None if standing.limit_nanos is None else usd(standing.limit_nanos),
        "spent_usd": usd(standing.spent_nanos),
        "held_usd": usd(standing.held_nanos),
        "presumed_usd": usd(standing.presumed_nanos),
        "resets_at": _instant(standing.resets_at_s) if standing.resets_at_s else None,
    }
    return fields


class Fullest:
    """Keeps the gauge of each limit at the fullest subject seen in its window."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._seen: dict[str, tuple[int, str, float]] = {}

    def saw(self, at: Standing, share: float) -> None:
        """Takes note of how one subject stands."""
        resets_at_s, subject, fullest = self._seen.get(at.limit, (at.resets_at_s, at.subject, 0.0))
        if share >= fullest or subject == at.subject or resets_at_s != at.resets_at_s:
            self._seen[at.limit] = (at.resets_at_s, at.subject, share)
            self._meter.set(measurements.LIMIT_USED_RATIO, share, at.limit)


def limit_headers(granted: Granted) -> dict[str, str]:
    """What is left, in the headers clients know: OpenAI's for rates, the tightest of each unit; ours for money."""
    headers = _rate_headers(granted.quotas)
    if granted.budgets:
        headers["x-muxer-budget-remaining-usd"] = usd(min(remaining_nanos(standing) for standing in granted.budgets))
    return headers


def _rate_headers(quotas: Sequence[QuotaStanding]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for unit in ("requests", "tokens"):
        of_unit = [quota for quota in quotas if quota.unit == unit]
        if of_unit:
            tightest = min(of_unit, key=lambda quota: quota.remaining)
            headers[f"x-ratelimit-limit-{unit}"] = str(tightest.capacity)
            headers[f"x-ratelimit-remaining-{unit}"] = str(tightest.remaining)
            headers[f"x-ratelimit-reset-{unit}"] = f"{tightest.resets_s:.3f}s"
    return headers


def untouched(choice: HoldChoice) -> tuple[Sequence[Standing], Sequence[QuotaStanding]]:
    """How the limits of a choice stand where nothing was ever asked."""
    budgets = [
        Standing(
            limit=claim.limit,
            per=claim.per,
            subject=claim.subject,
            window=claim.windows[0].name,
            limit_nanos=claim.limit_nanos,
            spent_nanos=0,
            held_nanos=0,
            presumed_nanos=0,
            resets_at_s=claim.windows[0].end_s,
        )
        for claim in choice.claims
    ]
    quotas = [
        QuotaStanding(
            limit=quota.limit,
            per=quota.per,
            subject=quota.subject,
            unit=quota.unit,
            capacity=quota.capacity,
            remaining=quota.capacity,
            retry_after_s=0.0,
            resets_s=0.0,
        )
        for quota in choice.quotas
    ]
    return budgets, quotas


def remaining_nanos(standing: Standing) -> int:
    """What is left under a limit, never below zero."""
    used = standing.spent_nanos + standing.held_nanos + standing.presumed_nanos
    return max(0, (standing.limit_nanos or 0) - used)
