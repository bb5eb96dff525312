"""Puts back what placeholders stand for, also when one is cut in two by the chunks of a stream."""

import json
import re
from collections.abc import Mapping

PLACEHOLDER = re.compile(r"\[[A-Z][A-Z0-9_]*_[0-9]+\]")
_BEGUN = re.compile(r"\[(?:[A-Z][A-Z0-9_]*)?")


class Restorer:
    """One text that comes in pieces. `in_json` is for text inside a JSON string, as the arguments of a tool are."""

    def __init__(self, values: Mapping[str, str], *, in_json: bool = False) -> None:
        self._values = {name: json.dumps(value)[1:-1] for name, value in values.items()} if in_json else dict(values)
        self._longest = max(map(len, values))
        self._kept = ""

    def feed(self, piece: str) -> str:
        """What can be given on now; the start of what may become a placeholder is kept."""
        text, done, end = self._kept + piece, [], 0
        for match in PLACEHOLDER.finditer(text):
            done += [text[end : match.start()], self._values.get(match.group(), match.group())]
            end = match.end()
        opened = text.rfind("[", max(end, len(text) - self._longest + 1))
        may_become = opened >= 0 and _BEGUN.fullmatch(text, opened) is not None
        self._kept = text[opened:] if may_become else ""
        return "".join([*done, text[end:opened] if may_become else text[end:]])

    def rest(self) -> str:
        """What was kept and became nothing."""
        kept, self._kept = self._kept, ""
        return kept
