"""Signals by rule of thumb: `code`, `complexity` and `simple`, from the words and marks of what is asked.

The tables of words.py say what people know; that of learned.py corrects them by labelled prompts.
"""

import re
from collections.abc import AsyncIterator, Container, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import asynccontextmanager
from itertools import chain
from typing import NamedTuple

from msgspec import Struct

from muxer import ChatRequest, Context, Kind, Signal, SignalValue, hookimpl
from muxer_heuristics.learned import LEARNED
from muxer_heuristics.words import CODE, COMPLEXITY, MARKS, PAIRS, REFERENCES, ROLES, SIMPLE, WORDS

SIGNALS = {CODE: float, COMPLEXITY: float, SIMPLE: float}

INLINE_CODE, LATEX, SHORT, QUESTION_MARK, MANY_NUMBERS, LONG_QUESTION = 30, 30, 25, 20, 12, 8

SHORT_CHARS = 100  # SEED's bound for a short prompt; a longer question fades out at twice that
READ_CHARS = 8_192  # of a longer text the head and the tail, each this long, are read: the cost has a bound
ASK_WORDS, FURTHER_IN = 80, 3  # people ask at the start or the end: words further in have a third of their weight
FOLLOW_UP_WORDS = 12
INHERITED = 0.7
QUOTES, QUOTE_CHARS = 5, 60
# What is no word, for the learned table: single characters, and these, whose blanks keep them from being words.
SIGNS = ("$", "=", "^", "%", "\\", '"', "?", "/", "(", "*")
A_NUMBER, NUMBERS, LETTERS = "a number", "three numbers", "two letters"
_VARIABLES = frozenset("bcdefghjklmnopqrstuvwxyz")
# A word may hold + and #, for C++ and C#.
_WORD = re.compile(r"[\w+#]+")
# How one asks says nothing of what is asked: greetings and requests before it, thanks after it.
_BEFORE = re.compile(
    r"(?:(?:hi|hey|hello|please|kindly|(?:could|can|would|will) you(?: please| kindly)?|i need you to"
    r"|i(?:'d| would) like you to|(?:help me|tell me)(?: with this| out)?|(?:a )?quick question)\b[\s,.:!]*)+"
)
_AFTER = re.compile(
    r"[\s,.!]*\b(?:please|thanks|thank you|thx|cheers)(?: (?:in advance|a lot|so much|very much))?[\s.!]*$"
)
_COURTESIES = ("please", "thank", "thx", "cheers")  # _AFTER matches nothing without one of these
# In ASCII these say the same as regular expressions and str.isalnum, several times faster.
_BLANKED = bytes(code if code < 128 and _WORD.match(chr(code)) else 0x20 for code in range(256))
_LETTERS = bytes(code for code in range(128) if chr(code).isalpha()) + b" "
_BLANKS = bytes(code for code in range(128) if chr(code).isspace())
_DIGITS = frozenset("0123456789")

_Hit = tuple[str, int, str]
"""The signal that a piece of text moved, by how many hundredths, and the piece."""


_Pair = tuple[str, str, int, str, int]
"""Two roles, how many words apart at most, and the signal that both move by how many hundredths."""


class _Entry(NamedTuple):
    """What the tables say about one word: what it moves by words.py and by learned.py, each where people ask and
    further in."""

    word: str
    by_hand: tuple[tuple[_Hit, ...], tuple[_Hit, ...]]
    learned: tuple[tuple[_Hit, ...], tuple[_Hit, ...]]
    roles: tuple[str, ...]
    closes: tuple[tuple[str, tuple[_Pair, ...]], ...]  # each role with the pairs it is the second word of


def _by_word(tables: Mapping[str, Mapping[int, str]]) -> dict[str, list[tuple[str, int]]]:
    """The signals that each word of some tables moves; a name of several words stands with underscores for blanks."""
    weights: dict[str, list[tuple[str, int]]] = {}
    for signal, lines in tables.items():
        for weight, words in lines.items():
            for word in words.split():
                weights.setdefault(word.replace("_", " "), []).append((signal, weight))
    return weights


