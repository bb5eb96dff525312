"""LiteLLM's budgets, which last for a duration, as dollars per calendar day or month."""

from decimal import Decimal

from muxer.config.scalars import LARGEST_USD
from muxer.litellm_import.draft import Value
from muxer.litellm_import.report import Report
from muxer.litellm_import.tree import View
from muxer.litellm_import.values import dollars, seconds

_DAY_S = 86_400
_MONTH_DAYS = range(28, 32)
_NANO = Decimal("0.000000001")


def window(amount: View | None, duration: View | None, whose: str, report: Report) -> dict[str, Value]:
    """The amount of a limit for a budget and its duration, either of which may be missing or wrong; `whose` says in the
    report what the limit is about. Nothing when there is no budget to be had of them."""
    length_s = seconds(duration, report) if duration is not None else None
    usd = dollars(amount, report) if amount is not None else None
    if amount is None or usd is None or (duration is not None and length_s is None):
        if duration is not None and length_s is not None:
            report.dropped(duration, "there is no budget for it")
        elif amount is not None and usd is not None:
            report.dropped(amount, "how long it lasts is wrong")
        return {}
    lasts = "" if duration is None else str(duration.value)
    key, share, words = _share(usd, length_s, lasts)
    for view in (amount, duration):
        if view is not None:
            report.approximated(view, f"{key} {whose}: {words}")
    return {key: min(share, Decimal(LARGEST_USD)).quantize(_NANO, rounding="ROUND_DOWN")}


def _share(usd: Decimal, length_s: int | None, lasts: str) -> tuple[str, Decimal, str]:
    if length_s is None:
        return "total_usd", usd, "for ever, since nothing resets it"
    if length_s == _DAY_S:
        return "daily_usd", usd, "by the calendar day in UTC"
    if length_s < _MONTH_DAYS.start * _DAY_S:
        return "daily_usd", usd * _DAY_S / length_s, f"a calendar day's share of {lasts}, in UTC"
    if length_s // _DAY_S in _MONTH_DAYS:
        return "monthly_usd", usd, "by the calendar month in UTC"
    return "monthly_usd", usd * 30 * _DAY_S / length_s, f"a calendar month's share of {lasts}, in UTC"
