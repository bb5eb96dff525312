"""Offline answers, for trying everything else with no key and no network: the same request gets the same answer."""

import hashlib
import math
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager

import msgspec
from msgspec import Struct

from muxer import (
    Answer,
    Call,
    ChatRequest,
    Chunk,
    Context,
    EmbeddingRequest,
    Kind,
    Provider,
    Tool,
    ToolCallDelta,
    ToolChoice,
    Usage,
    hookimpl,
)
from muxer.wire.allowed import narrowed
from muxer.wire.openai_embeddings import write_answer

PIECE_WORDS = 3
QUOTED_WORDS = 12
BYTES_PER_TOKEN = 4
DIMENSIONS, MAX_DIMENSIONS = 16, 4_096
_MAX_DEPTH = 8
_WORDS = re.compile(r"\s*\S+|\s+\Z")
_LETTERS = re.compile(r"\w+")

# What a prompt with one of these words gets; the first line that fits.
_REPLIES: tuple[tuple[frozenset[str], str], ...] = (
    (
        frozenset({"code", "function", "python", "javascript", "java", "rust", "sql", "bug", "regex", "def", "class"}),
        "A real model would write the code here and explain how it works, where it ends and how to test it.",
    ),
    (
        frozenset({"translate", "translation", "translated"}),
        "A real model would give the translation here and say what does not carry over.",
    ),
    (
        frozenset({"summarize", "summarise", "summary", "shorten", "tldr"}),
        "A real model would give the main points here in a few lines.",
    ),
    (
        frozenset({"calculate", "solve", "prove", "equation", "integral", "probability"}),
        "A real model would work this out here step by step and end with the result.",
    ),
    (
        frozenset({"why", "how", "explain", "compare", "analyze", "analyse", "evaluate", "design"}),
        "A real model would weigh the reasons here one by one and come to a conclusion.",
    ),
    (
        frozenset({"write", "story", "poem", "essay", "email", "letter", "tweet"}),
        "A real model would write the text here in the tone you asked for.",
    ),
    (frozenset({"hello", "hi", "hey", "thanks"}), "Hello! A real model would ask here how it can help."),
)
_OTHERWISE = "A real model would answer here."


class DemoSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """There is nothing to set."""


class _Reply(Struct, frozen=True):
    """One answer as it will be streamed; `function` is the tool it calls instead, `text` then its arguments."""

    pieces: tuple[str, ...]
    function: str | None
    finish_reason: str
    tokens: int


