"""A guard that keeps personal data and secrets in the house: placeholders go out, answers get the originals back."""

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from muxer import (
    ChatRequest,
    Chunk,
    Context,
    Guard,
    Guarded,
    GuardRefused,
    Kind,
    Message,
    Part,
    RefusalPart,
    TextPart,
    ToolCall,
    ToolCallDelta,
    hookimpl,
)
from muxer_redact.elsewhere import elsewhere
from muxer_redact.find import CATEGORIES, Finder
from muxer_redact.restore import PLACEHOLDER, Restorer

Category = Literal["secret", "email", "card", "phone"]
_NAME = re.compile("[a-z][a-z0-9_]{0,30}")
_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+\-]*')


class RedactSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is looked for, what is refused instead of replaced, and whether answers get the originals back.

    `patterns` are regular expressions of your own by name, looked for before all others.
    """

    what: tuple[Category, ...] = ("secret", "email", "card", "phone")
    patterns: Annotated[dict[str, str], Meta(max_length=50)] = {}
    refuse: tuple[str, ...] = ()
    restore: bool = True

    def __post_init__(self) -> None:
        for name, pattern in self.patterns.items():
            if not _NAME.fullmatch(name) or name in CATEGORIES:
                raise ValueError(
                    f"patterns: {name!r} is no name; take lower-case letters, and none of {', '.join(CATEGORIES)}"
                )
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"patterns.{name}: no regular expression: {error}") from error
        unknown = sorted(set(self.refuse) - {*self.what, *self.patterns})
        if unknown:
            raise ValueError(f"refuse: {', '.join(unknown)} is not looked for")


class _Hidden:
    """The placeholders of one request: the same text has the same one wherever it stands.

    They are numbered in the order of the conversation, so that a longer one begins as the shorter did, and the vendor's
    prompt cache goes on working.
    """

    def __init__(self, finder: Finder, refuse: tuple[str, ...], taken: str) -> None:
        self._finder = finder
        self._refuse = refuse
        # Where the caller writes of placeholders himself, ours must not be taken for his.
        self._taken = frozenset(PLACEHOLDER.findall(taken))
        self._by_value: dict[str, str] = {}
        self._numbers: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    @property
    def values(self) -> dict[str, str]:
        """The originals by their placeholders."""
        return {placeholder: value for value, placeholder in self._by_value.items()}

    def text(self, text: str) -> str:
        """A text with placeholders. Raises GuardRefused for what must not even be asked about.

        In JSON each text is looked at as it reads, not as it is escaped, and it stays JSON.
        """
        if text.lstrip()[:1] in ("{", "[") and _is_json(text):
            return _LITERAL.sub(lambda match: self._literal(match.group()), text)
        return self._plain(text)

    def _literal(self, literal: str) -> str:
        value: str = json.loads(literal, strict=False) if literal.startswith('"') else literal
        if not _is_unicode(value):
            return self._plain(literal)  # half of a surrogate pair can only be sent as it is escaped
        hidden = self._plain(value)
        return literal if hidden == value else json.dumps(hidden, ensure_ascii=False)

    def _plain(self, text: str) -> str:
        parts: list[str] = []
        end = 0
        for found in self._finder.find(text):
            if found.what in self._refuse:
                raise GuardRefused(
                    f"the request holds something that looks like a {found.what}; take it out", param="messages"
                )
            parts += [text[end : found.start], self._placeholder(text[found.start : found.end], found.what)]
            end = found.end
        return "".join([*parts, text[end:]]) if parts else text

    def _placeholder(self, value: str, what: str) -> str:
        if value not in self._by_value:
            self.counts[what] += 1
            self._numbers[what] += 1
            while (name := f"[{what.upper()}_{self._numbers[what]}]") in self._taken:
                self._numbers[what] += 1
            self._by_value[value] = name
        return self._by_value[value]

    def forbid(self, text: str) -> None:
        """Raises GuardRefused for anything that is found in a text in which nothing can be replaced."""
        if self.text(text) != text:
            raise GuardRefused(
                "the request holds personal data or a secret where it cannot be replaced, such as in a document or a "
                "search result; send that as text, or take it out",
                param="messages",
            )

    def message(self, message: Message) -> Message:
        """A message with placeholders. A model's earlier reasoning is signed by its vendor and stays as it is."""
        content = message.content
        if isinstance(content, str):
            content = self.text(content)
        elif content is not None:
            content = tuple(map(self._part, content))
        calls = message.tool_calls and tuple(self._call(call) for call in message.tool_calls)
        return replace(message, content=content, tool_calls=calls)

    def _part(self, part: Part) -> Part:
        if isinstance(part, TextPart):
            return replace(part, text=self.text(part.text))
        return replace(part, refusal=self.text(part.refusal)) if isinstance(part, RefusalPart) else part

    def _call(self, call: ToolCall) -> ToolCall:
        return replace(call, function=replace(call.function, arguments=self.text(call.function.arguments)))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_json(text: str) -> bool:
    try:
        json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return False
    return True


