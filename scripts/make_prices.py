"""Makes `muxer/data/prices.json.gz` from the price map inside a litellm wheel.

    python scripts/make_prices.py WHEEL [--date 2026-10-21] [--check-with PYTHON]

`--check-with` names the interpreter of a throw-away environment that has genai-prices, whose prices are then compared
with ours; see docs/prices.md.
"""

import argparse
import gzip
import json
import re
import subprocess
import zipfile
from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from pathlib import Path

import msgspec

from muxer.money import Price, Rates, Tier, picos_per_token
from muxer.prices import ModelFacts, PriceTable

TARGET = Path(__file__).parent.parent / "muxer" / "data" / "prices.json.gz"
PRICE_MAP = "litellm/model_prices_and_context_window_backup.json"

Entry = Mapping[str, object]

MODES = {"chat", "completion", "embedding", "responses"}
ABILITIES = {
    "supports_function_calling": "tools",
    "supports_tool_choice": "tools",
    "supports_vision": "images",
    "supports_response_schema": "json",
}

# These are charged besides text tokens and without being asked for, so tokens do not bound the cost (S3).
FEES = {
    "input_cost_per_request",
    "input_cost_per_query",
    "citation_cost_per_token",
    "output_cost_per_audio_token",
    "output_cost_per_image_token",
    "output_cost_per_video_token",
}
FEES_BY_NAME = re.compile(r"search-(preview|api)|deep-research|sonar|-online$|perplexity/preset/")

TIER = re.compile(r"(?:input|output)_cost_per_token_above_(\d+)k_tokens")

# LiteLLM's names for how it calls a vendor; its users write the vendor alone.
SPELLINGS = {
    "bedrock_converse": "bedrock",
    "vertex_ai-embedding-models": "vertex_ai",
    "vertex_ai-language-models": "vertex_ai",
    "vertex_ai-text-models": "vertex_ai",
}

# Our vendors as genai-prices calls them.
PEERS = {
    "anthropic": "anthropic",
    "azure": "azure",
    "cerebras": "cerebras",
    "deepseek": "deepseek",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "groq": "groq",
    "mistral": "mistral",
    "moonshot": "moonshotai",
    "openai": "openai",
    "together_ai": "together",
    "xai": "x-ai",
    "zai": "zai",
}

# Runs in the other environment: our names in, the pico-dollars of a token of input, output and cached input out.
PEER_PRICES = """
import json, sys
from genai_prices import Usage, calc_price
def picos(vendor, name, **usage):
    return int(calc_price(Usage(**usage), name, provider_id=vendor).total_price * 10**9)
found = {}
for key, vendor, name in json.load(sys.stdin):
    try:
        found[key] = [
            picos(vendor, name, input_tokens=1000),
            picos(vendor, name, output_tokens=1000),
            picos(vendor, name, input_tokens=1000, cache_read_tokens=1000),
        ]
    except LookupError:
        pass
json.dump(found, sys.stdout)
"""


def number(entry: Entry, key: str) -> Decimal:
    """The number at the key, or zero; floats' noise beyond the twelfth digit is dropped."""
    value = entry.get(key)
    if not isinstance(value, int | Decimal):
        return Decimal(0)
    return Context(prec=12).create_decimal(value)


def tokens(entry: Entry, key: str) -> int | None:
    """The whole number at the key, if there is one above zero."""
    return int(number(entry, key)) or None


def rates(entry: Entry, suffix: str = "") -> Rates | None:
    """The rates whose keys end so; None without a price of input, and of output where text is written.

    LiteLLM writes 0 for what it does not know as well as for what is free, so zero is never taken for a price. What
    has no price of its own costs what input costs, and reasoning that is dearer than output makes all output so.
    """
    picos = {
        name: picos_per_token(number(entry, key + suffix) * 1_000_000)
        for name, key in {
            "input": "input_cost_per_token",
            "output": "output_cost_per_token",
            "reasoning": "output_cost_per_reasoning_token",
            "cached_input": "cache_read_input_token_cost",
            "cache_write": "cache_creation_input_token_cost",
        }.items()
    }
    if not picos["input"] or (not picos["output"] and entry.get("mode") != "embedding"):
        return None
    return Rates(
        input=picos["input"],
        output=max(picos["output"], picos["reasoning"]),
        cached_input=picos["cached_input"] or picos["input"],
        cache_write=picos["cache_write"] or picos["input"],
    )


def price(name: str, entry: Entry) -> Price | None:
    """The price of text, or None when it is unknown or when tokens do not bound the cost."""
    if FEES & entry.keys() or FEES_BY_NAME.search(name):
        return None
    ranges = entry.get("tiered_pricing")
    if isinstance(ranges, list):
        steps = [(int(step["range"][0]), rates(step)) for step in ranges]
    else:
        marks = sorted({int(mark[1]) for key in entry if (mark := TIER.fullmatch(key))})
        above = [(mark * 1000, rates(entry, f"_above_{mark}k_tokens")) for mark in marks]
        steps = [(0, rates(entry)), *above]
    known = [Tier(start, found) for start, found in steps if found]
    if not known or len(known) < len(steps):
        return None
    base, *tiers = known
    return Price(base.rates, tuple(tiers))


