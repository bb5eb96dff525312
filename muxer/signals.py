"""What a request looks like: the free signals, its needs and its sizes, measured once."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from muxer.inputs import EmbeddingRequest, InputsRequest, TextRequest
from muxer.interfaces import Signal
from muxer.lessons import KeepsFeatures
from muxer.parts import FilePart, ImagePart, Part
from muxer.types import ChatRequest, Needs, SignalValue

BYTES_PER_TOKEN = 4
# A message costs a few tokens beyond its text: role and separators (3 to 4 at OpenAI), more for a tool message.
TOKENS_PER_MESSAGE = 16
# Offering tools adds a hidden system prompt: 290 to 804 tokens at Anthropic (docs, "Tool use", pricing).
TOKENS_FOR_TOOLS = 1_024
# gpt-4o-mini counts 2,833 + 5,667 a tile, at most 8 tiles: the most any listed vision model charges for an image.
TOKENS_PER_IMAGE = 48_169
TYPICAL_TOKENS_PER_IMAGE = 800
_BOUNDED_TIERS = (None, "auto", "default", "flex")


class Measured(Struct, frozen=True, kw_only=True):
    """A request as rules and gates see it.

    `estimate_tokens` is likely, `bound_tokens` is never less than what any tokenizer counts (S3); None: no bound
    exists, because a part of the request has a cost we cannot know. `longest_tokens` is what one context must hold,
    which is less than the estimate where there are several inputs. `field` is where the prompt stands in the body.
    """

    values: dict[str, SignalValue]
    needs: Needs
    estimate_tokens: int
    longest_tokens: int
    bound_tokens: int | None
    field: str = "messages"


def measure(request: ChatRequest, raw: bytes, signals: Mapping[str, Signal], *, is_priced: bool = True) -> Measured:
    """Measures a request with the free signals and those of the plugins, but embeddings with the free ones alone: no
    rule looks at them. What is not priced has no bound."""
    # Of a text alone no parts are made: nearly all messages are one.
    parts = [part for m in request.messages if not isinstance(m.content, str) for part in m.content or ()]
    images = [part.image_url.url for part in parts if isinstance(part, ImagePart)]
    needs = _needs(request, has_images=bool(images))
    text_bytes = len(raw) - sum(map(len, images))
    estimate = longest = text_bytes // BYTES_PER_TOKEN + TYPICAL_TOKENS_PER_IMAGE * len(images)
    if isinstance(request, InputsRequest):
        counts = request.token_counts
        likely = [*counts, *(-(-size // BYTES_PER_TOKEN) for size in request.text_bytes)]
        estimate, longest = sum(likely), max(likely)
        text_bytes = sum(counts) + sum(request.text_bytes)  # a token of the caller's own counting is one
    values: dict[str, SignalValue] = {
        "tokens": estimate,
        "chars": len(request.question),
        "turns": sum(m.role == "user" for m in request.messages),
        "has_tools": needs.tools,
        "has_images": needs.images,
        "wants_json": needs.json,
        "stream": bool(request.stream),
    }
    for signal in () if needs.embeddings else signals.values():
        values.update(signal.measure(request))
    return Measured(
        values=values,
        needs=needs,
        estimate_tokens=estimate,
        longest_tokens=longest,
        bound_tokens=_bound(request, parts, text_bytes, len(images), needs) if is_priced else None,
        field=request.field if isinstance(request, InputsRequest) else "messages",
    )


def _needs(request: ChatRequest, *, has_images: bool) -> Needs:
    return Needs(
        tools=bool(request.tools),
        images=has_images,
        json=request.response_format is not None and request.response_format.type != "text",
        logprobs=bool(request.logprobs),
        embeddings=isinstance(request, EmbeddingRequest),
        stream=bool(request.stream),
        n=request.written_choices if isinstance(request, TextRequest) else request.n or 1,
        cap_tokens=request.caller_cap,
    )


def _bound(request: ChatRequest, parts: Sequence[Part], text_bytes: int, images: int, needs: Needs) -> int | None:
    """Byte-level tokenizers never make more tokens than bytes, and a JSON text is never shorter than what it says."""
    if any(isinstance(part, FilePart) for part in parts):
        return None
    if any(tool.type != "function" for tool in request.tools or ()):
        return None  # tools that run at the vendor read as much as they like
    if request.web_search_options is not None or request.service_tier not in _BOUNDED_TIERS:
        return None  # charged by the search, or at several times the listed price
    tools = TOKENS_FOR_TOOLS if needs.tools else 0
    pieces = len(request.inputs) if isinstance(request, InputsRequest) else len(request.messages)
    return text_bytes + TOKENS_PER_MESSAGE * pieces + TOKENS_PER_IMAGE * images + tools


def kept(request: ChatRequest, signals: Mapping[str, Signal]) -> dict[str, str]:
    """What the signals that learn keep of a request, by their names; nothing of embeddings, which no rule looks at."""
    if isinstance(request, EmbeddingRequest):
        return {}
    found = {name: one.features(request) for name, one in signals.items() if isinstance(one, KeepsFeatures)}
    return {name: features for name, features in found.items() if features}
