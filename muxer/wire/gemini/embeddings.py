"""Google's batchEmbedContents: texts to send, vectors to read."""

import msgspec
from msgspec import Raw, Struct

from muxer.errors import Unsupported
from muxer.failures import UpstreamBadResponse
from muxer.inputs import EmbeddingRequest
from muxer.types import Answer, Call
from muxer.wire.gemini.answer import read_usage
from muxer.wire.gemini.errors import failure
from muxer.wire.openai_chat import decode_fields, encode
from muxer.wire.openai_embeddings import write_answer

MAX_TEXTS = 100  # "at most 100 requests can be in one batch"
_TAKEN = frozenset({"model", "input", "dimensions", "encoding_format"})


def encode_request(call: Call) -> tuple[bytes, tuple[str, ...]]:
    """The body, and the names of what was left out. Raises Unsupported for tokens, and for more texts than Google takes
    at once."""
    request = call.request
    assert isinstance(request, EmbeddingRequest), "a call for vectors has inputs"
    if request.token_counts:
        raise Unsupported("input: gemini embeds texts only, no tokens", param="input")
    if len(request.inputs) > MAX_TEXTS:
        raise Unsupported(f"input: gemini embeds at most {MAX_TEXTS} texts at once", param="input")
    size = {} if request.dimensions is None else {"outputDimensionality": request.dimensions}
    name = call.model if "/" in call.model else f"models/{call.model}"
    texts = [{"model": name, "content": {"parts": [{"text": text}]}, **size} for text in request.inputs]
    asked = decode_fields(call.raw).items()
    dropped = tuple(field for field, value in asked if field not in _TAKEN and bytes(value) != b"null")
    return encode({"requests": texts}), dropped


class _Vector(Struct):
    values: list[float]


class _Body(Struct, rename="camel"):
    embeddings: list[_Vector] = []
    usage_metadata: Raw = Raw(b"null")
    error: Raw = Raw(b"null")


_decode = msgspec.json.Decoder(_Body).decode


def read_answer(data: bytes, who: str, call: Call) -> Answer:
    """The vectors in OpenAI's format. Raises UpstreamBadResponse unless there is one an input, and what an error object
    means."""
    try:
        body = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamBadResponse(f"{who} did not answer as batchEmbedContents does: {error}") from error
    if bytes(body.error) != b"null":
        raise failure(body.error, who)
    request = call.request
    inputs = len(request.inputs) if isinstance(request, EmbeddingRequest) else 0
    if len(body.embeddings) != inputs:
        raise UpstreamBadResponse(f"{who} was asked for {inputs} vectors and answered with another number of them")
    return write_answer([one.values for one in body.embeddings], read_usage(body.usage_metadata), call)
