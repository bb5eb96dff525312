"""The JSON of request bodies: nothing that two readers take for different things, nothing that takes long to read.

A body that names no key twice is the same when it is read and written again, so the common case is two calls of a
decoder in C and a look at each list and object. Only a body that differs is read by the slow decoder, which sees pairs.
"""

import json
import re
from contextlib import suppress
from itertools import chain

import msgspec

from muxer.errors import MuxerError
from muxer.refusals import DuplicateKey, ForbiddenParameter, InvalidNumber, TooComplex

MAX_DEPTH = 64
MAX_NODES = 200_000
FORBIDDEN = frozenset(
    {
        "__proto__",
        "api_base",
        "api_key",
        "base_url",
        "callback_url",
        "custom_host",
        "extra_headers",
        "user_config",
    }
)  # fmt: skip
"""Names by which some gateway, SDK or server lets a request choose a host, a key or code."""
_forbidden_bytes = re.compile(f'"(?:{"|".join(sorted(FORBIDDEN))})"'.encode()).search
_OPAQUE = frozenset({"metadata", "parameters", "input_schema", "schema", "arguments"})
"""Where the caller's own names stand inside a field: schemas and arguments of tools, labels."""

_decode = msgspec.json.Decoder().decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_TOOL_USE = ("type", "tool_use")
_NO_NUMBER = (b"NaN", b"Infinity")
_SHOWN = 64
_CONTAINERS = (dict, list)


def check(body: bytes) -> None:
    """Refuses a body by what any JSON may not have. Raises DuplicateKey, InvalidNumber, TooComplex and
    ForbiddenParameter. What is no JSON at all passes: the reader that knows what is wanted says it better."""
    if len(body) > 2 * MAX_NODES and _count(body) > MAX_NODES:
        raise _too_many()
    try:
        value = _decode(body)
    except RecursionError:
        raise _too_deep() from None
    except msgspec.ValidationError as error:
        raise _bad_number(body) from error
    except msgspec.DecodeError as error:
        place = re.search(r"\(byte (\d+)\)$", str(error))
        if place and body.startswith(_NO_NUMBER, int(place[1])):
            raise InvalidNumber("JSON has no NaN and no Infinity") from error
        return
    except UnicodeDecodeError:
        return
    if (_may_hide(body) and _has_forbidden_name(value)) or (_encode(value) != body and _has_duplicate(body)):
        _refuse(_members(body.decode()), "", is_read=True)


def _may_hide(body: bytes) -> bool:
    """Whether a look at the values may find what a look at the bytes does not rule out: a name that is forbidden, or
    written in escapes; more depth than there are brackets, or more values than `check` counts in so few bytes."""
    return (
        len(body) > 2 * MAX_NODES
        or body.count(b"{") + body.count(b"[") > MAX_DEPTH
        or (b"\\" in body and b"\\u" in body)
        or _forbidden_bytes(body) is not None
    )


def _count(body: bytes) -> int:
    """How many values there are, without building one of them."""
    outside = b"".join(body.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2])
    return 1 + sum(map(outside.count, (b",", b"{", b"[")))


def _too_many() -> TooComplex:
    return TooComplex(f"the body has more than {MAX_NODES} values")


def _too_deep() -> TooComplex:
    return TooComplex(f"the body is nested more than {MAX_DEPTH} deep")


def _bad_number(body: bytes) -> MuxerError:
    """The error of a number out of range, with the field it stands in."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # what follows may be wrong as well
        for name, raw in _fields(body).items():
            try:
                _decode(raw)
            except msgspec.ValidationError:
                return InvalidNumber(f"{_shown(name)!r}: a number is out of range", param=_shown(name))
    return InvalidNumber("a number is out of range")


def _shown(name: str) -> str:
    """A caller's name as an error quotes it."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:_SHOWN])


def _has_forbidden_name(value: object) -> bool:
    """Whether any object has such a name, wherever it stands. Raises TooComplex."""
    level, nodes, found = [value], 1, False
    for _ in range(MAX_DEPTH):
        objects = [one for one in level if type(one) is dict]
        found = found or not all(map(FORBIDDEN.isdisjoint, objects))
        lists = [one for one in level if type(one) is list]
        nodes += sum(map(len, objects)) + sum(map(len, lists))
        if nodes > MAX_NODES:
            raise _too_many()
        inner = chain(chain.from_iterable(map(dict.values, objects)), chain.from_iterable(lists))
        level = [one for one in inner if type(one) in _CONTAINERS]
        if not level:
            return found
    raise _too_deep()


class _Members(list[tuple[str, object]]):
    """The members of an object as they stand there."""


class _Twice(Exception):
    """An object has a name twice."""


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    read = dict(pairs)
    if len(read) < len(pairs):
        raise _Twice
    return read


# Numbers stay texts: whatever they are, nothing is counted with them here.
_named_once = json.JSONDecoder(object_pairs_hook=_once, parse_int=str, parse_float=str, strict=False).decode
_members = json.JSONDecoder(object_pairs_hook=_Members, parse_int=str, parse_float=str, strict=False).decode


def _has_duplicate(body: bytes) -> bool:
    try:
        _named_once(body.decode())
    except _Twice:
        return True
    return False


def _refuse(value: object, where: str, *, is_read: bool) -> None:
    """Raises DuplicateKey for the first name that stands twice, and ForbiddenParameter where somebody would interpret
    such a name; nobody but the caller's own tools does below `_OPAQUE`."""
    if isinstance(value, list) and not isinstance(value, _Members):
        for place, member in enumerate(value):
            _refuse(member, f"{where.removesuffix('.')}[{place}].", is_read=is_read)
    if not isinstance(value, _Members):
        return
    seen: set[str] = set()
    for name, member in value:
        field = where + _shown(name)
        if name in seen:
            raise DuplicateKey(f"{field} stands twice; send it once", param=field)
        if is_read and name in FORBIDDEN:
            raise ForbiddenParameter(f"{field}: where a request goes, and as whom, the proxy's file says", param=field)
        seen.add(name)
        is_own = name == "metadata" or (where and name in _OPAQUE) or (name == "input" and _TOOL_USE in value)
        _refuse(member, f"{field}.", is_read=is_read and not is_own)
