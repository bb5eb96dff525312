"""What is known about models without asking anybody: price, limits and abilities, from the snapshot in `data/`."""

import gzip
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.resources import files
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from muxer.money import Price

# Kinds that speak to the vendor of the same name unless `base_url` leads elsewhere. The table's names are VENDOR/NAME.
_KINDS = {"anthropic", "gemini", "mistral", "openai"}

# LiteLLM takes a few vendors' models without naming the vendor; it prefers them in this order.
_LITELLM_PREFIXES = (
    "",
    "openai/",
    "anthropic/",
    "ai21/",
    "vertex_ai/",
    "bedrock/",
    "gemini/",
    "deepseek/",
    "cohere_chat/",
)

# What LiteLLM's users write for how a vendor is called, and under which name the table has the same model.
_LITELLM_SPELLINGS = (
    ("bedrock/converse/", "bedrock/"),
    ("bedrock/converse_like/", "bedrock/"),
    ("bedrock/invoke/", "bedrock/"),
    ("cohere/", "cohere_chat/"),
)

# Whole names only: a regional host such as eu.api.openai.com charges more than the table says.
_HOSTS = {
    "*.openai.azure.com": "azure",
    "ai-gateway.vercel.sh": "vercel_ai_gateway",
    "aihubmix.com": "aihubmix",
    "api.anthropic.com": "anthropic",
    "api.cerebras.ai": "cerebras",
    "api.deepinfra.com": "deepinfra",
    "api.deepseek.com": "deepseek",
    "api.fireworks.ai": "fireworks_ai",
    "api.groq.com": "groq",
    "api.hyperbolic.xyz": "hyperbolic",
    "api.inference.wandb.ai": "wandb",
    "api.lambda.ai": "lambda_ai",
    "api.minimax.io": "minimax",
    "api.mistral.ai": "mistral",
    "api.moonshot.ai": "moonshot",
    "api.novita.ai": "novita",
    "api.openai.com": "openai",
    "api.perplexity.ai": "perplexity",
    "api.sambanova.ai": "sambanova",
    "api.scaleway.ai": "scaleway",
    "api.studio.nebius.ai": "nebius",
    "api.together.ai": "together_ai",
    "api.together.xyz": "together_ai",
    "api.x.ai": "xai",
    "api.z.ai": "zai",
    "dashscope-intl.aliyuncs.com": "dashscope",
    "generativelanguage.googleapis.com": "gemini",
    "inference.api.nscale.com": "nscale",
    "inference.baseten.co": "baseten",
}


class ModelFacts(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the table knows of a model; None means unknown.

    `context_tokens` is the longest input; some vendors let the output share it. `takes_sampling` is false when
    the vendor refuses `temperature` and its like. `deprecated_on` is the vendor's ISO date or empty.
    """

    mode: str
    price: Price | None = None
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    can: frozenset[str] | None = None
    takes_sampling: bool = True
    deprecated_on: str = ""


class PriceTable(Struct, frozen=True, kw_only=True):
    """Every model the snapshot knows, and where and when it was taken; an entry is decoded when it is asked for."""

    source: str
    version: str
    date: str
    count: int
    models: dict[str, msgspec.Raw]

    def __iter__(self) -> Iterator[str]:
        return iter(self.models)

    def facts(self, kind: str, name: str, base_url: str | None = None) -> ModelFacts | None:
        """What is known of the model a provider of this kind serves under that name; None for a server we do not
        know, whatever its models are called."""
        for prefix in _prefixes(kind, base_url):
            entry = self.models.get(prefix + name) or self.models.get(_spelled(prefix, name))
            if entry is not None:
                return msgspec.json.decode(entry, type=ModelFacts)
        return None

    def suggest(self, kind: str, name: str, base_url: str | None = None) -> str | None:
        """The known name most like this one, or None if none is near."""
        prefixes = _prefixes(kind, base_url)
        known = [key.removeprefix(prefix) for prefix in prefixes for key in self.models if key.startswith(prefix)]
        return next(iter(get_close_matches(name, known, n=1)), None)


def load_prices() -> PriceTable:
    """Reads the snapshot that came with this package."""
    packed = files("muxer").joinpath("data", "prices.json.gz").read_bytes()
    return msgspec.json.decode(gzip.decompress(packed), type=PriceTable)


def _prefixes(kind: str, base_url: str | None) -> tuple[str, ...]:
    """What to put before a name to find it in the table, the likeliest first."""
    if kind == "litellm":
        # LiteLLM's names say the vendor; with an address of one's own they no longer do.
        return () if base_url else _LITELLM_PREFIXES
    if kind not in _KINDS:
        return ()
    vendor = _vendor_at(base_url) if base_url else kind
    return (f"{vendor}/",) if vendor else ()


def _spelled(prefix: str, name: str) -> str:
    """The name as the table spells it, where it is one of LiteLLM's without a prefix of ours."""
    for spelling, ours in _LITELLM_SPELLINGS if not prefix else ():
        if name.startswith(spelling):
            return ours + name.removeprefix(spelling)
    return prefix + name


def _vendor_at(base_url: str) -> str | None:
    try:
        host = urlsplit(base_url).hostname or ""
    except ValueError:
        return None
    return _HOSTS.get(host) or _HOSTS.get("*." + host.partition(".")[2])
