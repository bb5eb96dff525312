"""The draft as the text of a routing.yaml: short entries on one line, each with the place it came from."""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal

from muxer.litellm_import.draft import Draft, Value
from muxer.litellm_import.values import plain

_WIDTH = 110
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
# Words that some reader of YAML takes for something else.
_NOT_TEXT = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def written(draft: Draft, file: str) -> str:
    """The whole file; the same draft always gives the same text."""
    lines = [
        f"# Made by `muxer import-litellm` from {_comment(file)}. The comments say where each line comes from.",
        "version: 1",
        "",
        f"plugins: {_inline(list(draft.plugins))}",
    ]
    if draft.server:
        lines += ["", f"server: {_inline(draft.server)}"]
    if draft.store:
        lines += ["", f"store: {_inline(draft.store)}"]
    lines += ["", *_table("providers", draft.providers, draft.comments)]
    lines += ["", *_table("models", draft.models, draft.comments)]
    if draft.routes:
        lines += ["", *_items("routes", draft.routes, draft.comments)]
    # Without this line the budgets of DEFAULT_DAILY_BUDGET and DEFAULT_MONTHLY_BUDGET would hold.
    lines += ["", *_items("limits", draft.limits, draft.comments)]
    for name, section in (("keys", draft.keys), ("guards", draft.guards), ("sinks", draft.sinks)):
        if section:
            lines += ["", *_items(name, section, draft.comments)]
    if draft.is_strict:
        lines += ["", "strict_params: true"]
    return "\n".join(lines) + "\n"


def _table(name: str, entries: Mapping[str, Value], comments: Mapping[str, str]) -> Iterator[str]:
    if not entries:
        yield f"{name}: {{}}"
        return
    yield f"{name}:"
    for key, value in entries.items():
        comment = comments.get(f"{name}.{key}")
        yield from _entry(f"  {_text(key)}:", value, comment, 4)


def _items(name: str, items: list[dict[str, Value]], comments: Mapping[str, str]) -> Iterator[str]:
    if not items:
        yield f"{name}: []"
        return
    yield f"{name}:"
    for index, value in enumerate(items):
        yield _commented(f"  - {_inline(value)}", comments.get(f"{name}[{index}]"))


def _entry(start: str, value: Value, comment: str | None, indent: int) -> Iterator[str]:
    """On one line if it fits, else a line for each part."""
    line = f"{start} {_inline(value)}"
    if len(line) <= _WIDTH or not isinstance(value, dict | list) or not value:
        yield _commented(line, comment)
        return
    yield _commented(start, comment)
    if isinstance(value, list):
        for one in value:
            yield f"{' ' * indent}- {_inline(one)}"
        return
    for key, inner in value.items():
        yield from _entry(f"{' ' * indent}{_text(key)}:", inner, None, indent + 2)


def _commented(line: str, comment: str | None) -> str:
    return line if comment is None else f"{line}  # {_comment(comment)}"


def _comment(words: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in words)


def _inline(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return f"{{{', '.join(f'{_text(key)}: {_inline(inner)}' for key, inner in value.items())}}}"


def _text(words: str) -> str:
    """A text without quotes where every reader takes it for one."""
    if _PLAIN.fullmatch(words) and words.lower() not in _NOT_TEXT:
        return words
    return f'"{"".join(map(_escaped, words))}"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    return character if character.isprintable() else f"\\U{ord(character):08x}"
