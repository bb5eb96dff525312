"""The Lua scripts as files beside this one: each is one round trip that does all of its work or none."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

_NAMES = (
    "add_key", "beat", "count", "day", "days", "extend", "feedback", "first_of", "forget_keyed", "has_keys", "history",
    "hold", "interrupt", "key", "keys", "page", "resolve", "revoke_key", "row", "settle", "stand", "sums",
)  # fmt: skip
# What frees money or ends a key must also pass when the memory is full (S9). Servers before 7 do not know the flag.
_PASS_WHEN_FULL = ("beat", "forget_keyed", "interrupt", "resolve", "revoke_key", "settle")


class Script(Struct, frozen=True):
    """A script and the name by which a server that has seen it knows it."""

    text: str
    sha: str


def load(*, with_flags: bool) -> Mapping[str, Script]:
    """All scripts by name, each behind what they share."""
    folder = Path(__file__).parent
    common = (folder / "common.lua").read_text()
    found: dict[str, Script] = {}
    for name in _NAMES:
        shebang = "#!lua flags=allow-oom\n" if with_flags and name in _PASS_WHEN_FULL else ""
        text = f"{shebang}{common}{(folder / f'{name}.lua').read_text()}"
        found[name] = Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
    return found
