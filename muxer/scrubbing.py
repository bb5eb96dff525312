"""Secrets taken out of what others wrote: the values that this process knows, and whatever looks like a key."""

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec
from msgspec import Struct

from muxer.interfaces import Log
from muxer.secret import HIDDEN, Secret

_OF_EACH_REQUEST = ("request", "decision")
_SHORTEST = 8  # of shorter ones every other word would be one
_NAMED = frozenset({"api_key", "secret", "password", "token", "authorization", "x-api-key"})
_PASSWORD_IN_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/@\s]*:([^/@\s]+)@")
# Keys of vendors and our own, bearer tokens, passwords in addresses, and keys in queries.
_LOOKS_SECRET = re.compile(
    r"\b(?:sk|mux|gsk|xai)[-_][A-Za-z0-9_-]{16,}|\bAIza[\w-]{30,}|(?<=[Bb]earer )\S{8,}"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)|(?<=[?&]key=)[^&\s\"']+|(?<=[?&]api_key=)[^&\s\"']+"
)


class Scrubber:
    """What it has learned once stays a secret: an answer to an old key may come late."""

    def __init__(self) -> None:
        self._known: tuple[str, ...] = ()

    def learn(self, secrets: Iterable[str]) -> None:
        """From now on these are hidden, but for words too short to be told from others."""
        found = {one for one in secrets if len(one) >= _SHORTEST}.union(self._known)
        self._known = tuple(sorted(found, key=len, reverse=True))

    def __call__(self, text: str) -> str:
        """The text without them."""
        for secret in self._known:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        return _LOOKS_SECRET.sub(HIDDEN, text)


def scrubbed(log: Log, scrub: Scrubber) -> Log:
    """The log without secrets. What is said of every served request is of our own making, and too often said to be
    looked through."""

    def write(level: str, event: str, **fields: object) -> None:
        if event not in _OF_EACH_REQUEST:
            fields = {name: _without(value, scrub) for name, value in fields.items()}
        log(level, event, **fields)

    return write


def _without(value: object, scrub: Scrubber) -> object:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, Mapping):
        return {name: _without(one, scrub) for name, one in value.items()}
    return [_without(one, scrub) for one in value] if isinstance(value, list | tuple) else value


def secrets_of(settings: Struct) -> Iterator[str]:
    """The secrets in the settings of a component: of that type, named as one, and passwords in addresses."""
    typed: list[str] = []

    def note(value: object) -> str:
        if isinstance(value, Secret):
            typed.append(value.reveal())
        return ""

    yield from _secrets(msgspec.to_builtins(settings, enc_hook=note), "")
    for text in typed:
        yield from _secrets(text, "" if "://" in text else "secret")


def _secrets(value: object, name: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _secrets(one, str(key).lower())
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _secrets(one, name)
    elif isinstance(value, str) and value and name in _NAMED:
        yield value
    elif isinstance(value, str):
        yield from _PASSWORD_IN_URL.findall(value)
