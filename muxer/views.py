"""What can be read over HTTP: models, providers, health, spend and records, as plain JSON values."""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version

from muxer.access import may_use
from muxer.assemble import Assembly
from muxer.budgets import Target
from muxer.catalog import Model
from muxer.errors import NotFound, StoreUnavailable
from muxer.money import Price, usd
from muxer.records import as_json
from muxer.routing import not_found
from muxer.signals import measure
from muxer.standings import budget_fields, remaining_nanos
from muxer.stores import HasTrouble
from muxer.types import Caller
from muxer.wire import anthropic_inbound

_ALL_TIME = 0.0


def models(assembly: Assembly, caller: Caller) -> dict[str, object]:
    """What this caller may name: `auto` first, then models and groups; one page, as Anthropic's SDKs read lists."""
    entries = _entries(assembly, caller)
    ends = {"has_more": False, "first_id": entries[0]["id"], "last_id": entries[-1]["id"]}
    return {"object": "list", "data": entries, **ends}


def model(assembly: Assembly, caller: Caller, name: str) -> dict[str, object]:
    """One of them. Raises ModelNotFound."""
    found = next((entry for entry in _entries(assembly, caller) if entry["id"] == name), None)
    if found is None:
        raise not_found(name)
    return found


def count_tokens(body: bytes) -> dict[str, object]:
    """About how many tokens a request to the Messages API has, by our own estimate. Raises InvalidRequest."""
    inbound = anthropic_inbound.read(body, needs_cap=False)
    return {"input_tokens": measure(inbound.request, inbound.raw, {}).estimate_tokens}


def _entries(assembly: Assembly, caller: Caller) -> list[dict[str, object]]:
    catalog = assembly.parts.rules.catalog
    names = [name for name in (*catalog.models, *catalog.groups) if may_use(caller, name)]
    return [_model(assembly, name) for name in ("auto", *names)]


def _model(assembly: Assembly, name: str) -> dict[str, object]:
    found = assembly.parts.rules.catalog.models.get(name)
    owner = found.provider if found else "modelmuxer"
    entry: dict[str, object] = {
        "id": name,
        "object": "model",
        "created": int(assembly.begun_at),
        "owned_by": owner,
        # Anthropic's SDKs want these, and Mistral's will not read a list without a `type`.
        "type": "model",
        "display_name": name,
        "created_at": datetime.fromtimestamp(int(assembly.begun_at), UTC).isoformat(),
        "lifecycle": "active",
    }
    if found is not None:
        entry |= {
            "context_tokens": found.context_tokens,
            "max_output_tokens": found.max_output_tokens,
            "max_input_tokens": found.context_tokens,
            "max_tokens": found.max_output_tokens,
            "price_usd_per_million": price_fields(found.price),
            "can": None if found.can is None else sorted(found.can),
        }
    return entry


def price_fields(price: Price | None) -> dict[str, str] | None:
    """Base rates in dollars per million tokens; None when the price is unknown."""
    if price is None:
        return None
    # Pico-dollars per token are micro-dollars per million tokens: a thousand of them are a nano-dollar's worth.
    return {name: usd(getattr(price.rates, name) * 1000) for name in ("input", "output", "cached_input", "cache_write")}


def providers(assembly: Assembly) -> dict[str, object]:
    """Who can be asked, with which models, at which price."""
    catalog, breakers = assembly.parts.rules.catalog, assembly.parts.dispatcher.breakers

    def state(model: Model) -> str:
        return "unavailable" if model.unavailable else "cooling" if breakers.reason(model) else "available"

    return {
        "providers": [
            {
                "name": name,
                "kind": entry.kind,
                "available": not entry.unavailable,
                "reason": entry.unavailable or None,
                "models": [
                    {
                        "name": model.name,
                        "upstream": model.upstream,
                        "price_usd_per_million": price_fields(model.price),
                        "context_tokens": model.context_tokens,
                        "state": state(model),
                    }
                    for model in catalog.models.values()
                    if model.provider == name
                ],
            }
            for name, entry in assembly.configuration.settings.providers.items()
        ]
    }