class Demo:
    """Answers at once, within the call's output cap, and reports a usage: a token is four bytes, rounded up."""

    async def astreaming(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """The answer in pieces of a few words, each of `n` after the other."""
        reply = _reply(call)
        choices = call.request.n or 1
        for index in range(choices):
            for chunk in _chunks(reply, call, index):
                yield chunk
        yield Chunk(usage=Usage(input_tokens=_input_tokens(call.request), output_tokens=choices * reply.tokens))

    async def aembedding(self, call: Call) -> Answer:
        """Vectors of unit length that depend on the input alone: equal inputs are equal, others far apart."""
        request = call.request
        assert isinstance(request, EmbeddingRequest), "a call for vectors has inputs"
        vectors = [_vector(one, request.dimensions or DIMENSIONS) for one in request.inputs]
        tokens = sum(_tokens(one) if isinstance(one, str) else len(one) for one in request.inputs)
        return write_answer(vectors, Usage(input_tokens=tokens), call)


def _vector(one: object, dimensions: int) -> list[float]:
    """Random numbers whose seed is the input."""
    drawn = random.Random(repr(one))  # noqa: S311  # it only has to look like a vector
    numbers = [drawn.gauss(0, 1) for _ in range(min(dimensions, MAX_DIMENSIONS))]
    length = math.hypot(*numbers)
    return [round(number / length, 6) for number in numbers]


def _chunks(reply: _Reply, call: Call, index: int) -> Iterator[Chunk]:
    if reply.function is None:
        yield from (Chunk(index=index, text=piece) for piece in reply.pieces)
    else:
        digest = hashlib.sha256(f"{call.request.question}\n{index}".encode()).hexdigest()
        opening = ToolCallDelta(index=0, id=f"call_{digest[:24]}", name=reply.function)
        deltas = (opening, *(ToolCallDelta(index=0, arguments=piece) for piece in reply.pieces))
        yield from (Chunk(index=index, tool_calls=(delta,)) for delta in deltas)
    yield Chunk(index=index, finish_reason=reply.finish_reason)


def _reply(call: Call) -> _Reply:
    tool = _demanded(call.request)
    text = _text(call) if tool is None else _json(_example(_parameters(tool)))
    cap = call.request.caller_cap if call.output_cap is None else call.output_cap
    words = _WORDS.findall(text)
    kept = words if cap is None else words[:cap]
    said = "".join(kept)
    # A word is at least one token by any count, so a cap in words is kept; a long word counts as the cap allows.
    tokens = _tokens(said) if cap is None else min(cap, _tokens(said))
    pieces = tuple("".join(kept[at : at + PIECE_WORDS]) for at in range(0, len(kept), PIECE_WORDS))
    function = tool.function.name if tool is not None and tool.function is not None else None
    finished = "stop" if function is None else "tool_calls"
    return _Reply(pieces, function, "length" if len(kept) < len(words) else finished, tokens)


def _text(call: Call) -> str:
    form = call.request.response_format
    said = f"This is a demo answer from {call.model}, made up without a model. {_sentence(call.request.question)}"
    if form is None or form.type == "text":
        return said
    schema = (form.json_schema or {}).get("schema")
    return _json({"answer": said} if schema is None else _example(schema))


def _sentence(question: str) -> str:
    words = _LETTERS.findall(question[:10_000].casefold())
    reply = next((text for keys, text in _REPLIES if not keys.isdisjoint(words)), _OTHERWISE)
    quoted = " ".join(question[:1_000].split()[:QUOTED_WORDS])
    return f"{reply} You asked: “{quoted}”" if quoted else reply


def _demanded(request: ChatRequest) -> Tool | None:
    """The function the caller insists on: the one named, or the first where any will do."""
    request = narrowed(request)
    functions = [tool for tool in request.tools or () if tool.function is not None]
    choice = request.tool_choice
    if isinstance(choice, ToolChoice) and choice.function is not None:
        name = choice.function.name
        return next((tool for tool in functions if tool.function and tool.function.name == name), None)
    return functions[0] if functions and choice == "required" else None


def _parameters(tool: Tool) -> object:
    return (tool.function.parameters if tool.function else None) or {"type": "object"}


def _example(schema: object, depth: int = 0) -> object:
    """The least value of a JSON schema's type. References and bounds are not looked at: this is a demo."""
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return None
    options = schema.get("enum") or schema.get("anyOf") or schema.get("oneOf")
    if isinstance(options, list):
        return options[0] if "enum" in schema else _example(options[0], depth + 1)
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind != "object":
        return {"string": "demo", "integer": 0, "number": 0, "boolean": False, "array": []}.get(str(kind))
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict) or not isinstance(required, list):
        return {}
    return {name: _example(properties.get(name), depth + 1) for name in required if isinstance(name, str)}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _tokens(text: str) -> int:
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def _input_tokens(request: ChatRequest) -> int:
    return sum(_tokens(message.text) for message in request.messages)


@asynccontextmanager
async def open_demo(settings: DemoSettings, context: Context) -> AsyncIterator[Provider]:
    """A provider with nothing to connect."""
    yield Demo()


@hookimpl
def register_providers() -> list[Kind[Provider]]:
    """Offers the kind `demo`."""
    return [Kind("demo", DemoSettings, open_demo)]
