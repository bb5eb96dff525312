"""A full file, kinds to load it with, and a price table that knows two models."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from muxer.config.load import load
from muxer.config.settings import Configuration
from muxer.errors import ConfigInvalid, Fault
from muxer.interfaces import Context, Kind, Kinds, ProviderSettings
from muxer.money import Price, Rates
from muxer.prices import ModelFacts, PriceTable

FULL = """\
version: 1
plugins: [heuristics, openai, anthropic, sqlite]
server: {listen: "[::1]:8080", max_body_bytes: 1_000_000, grace_s: 2.5}
store: {kind: sqlite, path: spend.db}
providers:
  openai: {kind: openai, api_key: "${OPENAI_API_KEY}", timeout_s: 30, headers: {x-team: "${TEAM:-none}"}}
  claude: {kind: anthropic, api_key: "${ANTHROPIC_API_KEY}"}
models:
  gpt-4o: {provider: openai, can: [tools, json], fallbacks: [haiku]}
  haiku:
    provider: claude
    name: claude-haiku
    price_usd_per_million: {input: 0.25, output: 1.25, cached_input: 0.03}
    price_tiers: [{above_input_tokens: 200_000, input: 0.5, output: 2.5}]
  local: {provider: openai, price: free, context_tokens: 8192, max_output_tokens: 1024}
  balanced: {use: [gpt-4o, haiku], order: weighted, weights: [9, 1]}
routes:
  - {name: code, when: "code >= 0.2 and team == 'research'", use: [gpt-4o], share: 25%, on_budget: downgrade}
  - {name: default, use: [balanced, local], order: cheapest, timeout_s: 20}
limits:
  - {per: user, daily_usd: 10, monthly_usd: 99.99}
  - {per: team, where: {team: research}, total_usd: 0, hold: expected}
keys:
  - {name: alice, secret: "${ALICE_KEY}", team: research, tags: [a, b], models: ["gpt-*"], role: admin}
  - {name: bob, digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", user: robert}
defaults: {model: haiku, max_tokens: 500, min_output_tokens: 64, temperature: 0}
timezone: Europe/Zurich
budget_status: 429
strict_params: true
"""
BASE = """\
version: 1
plugins: [heuristics, openai, anthropic, sqlite]
providers: {main: {kind: openai, api_key: "${OPENAI_API_KEY}"}}
models:
  gpt-4o: {provider: main}
  free: {provider: main, price: free}
"""
"""A file without faults, to which some are added in line 7 and below."""

ENVIRON = {"OPENAI_API_KEY": "sk-secret-one", "ANTHROPIC_API_KEY": "sk-secret-two", "ALICE_KEY": "alice-secret-three\n"}


class SqliteSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    path: str = "muxer.db"
    retries: Annotated[int, Meta(ge=0)] = 3


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    pass


def never_opened(settings: Struct, context: Context) -> AbstractAsyncContextManager[Any]:
    raise AssertionError("reading a file opens nothing")


KINDS = Kinds(
    providers={
        "openai": Kind("openai", ProviderSettings, never_opened),
        "anthropic": Kind("anthropic", ProviderSettings, never_opened),
        "demo": Kind("demo", Nothing, never_opened),
    },
    stores={"sqlite": Kind("sqlite", SqliteSettings, never_opened)},
    signals={"heuristics": Kind("heuristics", Nothing, never_opened, {"code": float, "simple": float})},
    origins={"signal heuristics": "heuristics"},
)
_OFFERS = {"openai", "anthropic", "sqlite", "heuristics", "demo"}


def find_kinds(names: Sequence[str], folder: Path | None = None) -> Kinds:
    unknown = [(index, name) for index, name in enumerate(names) if name not in _OFFERS]
    if unknown:
        raise ConfigInvalid([Fault(f"no plugin {name!r}", path=f"plugins[{index}]") for index, name in unknown])
    return Kinds(
        providers={name: kind for name, kind in KINDS.providers.items() if name in names},
        stores={name: kind for name, kind in KINDS.stores.items() if name in names},
        signals={name: kind for name, kind in KINDS.signals.items() if name in names},
        origins=KINDS.origins,
    )


def _raw(facts: ModelFacts) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(facts))


PRICES = PriceTable(
    source="test",
    version="1",
    date="2026-01-01",
    count=2,
    models={
        "openai/gpt-4o": _raw(ModelFacts(mode="chat", price=Price(Rates(5, 15, 5, 5)))),
        "openai/gpt-3.5-turbo": _raw(
            ModelFacts(mode="chat", price=Price(Rates(1, 2, 1, 1)), deprecated_on="2026-10-23")
        ),
    },
)
NOON = 1_790_000_000.0  # 2026-09-21, before gpt-3.5-turbo was retired


def load_text(
    folder: Path, text: str | bytes, environ: Mapping[str, str] | None = None, *, demo: bool = False, at: float = NOON
) -> Configuration:
    file = folder / "routing.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    variables = ENVIRON if environ is None else environ
    return load(file, variables, find_kinds, table=PRICES, demo=demo, now=lambda: at)


def faults_of(folder: Path, text: str | bytes, environ: Mapping[str, str] | None = None) -> list[str]:
    """Every fault as the operator reads it, without the folder."""
    try:
        load_text(folder, text, environ)
    except ConfigInvalid as error:
        return [str(fault).replace(f"{folder}/", "") for fault in error.faults]
    return []
