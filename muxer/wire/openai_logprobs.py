"""The log-probabilities of OpenAI's chats: read, and taken out again where only we asked for them."""

import msgspec
from msgspec import Raw, Struct

from muxer.types import TokenLogprob

_NULL = b"null"
_encode = msgspec.json.Encoder().encode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_choices = msgspec.json.Decoder(list[dict[str, Raw]]).decode


class _Token(Struct):
    token: str
    logprob: float
    top_logprobs: list["_Token"] | None = None


class _Logprobs(Struct):
    content: list[_Token] | None = None


_decode_logprobs = msgspec.json.Decoder(_Logprobs).decode


def read_logprobs(data: Raw) -> tuple[TokenLogprob, ...]:
    """Those of one choice; none where there are none."""
    if bytes(data) == _NULL:
        return ()
    try:
        tokens = _decode_logprobs(data).content or ()
    except msgspec.ValidationError:
        return ()  # some servers answer in the shape of the older completions
    return tuple(TokenLogprob(one.token, one.logprob, tuple(map(_top, one.top_logprobs or ()))) for one in tokens)


def _top(token: _Token) -> TokenLogprob:
    return TokenLogprob(token.token, token.logprob)


def without_logprobs(data: bytes) -> bytes:
    """An answer, or an event of a stream, as it would have come had nobody asked for them."""
    if b'"logprobs"' not in data:
        return data
    fields = _decode_fields(data)
    if "choices" not in fields:
        return data
    choices = [one | {"logprobs": Raw(_NULL)} for one in _decode_choices(fields["choices"])]
    return _encode(fields | {"choices": Raw(_encode(choices))})
