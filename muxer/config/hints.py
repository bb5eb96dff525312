"""What a person may have meant who wrote what is not understood: other products' words, units, slips of YAML."""

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches

_LONGEST_WORD = 64
# What other gateways, and habit, call what has another name here.
_SYNONYMS = {
    "api_base": ("base_url",),
    "budget": ("daily_usd",),
    "candidates": ("use",),
    "capabilities": ("can",),
    "condition": ("when",),
    "context": ("context_tokens",),
    "context_window": ("context_tokens",),
    "cost": ("price_usd_per_million",),
    "endpoint": ("base_url",),
    "expires_at": ("expires",),
    "fallback": ("fallbacks", "use"),
    "host": ("listen",),
    "if": ("when",),
    "key": ("api_key", "secret"),
    "match": ("when",),
    "max_budget": ("daily_usd", "monthly_usd"),
    "max_tokens": ("max_output_tokens",),
    "model": ("use",),
    "models": ("use",),
    "parallel": ("concurrent",),
    "port": ("listen",),
    "price": ("price_usd_per_million",),
    "prices": ("price_usd_per_million",),
    "pricing": ("price_usd_per_million",),
    "rpm": ("requests_per_minute",),
    "scope": ("per",),
    "strategy": ("order",),
    "timeout": ("timeout_s",),
    "token": ("secret", "api_key"),
    "tpm": ("tokens_per_minute",),
    "type": ("kind",),
    "uri": ("url", "base_url"),
    "url": ("base_url",),
}
_OF_MODELS = {"model": ("name",), "id": ("name",)}
_WITH_UNIT = re.compile(r"[$€£]? ?([0-9][0-9_,]*(?:\.[0-9]+)?) ?([A-Za-z%/]{1,20}|[$€£])?")
_UNQUOTED = 'a text with quotes, commas, ": " or " #" in it is quoted as a whole'
_COMPLAINTS = (
    ("mapping values are not allowed", f"is there a space after the colon in the line above? And {_UNQUOTED}"),
    ("did not find expected key", "its indentation differs from that of the lines above, or a quote is not closed"),
    ("did not find expected '-'", "each entry of a list begins with `- `, all in the same column"),
    ("block sequence entries are not allowed", "begin a list with `- ` in a line of its own"),
    ("did not find expected ',' or", f"a bracket above is not closed, a comma is missing, or a quote: {_UNQUOTED}"),
    ("could not find expected ':'", "a key needs a colon and a space after it"),
    ("cannot start any token", "write the text in quotes"),
    ("found unexpected end of stream", "a quote is not closed"),
    ("unknown escape character", "in double quotes a backslash is written twice; single quotes take it as it is"),
)


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the known word most like this one, or nothing when none is near."""
    # A long word is no misspelling, and comparing it would cost seconds.
    if len(word) > _LONGEST_WORD:
        return ""
    near = get_close_matches(word, [name for name in known if len(name) <= _LONGEST_WORD], n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def key_hint(key: str, known: Collection[str]) -> str:
    """What was meant by a key that is none of the known ones; all of these, where nobody can tell."""
    if re.search(r"[<>=!\s]", key):
        return f"{_UNQUOTED}; known keys: {', '.join(sorted(known))}"
    words = {**_SYNONYMS, **_OF_MODELS} if "provider" in known else _SYNONYMS
    synonym = next((name for name in words.get(key.lower(), ()) if name in known), None)
    if synonym is not None:
        return f"did you mean {synonym!r}?"
    return nearest(key, known) or f"known: {', '.join(sorted(known))}"


def number_hint(text: str) -> str:
    """How a number is written that has a unit, a sign or separators; nothing for what is no number."""
    found = _WITH_UNIT.fullmatch(text) if len(text) <= _LONGEST_WORD else None
    if found is None:
        return ""
    if found[2] and found[2].isascii():
        return "the unit is in the name of the key: write the number alone, in that unit"
    return f"write {found[1].replace(',', '')}"


def yaml_hint(problem: str, line: str) -> str:
    """The remedy for the commonest cause of a complaint of the parser about a line."""
    if "${" in line and ("{" in line.replace("${", "") or "[" in line):
        return 'inside { } and [ ] a reference needs quotes: "${NAME}"'
    return next((hint for words, hint in _COMPLAINTS if words in problem), "")
