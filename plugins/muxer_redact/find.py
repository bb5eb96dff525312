"""Finds what should not leave the house in a text: e-mail addresses, phone and card numbers, keys and passwords."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec import Struct


class Found(Struct, frozen=True, order=True):
    """A stretch of a text and what it is."""

    start: int
    end: int
    what: str


# Something begins where a word does, and after the letter of a line break or tab as JSON and logs write it.
_AFTER_ESCAPE = r"(?<=\\[nrt])"
# A run of the characters of an address is tried once, from its start, so a long one costs no more than its length.
_EMAIL = re.compile(
    rf"(?:(?<![\w.%+\-])(?!(?<=\\)[nrt])|{_AFTER_ESCAPE})"
    r"[\w.%+\-]{1,64}@(?:[\w\-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w\-])"
)
# Written with + and a country code, or in groups as in North America; a bare run of digits is any number.
_PHONE = re.compile(
    rf"(?:(?<![\w+.\-])|{_AFTER_ESCAPE})(?:"
    r"\+[1-9](?:[ .\-/()]{0,2}\d){6,14}"
    r"|(?:1[ .\-])?(?:\(\d{3}\) ?|\d{3}[.\-])\d{3}[.\- ]\d{4}"
    r")(?![\w\-])"
)
# Written in one, or in the groups of the cards themselves.
_CARD = re.compile(
    rf"(?:(?<![\w.\-])|{_AFTER_ESCAPE})"
    r"(?:[2-6]\d{12,18}|[2-6]\d{3}(?P<gap>[ \-])\d{4}(?P=gap)\d{4}(?P=gap)\d{4}(?:(?P=gap)\d{3})?"
    r"|3[47]\d{2}(?P<gap2>[ \-])\d{6}(?P=gap2)\d{5})(?![\w\-])"
)
_SECRET = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?:[^-]|-(?!----)){1,10000}-----END [A-Z ]{0,30}PRIVATE KEY-----"
    rf"|(?:(?<![\w\-])|{_AFTER_ESCAPE})(?:"
    r"sk-[\w\-]{16,200}"  # OpenAI, Anthropic, OpenRouter, LiteLLM
    r"|(?:sk|rk|pk)_(?:live|test)_\w{16,200}"  # Stripe
    r"|mux_[\w\-]{16,200}"
    r"|gh[opusr]_\w{30,255}|github_pat_\w{40,255}|glpat-[\w\-]{20,100}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}"  # AWS key ids
    r"|AIza[\w\-]{35}|ya29\.[\w\-]{20,500}"  # Google
    r"|xox[abeprs]-[\w\-]{10,250}"  # Slack
    r"|hf_\w{30,100}|npm_\w{36}|pypi-[\w\-]{50,300}|SG\.[\w\-]{16,64}\.[\w\-]{16,64}"
    r"|eyJ[\w\-]{8,4000}\.eyJ[\w\-]{8,8000}\.[\w\-]{8,1000}"  # a JSON Web Token
    r")(?![\w\-])"
)


def _is_card(text: str) -> bool:
    """Whether a number passes Luhn's check, as every card's does (ISO/IEC 7812-1)."""
    digits = [int(digit) for digit in reversed(text) if digit.isdigit()]
    doubled = sum(digit * 2 - 9 * (digit > 4) for digit in digits[1::2])
    return 13 <= len(digits) <= 19 and (sum(digits[::2]) + doubled) % 10 == 0


class _Search(Struct, frozen=True):
    pattern: re.Pattern[str]
    holds: Callable[[str], bool]


def _always(text: str) -> bool:
    return True


# In the order of who keeps a stretch that two of them claim.
_SEARCHES: Mapping[str, _Search] = {
    "secret": _Search(_SECRET, _always),
    "email": _Search(_EMAIL, _always),
    "card": _Search(_CARD, _is_card),
    "phone": _Search(_PHONE, _always),
}
CATEGORIES = tuple(_SEARCHES)
# What a text must have for a search to be worth its time.
_HINTS: Mapping[str, re.Pattern[str]] = {
    "email": re.compile("@"),
    "card": re.compile(r"\d"),
    "phone": re.compile(r"\d"),
}


class Finder:
    """Finds some categories, and what patterns of the operator's own find."""

    def __init__(self, categories: Sequence[str], patterns: Mapping[str, str]) -> None:
        own = {name: _Search(re.compile(pattern), _always) for name, pattern in patterns.items()}
        self._searches = own | {name: search for name, search in _SEARCHES.items() if name in categories}

    def find(self, text: str) -> list[Found]:
        """What stands in a text, in its order; no two overlap."""
        taken: list[Found] = []
        for what, search in self._searches.items():
            hint = _HINTS.get(what)
            if hint is None or hint.search(text):
                taken = sorted([*taken, *_search(what, search, text, taken)])
        return taken


def _search(what: str, search: _Search, text: str, taken: Sequence[Found]) -> Iterator[Found]:
    """What one search finds between the stretches that are taken."""
    starts = [0, *(found.end for found in taken)]
    ends = [*(found.start for found in taken), len(text)]
    for start, end in zip(starts, ends, strict=True):
        for match in search.pattern.finditer(text, start, end):
            if match.end() > match.start() and search.holds(match.group()):
                yield Found(match.start(), match.end(), what)
