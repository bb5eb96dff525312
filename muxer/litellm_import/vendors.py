"""LiteLLM's vendors: which of ours serves each, at which address, with which variable. One line each."""

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from msgspec import Struct

from muxer.config.hints import nearest
from muxer.prices import PriceTable


class Vendor(Struct, frozen=True):
    """How one of LiteLLM's vendors is reached: the kind that does it, its address unless the input gives one, and the
    variables LiteLLM takes key and address from (none: there is none). `prefix` is put before names that lack it.
    `is_own` means a handler of the input's own serves it."""

    name: str
    kind: str
    base_url: str | None = None
    variable: str | None = None
    address_variable: str | None = None
    prefix: str = ""
    is_own: bool = False


def _compatible(name: str, base_url: str | None, variable: str | None, prefix: str = "") -> Vendor:
    address_variable = None if base_url else f"{name.upper()}_API_BASE"
    return Vendor(name, "openai", base_url, variable, address_variable, prefix)


_TABLE = (
    Vendor("openai", "openai", None, "OPENAI_API_KEY"),
    Vendor("anthropic", "anthropic", None, "ANTHROPIC_API_KEY"),
    Vendor("mistral", "mistral", None, "MISTRAL_API_KEY"),
    # Served by `litellm` where the plugin of that kind is not installed.
    Vendor("gemini", "gemini", None, "GEMINI_API_KEY"),
    # Servers that speak OpenAI's chat completions, at the addresses LiteLLM uses.
    _compatible("aihubmix", "https://aihubmix.com/v1", "AIHUBMIX_API_KEY"),
    _compatible("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    _compatible("dashscope", "https://dashscope.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY"),
    _compatible("deepinfra", "https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    _compatible("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    _compatible(
        "fireworks_ai", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY", "accounts/fireworks/models/"
    ),
    _compatible("friendliai", "https://api.friendli.ai/serverless/v1", "FRIENDLIAI_API_KEY"),
    _compatible("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    _compatible("hyperbolic", "https://api.hyperbolic.xyz/v1", "HYPERBOLIC_API_KEY"),
    _compatible("lambda_ai", "https://api.lambda.ai/v1", "LAMBDA_API_KEY"),
    _compatible("minimax", "https://api.minimax.io/v1", "MINIMAX_API_KEY"),
    _compatible("moonshot", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
    _compatible("nebius", "https://api.studio.nebius.ai/v1", "NEBIUS_API_KEY"),
    _compatible("novita", "https://api.novita.ai/v3/openai", "NOVITA_API_KEY"),
    _compatible("nscale", "https://inference.api.nscale.com/v1", "NSCALE_API_KEY"),
    _compatible("nvidia_nim", "https://integrate.api.nvidia.com/v1", "NVIDIA_NIM_API_KEY"),
    _compatible("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    _compatible("perplexity", "https://api.perplexity.ai", "PERPLEXITYAI_API_KEY"),
    _compatible("sambanova", "https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
    _compatible("scaleway", "https://api.scaleway.ai/v1", "SCW_SECRET_KEY"),
    _compatible("together_ai", "https://api.together.xyz/v1", "TOGETHERAI_API_KEY"),
    _compatible("vercel_ai_gateway", "https://ai-gateway.vercel.sh/v1", "VERCEL_AI_GATEWAY_API_KEY"),
    _compatible("wandb", "https://api.inference.wandb.ai/v1", "WANDB_API_KEY"),
    _compatible("xai", "https://api.x.ai/v1", "XAI_API_KEY"),
    _compatible("zai", "https://api.z.ai/api/paas/v4", "ZAI_API_KEY"),
    _compatible("ollama", "http://localhost:11434/v1", None),
    _compatible("ollama_chat", "http://localhost:11434/v1", None),
    # Servers of one's own: the input gives the address.
    *(_compatible(name, None, None) for name in (
        "custom_openai", "docker_model_runner", "hosted_vllm", "lemonade", "litellm_proxy", "llamafile", "lm_studio",
        "openai_like", "xinference",
    )),
)  # fmt: skip
VENDORS = {vendor.name: vendor for vendor in _TABLE}
"""Every vendor that needs no LiteLLM, by LiteLLM's name for it."""

# LiteLLM itself serves these: their APIs are their own, or need a cloud's signature.
_OTHERS = frozenset({
    "abliteration", "ai21", "ai21_chat", "aiml", "aiohttp_openai", "amazon_nova", "anthropic_text", "anyscale",
    "apertis", "assemblyai", "aws_polly", "azure", "azure_ai", "azure_text", "baseten", "bedrock", "bedrock_mantle",
    "black_forest_labs", "bytez", "charity_engine", "chatgpt", "chutes", "clarifai", "cloudflare", "codestral",
    "cognition", "cohere", "cohere_chat", "cometapi", "compactifai", "cortecs", "crusoe", "custom", "darkbloom",
    "databricks", "datarobot", "deepgram", "dotprompt", "edenai", "elevenlabs", "empiriolabs", "empower", "fal_ai",
    "featherless_ai", "galadriel", "gigachat", "github", "github_copilot", "gmi", "gradient_ai", "helicone", "heroku",
    "huggingface", "humanloop", "inception", "infinity", "jina_ai", "langflow", "langfuse", "langgraph", "libertai",
    "llamagate", "manus", "maritalk", "meta", "meta_llama", "modelscope", "morph", "nadir", "nano-gpt", "neosantara",
    "nlp_cloud", "nvidia_riva", "oci", "oobabooga", "ovhcloud", "parasail", "petals", "pinstripes", "poe", "predibase",
    "prism", "publicai", "qwen_ai_platform", "qwencloud", "ragflow", "recraft", "reka", "replicate", "runwayml",
    "sagemaker", "sagemaker_chat", "sagemaker_nova", "sail", "sap", "sarvam", "scx-ai", "snowflake", "soniox",
    "stability", "synthetic", "tencent", "tensormesh", "text-completion-codestral", "text-completion-inception",
    "text-completion-openai", "topaz", "triton", "v0", "veniceai", "vertex_ai", "vertex_ai_beta", "vllm", "volcengine",
    "voyage", "watsonx", "watsonx_text", "xiaomi_mimo",
})  # fmt: skip
_BARE = (("openai", re.compile(r"(gpt|chatgpt|ft:gpt)-.*|o[0-9](-.*)?")), ("anthropic", re.compile("claude-.*")))
_REFERENCE = "os.environ/"
_LOCAL = ("ollama", "ollama_chat")


class Model(Struct, frozen=True):
    """What a LiteLLM model string says: the vendor, its own name for the model, and the string in full."""

    vendor: Vendor
    name: str
    full: str


class Unknown(Struct, frozen=True):
    """A model string LiteLLM could not read either, and what to write."""

    words: str


def vendor_of(name: str, kinds: Collection[str]) -> Vendor | None:
    """The vendor of that name as these kinds (those of installed plugins) can serve it; None if there is no such."""
    vendor = VENDORS.get(name)
    if vendor is not None and (vendor.kind != "gemini" or "gemini" in kinds):
        return vendor
    return Vendor(name, "litellm") if vendor is not None or name in _OTHERS else None


def parse(
    text: str, provider: str, custom: Collection[str], table: PriceTable, kinds: Collection[str]
) -> Model | Unknown:
    """Reads a model string as LiteLLM does; `provider` is its custom_llm_provider or empty, `custom` are the vendors
    that handlers of the input's own serve."""
    if text.startswith(_REFERENCE):
        return Unknown("the vendor of a model from the environment is not known here; write the model out")
    prefix, slash, rest = text.partition("/")
    if provider:
        name = rest if slash and prefix == provider else text
        prefix = provider
    elif slash:
        name = rest
    else:
        prefix, name = _vendor_of_bare(text, table), text
    if not name:
        return Unknown("names no model after its vendor")
    vendor = Vendor(prefix, "litellm", is_own=True) if prefix in custom else vendor_of(prefix, kinds)
    if vendor is None and prefix:
        near = nearest(prefix, [*VENDORS, *_OTHERS])
        return Unknown(f"LiteLLM has no vendor {prefix[:40]!r}; {near or 'write vendor/model, or custom_llm_provider'}")
    if vendor is None:
        return Unknown("no vendor, and no model LiteLLM knows without one; write vendor/model")
    if vendor.prefix and "/" not in name:
        name = vendor.prefix + name
    return Model(vendor, name, f"{prefix}/{name}")


def address(vendor: Vendor, given: str) -> str:
    """The address of the input as our kind wants it; a reference is taken as it is."""
    if given.startswith("${") or vendor.kind == "litellm":
        return given
    trimmed = given.rstrip("/")
    if vendor.kind == "anthropic":
        return trimmed.removesuffix("/messages").removesuffix("/v1")
    if vendor.kind == "openai":
        trimmed = trimmed.removesuffix("/chat/completions")
    return f"{trimmed}/v1" if vendor.name in _LOCAL and not _path(trimmed) else trimmed


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return "unknown"


def _vendor_of_bare(name: str, table: PriceTable) -> str:
    for vendor, pattern in _BARE:
        if pattern.fullmatch(name):
            return vendor
    known = (vendor for vendor in ("openai", "anthropic", "gemini", "vertex_ai", "cohere_chat", "deepseek", "bedrock"))
    return next((vendor for vendor in known if f"{vendor}/{name}" in table.models), "")
