"""What OpenAI's completions and embeddings share: inputs as text or tokens, to read, to check and to write again."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from msgspec import Meta

from muxer.errors import InvalidModel, InvalidRequest
from muxer.inputs import Input, InputsRequest
from muxer.types import ChatRequest
from muxer.wire.openai_chat import decode_fields, encode, raw

KINDS: Mapping[str, type[InvalidRequest]] = {"model": InvalidModel}
"""The errors of fields that have one of their own."""
_PUT_OTHERWISE = frozenset({"messages", "logprobs", "top_logprobs"})
MAX_INPUTS = 2_048  # https://platform.openai.com/docs/api-reference/embeddings/create
Token = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Inputs = str | Annotated[list[str | Token | list[Token]], Meta(min_length=1)]
"""One text, one list of tokens, a list of texts, or a list of lists of tokens."""


def read_inputs(value: Inputs, field: str) -> tuple[Input, ...]:
    """The inputs, one or many. Raises InvalidRequest for a mixture, for too many, and for an empty one (B77)."""
    if isinstance(value, str):
        return (value,)
    if all(isinstance(one, int) for one in value):
        return (_tokens(value),)
    if len(value) > MAX_INPUTS:
        raise InvalidRequest(f"{field}: must hold at most {MAX_INPUTS} inputs", param=field)
    if all(isinstance(one, str) for one in value):
        return tuple(one for one in value if isinstance(one, str))
    if all(isinstance(one, list) and one for one in value):
        return tuple(_tokens(one) for one in value if isinstance(one, list))
    raise InvalidRequest(
        f"{field}: must be a text, a list of texts, a list of tokens or a list of such lists; none empty, none mixed",
        param=field,
    )


def _tokens(value: Sequence[object]) -> tuple[int, ...]:
    return tuple(one for one in value if isinstance(one, int))


def check_model(model: str | None) -> None:
    """Raises InvalidModel for a name that is none."""
    if model is not None and not 0 < len(model) <= 256:
        raise InvalidModel("model: must be a name of 1 to 256 characters, or be left out for `auto`", param="model")


def patched(body: bytes, before: InputsRequest, after: ChatRequest) -> bytes:
    """The body of a request that was changed after it was read: fields nobody changed keep their bytes.

    Raises InvalidRequest when the messages are no longer one text each for the inputs.
    """
    fields = decode_fields(body)
    if after.messages != before.messages:
        fields[before.field] = raw(_texts(before, after))
    for name in ChatRequest.__struct_fields__:
        value = getattr(after, name)
        if name in _PUT_OTHERWISE or value == getattr(before, name):
            continue
        fields.pop(name, None)
        if value is not None:
            fields[name] = raw(value)
    return encode(fields)


def _texts(before: InputsRequest, after: ChatRequest) -> object:
    texts = [message.content for message in after.messages if isinstance(message.content, str)]
    if len(texts) != len(after.messages) or len(texts) != len(before.inputs):
        raise InvalidRequest(f"{before.field}: one text for each of the {len(before.inputs)} inputs", param="messages")
    return texts if before.is_list else texts[0]
