"""Keys of a body that stand twice, or that no caller may say (B19, B22): one scan of the bytes, decoded on a hit."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from muxer.errors import DuplicateKey, ForbiddenParameter

# In a JSON text every quote inside of a string is escaped, so what looks like a key is one. Keys that are spelt with
# escapes are not seen by the first pattern, so letters that need none make the body suspect.
_KEY = re.compile(rb'"([^"\\]{1,40})"\s*:')
_SPELT_OUT = re.compile(rb"\\u00[2-7][0-9a-fA-F]")
_ONCE = frozenset(
    b"model messages prompt system instructions n best_of stream stream_options tools tool_choice thinking modalities "
    b"max_tokens max_completion_tokens max_output_tokens temperature top_p service_tier response_format stop".split()
)
_FORBIDDEN = frozenset(
    b"__proto__ api_base base_url api_key user_config custom_host extra_headers callback_url".split()
)
_FORBIDDEN_WORDS = frozenset(word.decode() for word in _FORBIDDEN)
_FREE = frozenset({"parameters", "schema", "input_schema", "json_schema", "metadata", "arguments"})
"""What stands under these is the caller's own: schemas, inputs of tools, notes. Nobody interprets it."""


class _Pairs(list[tuple[str, object]]):
    """The members of an object as they stand there."""


def check_keys(body: bytes) -> None:
    """Raises DuplicateKey where a field that we price or route by, or one of a message, stands twice: the upstream may
    read the other one. Raises ForbiddenParameter for one that tells a gateway where to go or as whom."""
    keys = _KEY.findall(body)
    counts = Counter(keys)
    is_suspect = (
        any(counts[key] > 1 for key in counts.keys() & _ONCE)
        or counts[b"role"] != counts[b"content"]
        or not _FORBIDDEN.isdisjoint(counts)
        or _SPELT_OUT.search(body) is not None
    )
    if not is_suspect:
        return
    try:
        found = json.loads(body, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return  # reading it will say what is wrong
    if isinstance(found, _Pairs):
        _check_once(found, "")
        for name, value in found:
            for place, member in enumerate(value if name in ("messages", "input") and isinstance(value, list) else ()):
                if isinstance(member, _Pairs):
                    _check_once(member, f"{name}[{place}].")
        _check_allowed(found, "")


def _check_once(pairs: Sequence[tuple[str, object]], where: str) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            field = f"{where}{_shown(name)}"
            raise DuplicateKey(f"{field} stands twice; send it once", param=field)
        seen.add(name)


def _check_allowed(value: object, where: str) -> None:
    if isinstance(value, _Pairs):
        is_tool_use = ("type", "tool_use") in value
        for name, member in value:
            field = f"{where}{_shown(name)}"
            if name in _FORBIDDEN_WORDS:
                what = f"{field}: where a request goes, and as whom, is the proxy's file to say"
                raise ForbiddenParameter(what, param=field)
            if name not in _FREE and not (is_tool_use and name == "input"):
                _check_allowed(member, f"{field}.")
    elif isinstance(value, list):
        for place, member in enumerate(value):
            _check_allowed(member, f"{where.removesuffix('.')}[{place}].")


def _shown(name: str) -> str:
    return "".join(_printable(name[:64]))


def _printable(name: str) -> Iterable[str]:
    return (character if character.isprintable() else "?" for character in name)