def _lexicon() -> dict[str, _Entry]:
    weights, learned = _by_word(WORDS), _by_word(LEARNED)
    roles: dict[str, list[str]] = {}
    for role, members in ROLES.items():
        for word in members.split():
            roles.setdefault(word, []).append(role)
    closes = {role: tuple(pair for pair in PAIRS if pair[1] == role) for role in ROLES}

    def entry(word: str) -> _Entry:
        own, by_hand, taught = tuple(roles.get(word, ())), weights.get(word, ()), learned.get(word, ())
        return _Entry(
            word=word,
            by_hand=(_moves(word, by_hand), _moves(word, [(signal, full // FURTHER_IN) for signal, full in by_hand])),
            learned=(_moves(word, taught), _moves(word, [(signal, int(full / FURTHER_IN)) for signal, full in taught])),
            roles=own,
            closes=tuple((role, closes[role]) for role in own),
        )

    return {word: entry(word) for word in weights | learned | roles}


def _moves(word: str, weights: Iterable[tuple[str, int]]) -> tuple[_Hit, ...]:
    return tuple((signal, weight, word) for signal, weight in weights)


def _marks_by_sign() -> dict[str, list[_Hit]]:
    """The marks under a rare character of each: most texts lack most of these, and one character is quick to miss."""
    by_sign: dict[str, list[_Hit]] = {}
    for signal, lines in MARKS.items():
        for weight, marks in lines.items():
            for mark in marks:
                sign = next((character for character in mark if not (character.isalnum() or character == " ")), mark[0])
                by_sign.setdefault(sign, []).append((signal, weight, mark))
    return by_sign


_LEXICON = _lexicon()
_MARKS = _marks_by_sign()
_PLACES = {sign: place for place, sign in enumerate(_MARKS)}
_PAIRED = [frozenset(pair[:2]) for pair in PAIRS]
_LEARNED = _by_word(LEARNED)
_REFERENCES = frozenset(REFERENCES.split())
_LOOKED_FOR = _DIGITS.union(_MARKS, SIGNS)


def _words(text: str) -> list[str]:
    return text.encode().translate(_BLANKED).decode().split() if text.isascii() else _WORD.findall(text)


def _signs(text: str) -> Set[str]:
    """What tells which of the signs and digits that are looked for the text has."""
    if text.isascii():
        return set(text.encode().translate(None, _LETTERS).decode())
    return {*filter(text.__contains__, _LOOKED_FOR)}


def _may_count(text: str, signs: Set[str]) -> bool:
    """Whether one of its words may be a number."""
    return not text.isascii() or not signs.isdisjoint(_DIGITS)


def _is_further_in(place: int, count: int) -> bool:
    """Whether a word of so many has a part of its weight."""
    return ASK_WORDS <= place < count - ASK_WORDS


def _word_hits(words: Sequence[str], entries: Iterable[_Entry]) -> tuple[list[_Hit], list[_Hit]]:
    """What words and their pairs move by words.py, and what words move by learned.py."""
    by_hand: list[_Hit] = []
    learned: list[_Hit] = []
    roles: set[str] = set()
    is_long = len(words) > 2 * ASK_WORDS
    for entry in entries:
        is_further_in = is_long and _is_further_in(words.index(entry.word), len(words))
        by_hand += entry.by_hand[is_further_in]
        learned += entry.learned[is_further_in]
        if entry.roles:
            roles.update(entry.roles)
    # Where each word stands matters for pairs alone, and most texts have both words of none.
    if roles and any(map(roles.issuperset, _PAIRED)):
        by_hand[:0] = _pair_hits(words)
    return by_hand, learned


def _pair_hits(words: Sequence[str]) -> Iterator[_Hit]:
    latest: dict[str, tuple[int, str]] = {}
    seen: set[_Pair] = set()
    for place, entry in enumerate(map(_LEXICON.get, words)):
        for role, pairs in entry.closes if entry else ():
            for pair in pairs:
                first, _, distance, signal, weight = pair
                at, opener = latest.get(first, (-ASK_WORDS, ""))
                if place - at <= distance and pair not in seen:
                    seen.add(pair)
                    half = weight // 2 // (FURTHER_IN if _is_further_in(place, len(words)) else 1)
                    yield signal, half, opener
                    yield signal, half, words[place]
            latest[role] = place, words[place]
            if role == "end":  # the object of "write" ends here: "write a text for my website" asks for no website
                latest.pop("make", None)


def _mark_hits(text: str, signs: Set[str]) -> list[_Hit]:
    """What needs no word: fences, backticks, the punctuation of code and of mathematics, characters of CJK."""
    has_signs = "\\" in signs or "^" in signs
    latex = has_signs and ("\\frac" in text or text.count("$") > 1)
    # The braces and arrows of a formula are not those of a program; a fence or an #include still is.
    least = 60 if latex else 0
    marks = [hit for sign in sorted(_MARKS.keys() & signs, key=_PLACES.__getitem__) for hit in _MARKS[sign]]
    found = [hit for hit in marks if hit[2] in text and (hit[0] != CODE or hit[1] >= least)]
    if latex:
        found.append((COMPLEXITY, LATEX, "$" if "$" in text else "\\"))
    if "`" in signs and text.count("`") > 1:
        found.append((CODE, INLINE_CODE, "`"))
    return found


def _shape_hits(text: str, signs: Set[str], words: Iterable[str], chars: int) -> list[_Hit]:
    """What length, numbers and a closing question mark say."""
    found: list[_Hit] = []
    asks = text.endswith(("?", "？"))
    if chars < SHORT_CHARS:
        found.append((SIMPLE, SHORT, text[:QUOTE_CHARS]))
    elif _may_count(text, signs) and len(numbers := set(filter(str.isdigit, words))) > 2:
        # Several quantities and a question: a problem to be worked out.
        found.append((COMPLEXITY, MANY_NUMBERS, min(numbers)))
        if asks:
            found.append((COMPLEXITY, LONG_QUESTION, text[-1]))
    if asks:
        found.append((SIMPLE, QUESTION_MARK, text[-1]))
    return found


def features(
    words: Sequence[str], once: Mapping[str, object], text: str, wanted: Container[str]
) -> Iterator[tuple[str, str, int]]:
    """What the learned table looks at in a text in lower case: a name, its quote, and by what its weight is divided.

    Of the words, each of them `once`, only those that are wanted.
    """
    is_long = len(words) > 2 * ASK_WORDS
    for word in filter(wanted.__contains__, once):
        yield word, word, FURTHER_IN if is_long and _is_further_in(words.index(word), len(words)) else 1
    for name, quote in _more_features(once, text, _signs(text)):
        yield name, quote, 1


def _more_features(once: Mapping[str, object], text: str, signs: Set[str]) -> Iterator[tuple[str, str]]:
    """Those that are no words, whose weight is not divided."""
    for sign in filter(signs.__contains__, SIGNS):
        yield sign, sign
    if _may_count(text, signs) and (numbers := [word for word in once if word.isdigit()]):
        yield A_NUMBER, min(numbers)
        if len(numbers) > 2:
            yield NUMBERS, min(numbers)
    letters = once.keys() & _VARIABLES
    if len(letters) > 1:
        yield LETTERS, min(letters)


class Found(NamedTuple):
    """All that moves a signal in one text. A long one is not simple, whatever it has of that."""

    by_words: list[_Hit]
    by_shape: list[_Hit]
    learned: list[_Hit]
    is_long: bool = False

    @property
    def hits(self) -> Iterator[_Hit]:
        """Those that count."""
        hits = chain(self.by_words, self.by_shape, self.learned)
        return (hit for hit in hits if hit[0] != SIMPLE) if self.is_long else hits


def _hits(text: str) -> Found:
    text = text.strip()
    if len(text) > 2 * READ_CHARS:
        text = f"{text[:READ_CHARS]}\n{text[-READ_CHARS:]}"
    if not text:
        return Found([], [], [])
    text = _asked_plainly(text.casefold())
    words, signs, chars = _words(text), _signs(text), _length(text)
    once = dict.fromkeys(words)
    entries = [*filter(None, map(_LEXICON.get, once))]
    by_hand, learned = _word_hits(words, entries)
    for name, quote in _more_features(once, text, signs):
        learned += _moves(quote, _LEARNED.get(name, ()))
    by_shape = _mark_hits(text, signs) + _shape_hits(text, signs, once, chars)
    return Found(by_hand, by_shape, learned, chars > 2 * SHORT_CHARS)


def _length(text: str) -> int:
    """Runs of blanks do not make a prompt long; over a certain length it does not matter any more."""
    head = text[: 4 * SHORT_CHARS]
    letters = len(head.encode().translate(None, _BLANKS)) if head.isascii() else 0
    if letters > 2 * SHORT_CHARS:
        return letters
    chars = len(" ".join(head.split()))
    if chars > 2 * SHORT_CHARS or len(text) <= 4 * SHORT_CHARS:
        return chars
    return len(" ".join(text.split())) if len(text) < 10 * SHORT_CHARS else len(text)


def _asked_plainly(text: str) -> str:
    """The text without courtesies around it, unless there is nothing else."""
    greeting = _BEFORE.match(text)
    plain = text[greeting.end() :] if greeting else text
    end = plain[-SHORT_CHARS:]
    is_thanking = any(map(end.__contains__, _COURTESIES))
    thanks = _AFTER.search(plain, max(0, len(plain) - SHORT_CHARS)) if is_thanking else None
    return (plain[: thanks.start()] if thanks else plain) or text


def _scores(text: str) -> dict[str, float]:
    """The signals of one text."""
    totals = sums(_hits(text))
    return {signal: min(100, max(0, total)) / 100 for signal, total in totals.items()}


def sums(found: Found) -> dict[str, int]:
    """The hundredths of each signal before they are cut to 0 and 100."""
    totals = dict.fromkeys(SIGNALS, 0)
    for signal, weight, _ in found.by_words:
        totals[signal] += weight
    # Everyday words take back what other words gave; a code fence in a story stays a code fence.
    totals[CODE] = max(0, totals[CODE])
    for signal, weight, _ in found.by_shape + found.learned:
        totals[signal] += weight
    if found.is_long:
        totals[SIMPLE] = 0
    return totals


def _follows_on(text: str) -> bool:
    """Whether a message means little without the question before it."""
    if len(text) > SHORT_CHARS:
        return False
    words = _words(text.casefold())
    return len(words) <= FOLLOW_UP_WORDS and not _REFERENCES.isdisjoint(words)


def _asked(request: ChatRequest) -> tuple[str, str]:
    """The last question of the user and, if it only follows on, the one that it follows on; else nothing."""
    questions = (m.text for m in reversed(request.messages) if m.role == "user")
    last = next(questions, "")
    return last, next((text for text in questions if not _follows_on(text)), "") if _follows_on(last) else ""


class Heuristics:
    """Measures what the last message of the user asks for; system prompt, answers and history have no say."""

    def measure(self, request: ChatRequest) -> Mapping[str, SignalValue]:
        """Each signal from 0 to 1. A follow-up is at least INHERITED of what it follows on."""
        question, earlier = _asked(request)
        scores = _scores(question)
        if not earlier:
            return scores
        before = _scores(earlier)
        return {
            CODE: max(scores[CODE], INHERITED * before[CODE]),
            COMPLEXITY: max(scores[COMPLEXITY], INHERITED * before[COMPLEXITY]),
            SIMPLE: min(scores[SIMPLE], before[SIMPLE]),
        }

    def evidence(self, request: ChatRequest) -> Mapping[str, Sequence[str]]:
        """The words and marks that raised each signal, in lower case, the strongest first."""
        hits = [hit for text in _asked(request) for hit in _hits(text).hits if hit[1] > 0]
        hits.sort(key=lambda hit: -hit[1])
        return {
            signal: list(dict.fromkeys(quote for moved, _, quote in hits if moved == signal))[:QUOTES]
            for signal in SIGNALS
        }


class HeuristicsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """There is nothing to set: the tables are the same for everybody."""


@asynccontextmanager
async def open_heuristics(settings: HeuristicsSettings, context: Context) -> AsyncIterator[Signal]:
    """The signals; nothing to connect and nothing to close."""
    yield Heuristics()


@hookimpl
def register_signals() -> list[Kind[Signal]]:
    """Offers the kind `heuristics`."""
    return [Kind("heuristics", HeuristicsSettings, open_heuristics, SIGNALS)]
