"""OpenAI's embeddings, both sides: requests to read and to send, vectors to read and to write."""

import base64
import struct
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from muxer.errors import InvalidRequest, PluginFailed
from muxer.failures import UpstreamBadResponse
from muxer.inbound import Inbound
from muxer.inputs import EmbeddingRequest, messages_of
from muxer.types import Answer, Call, Usage
from muxer.wire.bodies import decoded
from muxer.wire.inbound import StreamWriter
from muxer.wire.openai_chat import decode_fields, encode, raw, read_body, read_usage
from muxer.wire.openai_inputs import KINDS, Inputs, check_model, read_inputs

API = "openai.embeddings"


class EmbeddingBody(Struct, frozen=True):
    """A body of `/v1/embeddings`: the fields that are read; others are passed on."""

    input: Inputs
    model: str | None = None
    dimensions: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None
    service_tier: str | None = None


_READ = frozenset(EmbeddingBody.__struct_fields__)
_decode = msgspec.json.Decoder(EmbeddingBody).decode


def decode_request(body: bytes) -> EmbeddingRequest:
    """Reads and checks a request body once. Raises a subclass of InvalidRequest that names the field (B77)."""
    asked = decoded(_decode, body, KINDS)
    check_model(asked.model)
    inputs = read_inputs(asked.input, "input")
    if "" in inputs:
        raise InvalidRequest("input: a text to embed cannot be empty", param="input")
    return EmbeddingRequest(
        messages=messages_of(inputs),
        inputs=inputs,
        is_list=not isinstance(asked.input, str),
        model=asked.model,
        dimensions=asked.dimensions,
        encoding_format=asked.encoding_format,
        user=asked.user,
        service_tier=asked.service_tier,
    )


def request_fields(call: Call) -> tuple[dict[str, Raw], list[str]]:
    """The fields of the body to send: the caller's own bytes but for the model; and the names of those left out."""
    fields = decode_fields(call.raw)
    dropped = [name for name in fields if name not in _READ and name.casefold() in _READ]
    for name in dropped:
        del fields[name]
    fields["model"] = raw(call.model)
    return fields, dropped


class _Vectors(Struct):
    data: list[Raw] | UnsetType = UNSET
    usage: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


_decode_vectors = msgspec.json.Decoder(_Vectors).decode


def read_answer(data: bytes, inputs: int, who: str) -> Answer:
    """The vectors as bytes to pass on, and their usage. Raises UpstreamBadResponse unless there is one an input."""
    body = read_body(_decode_vectors, data, who)
    if body.data is UNSET or len(body.data) != inputs:
        raise UpstreamBadResponse(f"{who} was asked for {inputs} vectors and answered with another number of them")
    return Answer(usage=read_usage(body.usage), raw=data)


def write_answer(vectors: Sequence[Sequence[float]], usage: Usage | None, call: Call) -> Answer:
    """An answer of these vectors, for providers that speak another format. The caller's `encoding_format` is kept."""
    request = call.request
    as_base64 = isinstance(request, EmbeddingRequest) and request.encoding_format == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(vector) if as_base64 else vector}
        for index, vector in enumerate(vectors)
    ]
    used = None if usage is None else {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens}
    body = {"object": "list", "data": data, "model": call.model, "usage": used}
    return Answer(usage=usage, raw=encode(body))


def _packed(vector: Sequence[float]) -> str:
    """Little-endian 32-bit floats, as OpenAI's clients unpack them."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


class Embeddings:
    """See InboundFormat. Nothing here is streamed."""

    api = API

    def read(self, body: bytes) -> Inbound:
        """See InboundFormat."""
        return Inbound(api=self.api, raw=body, request=decode_request(body))

    def answer(self, answer: Answer, id: str, created: int, metadata: Mapping[str, object], inbound: Inbound) -> bytes:
        """See InboundFormat."""
        fields = decode_fields(answer.raw)
        fields["model"] = raw(metadata["selected_model"])
        # OpenAI's answers have no id; Mistral's SDK does not read one without it.
        fields.setdefault("id", raw(id))
        fields["router_metadata"] = raw(metadata)
        return encode(fields)

    def stream(self, id: str, created: int, model: str, inbound: Inbound) -> StreamWriter:
        """See InboundFormat. Raises PluginFailed: only a plugin that broke its promise leads here."""
        raise PluginFailed("embeddings are not streamed")

    def error(self, error: Mapping[str, object], request_id: str) -> bytes:
        """See InboundFormat."""
        return encode({"error": error})


EMBEDDINGS = Embeddings()
