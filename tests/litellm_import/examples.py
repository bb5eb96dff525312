"""Configurations of LiteLLM's shapes, each with the result and the report expected of it.

`python -m tests.litellm_import.examples` writes what is expected anew: read the difference before it is committed.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from muxer.config.load import load
from muxer.config.settings import Configuration
from muxer.errors import ConfigInvalid
from muxer.interfaces import Context, Kind, Kinds, ProviderSettings
from muxer.litellm_import.convert import Converted, convert
from muxer.money import Price, Rates
from muxer.plugins import find_kinds, installed
from muxer.prices import ModelFacts, PriceTable

HERE = Path(__file__).parent
INPUTS = sorted(HERE.glob("*.yaml"))
EXPECTED = HERE / "expected"
PLUGINS = frozenset({"openai", "anthropic", "mistral", "gemini", "litellm", "sqlite", "redis", "prometheus"})


class LiteLLMSettings(ProviderSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the result gives a provider of kind litellm."""

    api_version: str | None = None
    params: Mapping[str, Any] = msgspec.field(default_factory=dict)
    handler: str | None = None


class LoggerSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the result gives a sink of kind litellm."""

    logger: str


def _never_opened(settings: Struct, context: Context) -> AbstractAsyncContextManager[Any]:
    raise AssertionError("reading a file opens nothing")


_STAND_INS = {
    "litellm": Kind("litellm", LiteLLMSettings, _never_opened),
    "gemini": Kind("gemini", ProviderSettings, _never_opened),
}


def kinds(names: Sequence[str], folder: Path) -> Kinds:
    """The kinds of these plugins; one that is not part of this checkout is stood in for by its settings."""
    absent = [name for name in names if name in _STAND_INS and name not in installed()]
    found = find_kinds([name for name in names if name not in absent], folder)
    sinks = {"litellm": Kind("litellm", LoggerSettings, _never_opened)} if "litellm" in absent else {}
    return msgspec.structs.replace(
        found,
        providers={**found.providers, **{name: _STAND_INS[name] for name in absent}},
        sinks={**found.sinks, **sinks},
    )


def _raw(**facts: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(ModelFacts(**{"mode": "chat", **facts})))


_ABLE = frozenset({"tools", "images", "json", "logprobs"})
PRICES = PriceTable(
    source="test",
    version="1",
    date="2026-01-01",
    count=9,
    models={
        "openai/gpt-4o": _raw(price=Price(Rates(2_500_000, 10_000_000, 1_250_000, 2_500_000)), can=_ABLE),
        "openai/gpt-4.1": _raw(price=Price(Rates(2_000_000, 8_000_000, 500_000, 2_000_000)), can=_ABLE),
        "openai/gpt-old": _raw(deprecated_on="2024-01-01"),
        "openai/gpt-leaving": _raw(deprecated_on="2090-01-01"),
        "openai/text-embedding-3-small": _raw(mode="embedding"),
        "azure/gpt-4o": _raw(
            price=Price(Rates(2_500_000, 10_000_000, 1_250_000, 2_500_000)),
            can=frozenset({"tools", "json"}),
            context_tokens=128_000,
            max_output_tokens=16_384,
        ),
        "anthropic/claude-haiku-4": _raw(price=Price(Rates(1_000_000, 5_000_000, 100_000, 1_250_000))),
        "bedrock/claude-haiku-4": _raw(price=Price(Rates(1_000_000, 5_000_000, 1_000_000, 1_000_000))),
        "groq/llama-4": _raw(price=Price(Rates(110_000, 340_000, 110_000, 110_000))),
    },
)


def converted(path: Path, table: PriceTable = PRICES) -> Converted:
    """The example converted as the command does it, but for the table."""
    return convert(path.read_bytes(), path.name, lambda name: (HERE / name).read_bytes(), table, PLUGINS)


def report(result: Converted) -> str:
    """The report as the command prints it."""
    lines = [str(finding) for finding in result.report]
    lines += [f"set {name}: {why}" for name, why in sorted(result.report.variables.items())]
    return "".join(f"{line}\n" for line in lines)


def loaded(text: str, folder: Path, table: PriceTable = PRICES) -> Configuration:
    """The result as the proxy reads it, with a value for each variable that the report says to set."""
    file = folder / "routing.yaml"
    file.write_text(text, encoding="utf-8")
    variables = dict.fromkeys(re.findall(r"(?<!\$)\$\{(\w+)", text), "7")
    return load(file, variables, kinds, table=table)


def faults(text: str, folder: Path, table: PriceTable = PRICES) -> list[str]:
    """What the proxy would say against the result."""
    try:
        loaded(text, folder, table)
    except ConfigInvalid as error:
        return [str(fault) for fault in error.faults]
    return []


def expected(path: Path) -> tuple[Path, Path]:
    """Where the expected result and report of an example are."""
    return EXPECTED / f"{path.stem}.routing.yaml", EXPECTED / f"{path.stem}.report.txt"


if __name__ == "__main__":
    EXPECTED.mkdir(exist_ok=True)
    for one in INPUTS:
        result = converted(one)
        for target, words in zip(expected(one), (result.text, report(result)), strict=True):
            target.write_text(words, encoding="utf-8")