async def health(assembly: Assembly) -> dict[str, object]:
    """The state of each component in a word, without addresses."""
    settings = assembly.configuration.settings
    components = {name: "unavailable" if entry.unavailable else "ok" for name, entry in settings.providers.items()}
    components["store"] = await _store_state(assembly)
    is_ok = components["store"] == "ok" and "ok" in [components[name] for name in settings.providers]
    return {
        "status": "ok" if is_ok else "degraded",
        "version": version("modelmuxer"),
        "uptime_s": round(assembly.parts.clock() - assembly.begun_at, 3),
        "config": assembly.configuration.digest,
        "components": components,
    }


async def _store_state(assembly: Assembly) -> str:
    try:
        await assembly.store.held()
    except StoreUnavailable:
        return "unavailable"
    is_refusing = isinstance(assembly.store, HasTrouble) and assembly.store.trouble != ""
    return "unavailable" if is_refusing else "ok"


async def user_stats(assembly: Assembly, caller: Caller) -> dict[str, object]:
    """The caller's spend and how its limits stand."""
    store = assembly.store
    met = assembly.parts.rules.limits.met(caller, Target("", ""), assembly.parts.clock())
    rates = met.drawn(tokens=0)
    limits = [
        budget_fields(standing) | {"remaining_usd": usd(remaining_nanos(standing))}
        for standing in await store.standings(met.claims)
    ]
    for quota, standing in zip(rates, await store.quotas(rates), strict=True):
        window = "concurrent" if quota.unit == "slots" else f"{quota.unit}_per_minute"
        limits.append(
            {
                "per": quota.per,
                "subject": quota.subject,
                "window": window,
                "limit": quota.per_minute or quota.capacity,
                "remaining": standing.remaining,
            }
        )
    return {"user": caller.user, **await _spend(assembly, {"user": caller.user}), "limits": limits}


async def stats(assembly: Assembly, caller: Caller) -> dict[str, object]:
    """Everybody's spend for viewers and admins, the caller's own for others."""
    if caller.role not in ("viewer", "admin"):
        return await user_stats(assembly, caller)
    users = await assembly.store.summary(["user"], _ALL_TIME, {})
    return {
        **await _spend(assembly, {}),
        "by_user": [
            {"user": row.group["user"], "requests": row.requests, "spent_usd": usd(row.cost_nanos)}
            for row in users
            if row.group["user"]  # what is set aside for outages is nobody's
        ],
    }


async def _spend(assembly: Assembly, where: Mapping[str, str]) -> dict[str, object]:
    rows = await assembly.store.summary(["model", "provider"], _ALL_TIME, where)
    # What is set aside for outages is held, but no request: it has no provider.
    served = [row for row in rows if row.group["provider"]]
    return {
        "requests": sum(row.requests for row in served),
        "tokens": {
            "input": sum(row.input_tokens for row in rows),
            "cached_input": sum(row.cached_input_tokens for row in rows),
            "output": sum(row.output_tokens for row in rows),
        },
        "spent_usd": usd(sum(row.cost_nanos for row in rows)),
        "held_usd": usd(sum(row.held_nanos for row in rows)),
        "presumed_usd": usd(sum(row.presumed_nanos for row in rows)),
        "by_model": [
            {
                "model": row.group["model"],
                "provider": row.group["provider"],
                "requests": row.requests,
                "tokens": {"input": row.input_tokens, "output": row.output_tokens},
                "spent_usd": usd(row.cost_nanos),
            }
            for row in served
        ],
    }


async def request(assembly: Assembly, caller: Caller, id: str) -> dict[str, object]:
    """One record: the caller's own, or any for viewers and admins. Raises NotFound for both kinds of absence (B49)."""
    found = await assembly.store.record(id)
    if found is None or (found.user != caller.user and caller.role not in ("viewer", "admin")):
        raise NotFound("no such request")
    return as_json(found)