class Redact:
    """See Guard; keeps nothing between requests."""

    def __init__(self, settings: RedactSettings) -> None:
        self._settings = settings
        self._finder = Finder(settings.what, settings.patterns)

    async def before(self, asked: Guarded) -> ChatRequest | None:
        """The request with placeholders; None where there is nothing to hide."""
        hidden = _Hidden(self._finder, self._settings.refuse, asked.raw.decode("utf-8", "replace"))
        messages = tuple(hidden.message(message) for message in asked.request.messages)
        for text in elsewhere(asked.raw):
            hidden.forbid(text)
        if not hidden.counts:
            return None
        asked.notes["values"] = hidden.values
        asked.record["redacted"] = ", ".join(f"{what}: {count}" for what, count in sorted(hidden.counts.items()))
        asked.headers["redacted"] = str(hidden.counts.total())
        return replace(asked.request, messages=messages)

    async def after(self, asked: Guarded, chunks: AsyncIterator[Chunk]) -> AsyncIterator[Chunk]:
        """The answer with the originals. Reasoning keeps its placeholders, since its vendor may sign it."""
        values: Mapping[str, str] = asked.notes.get("values", {})
        if not values or not self._settings.restore:
            async for chunk in chunks:
                yield chunk
            return
        wanted = asked.request.response_format
        restored = _Restored(values, in_json=wanted is not None and wanted.type != "text")
        async for chunk in chunks:
            found = restored.chunk(chunk)
            if found is not None:
                yield found
        for chunk in restored.rest():
            yield chunk


class _Restored:
    """The texts of one answer: what each choice says, and the arguments of each of its tool calls."""

    def __init__(self, values: Mapping[str, str], *, in_json: bool) -> None:
        self._values = values
        self._in_json = in_json
        self._texts: dict[int, Restorer] = {}
        self._arguments: dict[tuple[int, int], Restorer] = {}

    def chunk(self, chunk: Chunk) -> Chunk | None:
        """The chunk as it goes on; None when all of it has to wait."""
        text = self._text(chunk)
        calls = tuple(replace(call, arguments=self._argument(chunk.index, call)) for call in chunk.tool_calls)
        if chunk.finish_reason is not None:
            text += self._texts[chunk.index].rest() if chunk.index in self._texts else ""
            calls = self._ended(chunk.index, calls)
        if text == chunk.text and calls == chunk.tool_calls:
            return chunk
        is_empty = not (text or calls or chunk.reasoning or chunk.finish_reason or chunk.usage or chunk.dropped)
        return None if is_empty else replace(chunk, text=text, tool_calls=calls)

    def rest(self) -> list[Chunk]:
        """What a stream that ended without a reason left."""
        kept = [Chunk(index=index, text=text.rest()) for index, text in self._texts.items()]
        kept += [Chunk(index=index, tool_calls=self._ended(index, ())) for index, _ in self._arguments]
        return [chunk for chunk in kept if chunk.text or chunk.tool_calls]

    def _text(self, chunk: Chunk) -> str:
        if not chunk.text:
            return ""
        return self._texts.setdefault(chunk.index, Restorer(self._values, in_json=self._in_json)).feed(chunk.text)

    def _argument(self, index: int, call: ToolCallDelta) -> str:
        if not call.arguments:
            return ""
        restorer = self._arguments.setdefault((index, call.index), Restorer(self._values, in_json=True))
        return restorer.feed(call.arguments)

    def _ended(self, index: int, calls: tuple[ToolCallDelta, ...]) -> tuple[ToolCallDelta, ...]:
        """The pieces of a choice's tool calls with what was kept of their arguments."""
        for (choice, place), arguments in self._arguments.items():
            rest = arguments.rest() if choice == index else ""
            if rest:
                calls = (*calls, ToolCallDelta(index=place, arguments=rest))
        return calls


@asynccontextmanager
async def open_redact(settings: RedactSettings, context: Context) -> AsyncIterator[Guard]:
    """See Guard."""
    yield Redact(settings)


@hookimpl
def register_guards() -> list[Kind[Guard]]:
    """Offers the kind `redact`."""
    return [Kind("redact", RedactSettings, open_redact)]
