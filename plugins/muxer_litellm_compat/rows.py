"""A key as LiteLLM shows one: in the answer that made it, and in `/key/info`."""

from collections.abc import Iterator, Sequence

from muxer import Standing, StoredKey, moment, usd
from muxer_litellm_compat.generate import DAY, MONTH

_DURATIONS = (("daily_usd", DAY), ("monthly_usd", MONTH), ("total_usd", None))


def made(key: StoredKey, secret: str, by: str) -> dict[str, object]:
    """LiteLLM's GenerateKeyResponse."""
    return {
        "key": secret,
        "token": key.digest,
        "token_id": key.digest,
        **_shared(key),
        "tags": list(key.tags),
        "spend": 0.0,
        "created_by": by,
        "updated_by": by,
    }


def info(key: StoredKey, standings: Sequence[Standing], total_nanos: int, now: float) -> dict[str, object]:
    """The `info` of `/key/info`. `standings` are those of the key's budgets, `total_nanos` all it ever spent."""
    first = standings[0] if standings else None
    ends = first.resets_at_s if first is not None else 0
    return {
        **_shared(key),
        "status": _status(key, now),
        "spend": dollars(total_nanos if first is None else first.spent_nanos),
        "total_spend": dollars(total_nanos),
        "budget_reset_at": moment(ends) if ends else None,
        "deleted_at": None if key.revoked_at is None else moment(key.revoked_at),
    }


def dollars(nanos: int) -> float:
    """Nano-dollars as the JSON number that LiteLLM's clients read; nothing is counted with it."""
    return float(usd(nanos))


def _shared(key: StoredKey) -> dict[str, object]:
    """What both answers say. Of several budgets the first is `max_budget`, and all are in `budget_limits`."""
    budgets = list(_budgets(key))
    created = moment(key.created_at)
    return {
        "key_name": f"mux_{key.id}_...",
        "key_alias": key.name,
        "user_id": key.user,
        "team_id": key.team or None,
        "organization_id": None,
        "models": list(key.models),
        "max_budget": budgets[0][1] if budgets else None,
        "budget_duration": budgets[0][0] if budgets else None,
        "budget_limits": _windows(budgets) if len(budgets) > 1 else None,
        "budget_id": None,
        "tpm_limit": _tightest(limit.tokens_per_minute for limit in key.limits),
        "rpm_limit": _tightest(limit.requests_per_minute for limit in key.limits),
        "max_parallel_requests": _tightest(limit.concurrent for limit in key.limits),
        "expires": None if key.expires_at is None else moment(key.expires_at),
        "metadata": {**key.metadata, **({"tags": list(key.tags)} if key.tags else {})},
        "aliases": {},
        "config": {},
        "permissions": {},
        "model_max_budget": {},
        "blocked": None,
        "created_at": created,
        "updated_at": created,
    }


def _budgets(key: StoredKey) -> Iterator[tuple[str | None, float]]:
    """Period and dollars of each budget, in the order in which the store is asked how they stand."""
    for limit in key.limits:
        for field, duration in _DURATIONS:
            amount = getattr(limit, field)
            if amount is not None:
                yield duration, float(amount)


def _windows(budgets: Sequence[tuple[str | None, float]]) -> list[dict[str, object]]:
    return [{"budget_duration": duration, "max_budget": amount} for duration, amount in budgets]


def _tightest(amounts: Iterator[int | None]) -> int | None:
    return min((amount for amount in amounts if amount is not None), default=None)


def _status(key: StoredKey, now: float) -> str:
    if key.revoked_at is not None:
        return "deleted"
    return "active" if key.expires_at is None or now < key.expires_at else "expired"