def takes_sampling(vendor: str, entry: Entry) -> bool:
    """Whether `temperature` may be sent. OpenAI's models refuse it while they reason, which they do unless the map
    says that they do not by default."""
    if vendor in {"openai", "azure"} and entry.get("supports_reasoning"):
        return entry.get("default_reasoning_effort") == "none"
    return entry.get("supports_sampling_params") is not False


def abilities(vendor: str, entry: Entry, *, gives_logprobs: bool) -> frozenset[str] | None:
    """What the model can do, or None when the map is silent about it."""
    if not ABILITIES.keys() & entry.keys():
        return None
    found = {ability for key, ability in ABILITIES.items() if entry.get(key)}
    return frozenset(found | {"logprobs"} if vendor == "openai" and gives_logprobs else found)


def facts(name: str, vendor: str, entry: Entry) -> ModelFacts:
    """One entry of the map as our table has it."""
    cost = price(name, entry)
    mode = str(entry["mode"])
    sampling = takes_sampling(vendor, entry)
    return ModelFacts(
        mode=mode,
        price=cost,
        context_tokens=tokens(entry, "max_input_tokens"),
        max_output_tokens=tokens(entry, "max_output_tokens"),
        can=abilities(vendor, entry, gives_logprobs=mode == "chat" and sampling and cost is not None),
        takes_sampling=sampling,
        deprecated_on=str(entry.get("deprecation_date", "")),
    )


def models(price_map: Mapping[str, Entry]) -> dict[str, ModelFacts]:
    """The text models of the map by VENDOR/NAME. A key that names its vendor wins over one that does not."""
    table = {}
    for key, entry in sorted(price_map.items(), key=lambda item: "/" in item[0]):
        if entry.get("mode") in MODES:
            vendor = str(entry["litellm_provider"])
            vendor = SPELLINGS.get(vendor, vendor)
            name = key if "/" in key else f"{vendor}/{key}"
            table[name] = facts(name, vendor, entry)
    return table


def read_wheel(path: Path) -> tuple[dict[str, Entry], str]:
    """The price map in the wheel, and the day it was packed or nothing where the wheel hides it behind 1980."""
    with zipfile.ZipFile(path) as wheel:
        price_map: dict[str, Entry] = json.loads(wheel.read(PRICE_MAP), parse_float=Decimal)
        year, month, day, *_ = wheel.getinfo(PRICE_MAP).date_time
    return price_map, f"{year}-{month:02}-{day:02}" if year > 1980 else ""


def pack(table: Mapping[str, ModelFacts], version: str, date: str) -> bytes:
    """The snapshot as a file: the same facts always give the same bytes."""
    snapshot = PriceTable(
        source="LiteLLM's model_prices_and_context_window.json (MIT)",
        version=f"litellm {version}",
        date=date,
        count=len(table),
        models={name: msgspec.Raw(msgspec.json.encode(entry, order="sorted")) for name, entry in table.items()},
    )
    return gzip.compress(msgspec.json.encode(snapshot, order="sorted"), mtime=0)


def disagreements(ours: Sequence[int], theirs: Sequence[int]) -> bool:
    """Whether any rate differs by more than a hundredth."""
    return any(abs(a - b) * 100 > b for a, b in zip(ours, theirs, strict=True))


def check_with(python: str, table: Mapping[str, ModelFacts]) -> None:
    """Prints where genai-prices, installed for that interpreter, has another price than we have."""
    ours = {}
    for name, entry in table.items():
        if entry.price and name.partition("/")[0] in PEERS:
            ours[name] = [entry.price.rates.input, entry.price.rates.output, entry.price.rates.cached_input]
    asked = [(name, PEERS[vendor], rest) for name in ours for vendor, _, rest in [name.partition("/")]]
    run = subprocess.run(
        [python, "-c", PEER_PRICES], input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    theirs: dict[str, list[int]] = json.loads(run.stdout)
    differing = [name for name in sorted(theirs) if disagreements(ours[name], theirs[name])]
    print(f"{len(theirs)} models compared, {len(differing)} differ; pico-dollars of input, output, cached input:")
    for name in differing:
        print(f"  {name}: ours {ours[name]}, genai-prices {theirs[name]}")


def main() -> None:
    """Reads the arguments, writes the snapshot and says what is in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--date", help="the day the wheel was published (default: the day it was packed)")
    parser.add_argument("--check-with", metavar="PYTHON")
    arguments = parser.parse_args()
    price_map, packed_on = read_wheel(arguments.wheel)
    date = arguments.date or packed_on
    if not date:
        parser.error("the wheel does not say when it was packed: give --date")
    table = models(price_map)
    packed = pack(table, arguments.wheel.name.split("-")[1], date)
    TARGET.write_bytes(packed)
    priced = sum(entry.price is not None for entry in table.values())
    print(f"{TARGET.name}: {len(table)} models, {priced} with a price, {len(packed):,} bytes")
    if arguments.check_with:
        check_with(arguments.check_with, table)


if __name__ == "__main__":
    main()
