"""A request to the Responses API in canonical form."""

import re
from collections.abc import Iterator

import msgspec

from muxer.errors import InvalidMessages, InvalidModel, InvalidRequest, InvalidTools, Unsupported
from muxer.inbound import Inbound
from muxer.types import AllowedTools, ChatRequest, FunctionSpec, NamedFunction, ResponseFormat, Tool, ToolChoice
from muxer.wire.bodies import decoded
from muxer.wire.openai_chat import decode_fields
from muxer.wire.responses_inbound.body import Choice, ResponsesBody
from muxer.wire.responses_inbound.conversation import messages

API = "openai.responses"
MAX_METADATA = 16
MAX_METADATA_VALUE = 512

_decode = msgspec.json.Decoder(ResponsesBody).decode
_KNOWN = frozenset(ResponsesBody.__struct_fields__)
_BY_FIELD: dict[str, type[InvalidRequest]] = {
    "input": InvalidMessages,
    "model": InvalidModel,
    "tools": InvalidTools,
}
# https://developers.openai.com/api/reference/resources/responses/methods/create
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "top_logprobs": (0, 20),
    "max_output_tokens": (1, 10_000_000),
}
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_LOGPROBS = "message.output_text.logprobs"
_STATEFUL = {
    "background": "an answer is given while its caller waits, or not at all",
    "previous_response_id": "nothing is kept here: send the earlier items in `input`",
    "conversation": "nothing is kept here: send the earlier items in `input`",
    "prompt": "templates are kept at OpenAI: send their text in `instructions` or `input`",
}


def read(body: bytes) -> Inbound:
    """The request and what it says. Raises a subclass of InvalidRequest that names the field."""
    found = decoded(_decode, body, _BY_FIELD)
    fields = decoded(decode_fields, body, _BY_FIELD)
    _refuse_state({name for name, value in fields.items() if bytes(value) not in (b"null", b"false")})
    _check(found)
    others = {name for name, value in fields.items() if name not in _KNOWN and bytes(value) != b"null"}
    wants_logprobs = bool(found.top_logprobs) or _LOGPROBS in (found.include or ())
    request = ChatRequest(
        messages=tuple(messages(found.input or "", found.instructions)),
        model=found.model,
        stream=bool(found.stream),
        max_completion_tokens=found.max_output_tokens,
        temperature=found.temperature,
        top_p=found.top_p,
        logprobs=True if wants_logprobs else None,
        top_logprobs=found.top_logprobs if wants_logprobs else None,
        tools=tuple(_tools(found)) or None,
        tool_choice=_choice(found),
        parallel_tool_calls=found.parallel_tool_calls if found.tools else None,
        response_format=_format(found),
        reasoning_effort=found.reasoning.effort if found.reasoning else None,
        user=found.user or found.safety_identifier,
        service_tier=found.service_tier,
    )
    return Inbound(api=API, raw=body, request=request, untranslated=tuple(_untranslated(found, others)))


def _refuse_state(asked: set[str]) -> None:
    for name, why in _STATEFUL.items():
        if name in asked:
            raise Unsupported(f"{name}: {why}", param=name)


def _check(found: ResponsesBody) -> None:
    if not found.input:
        raise InvalidMessages("input: must be a text, or a list of at least one item", param="input")
    if found.model is not None and not 0 < len(found.model) <= 256:
        raise InvalidModel("model: must be a name of 1 to 256 characters, or be left out for `auto`", param="model")
    for name, (least, most) in _RANGES.items():
        value = getattr(found, name)
        if value is not None and not least <= value <= most:
            raise InvalidRequest(f"{name}: must be from {least} to {most}", param=name)
    metadata = found.metadata or {}
    if len(metadata) > MAX_METADATA or any(len(value) > MAX_METADATA_VALUE for value in metadata.values()):
        message = f"metadata: at most {MAX_METADATA} values of {MAX_METADATA_VALUE} characters"
        raise InvalidRequest(message, param="metadata")


def _tools(found: ResponsesBody) -> Iterator[Tool]:
    for index, tool in enumerate(found.tools or ()):
        param = f"tools[{index}]"
        if tool.type != "function":
            raise Unsupported(f"{param}.type: only function tools are offered to every model", param=f"{param}.type")
        if not _TOOL_NAME.fullmatch(tool.name):
            raise InvalidTools(f"{param}.name: must be 1 to 64 letters, digits, _ or -", param=f"{param}.name")
        yield Tool("function", FunctionSpec(tool.name, tool.description, tool.parameters, tool.strict))


def _choice(found: ResponsesBody) -> str | ToolChoice | None:
    choice = found.tool_choice
    if choice is None or isinstance(choice, str):
        return choice if found.tools else None
    if choice.type == "allowed_tools":
        return ToolChoice(choice.type, allowed_tools=AllowedTools(choice.mode, tuple(map(_named, choice.tools))))
    return _named(choice)


def _named(choice: Choice) -> ToolChoice:
    if choice.type != "function" or not choice.name:
        raise Unsupported("tool_choice: only a function, by its name, can be insisted on", param="tool_choice")
    return ToolChoice("function", NamedFunction(choice.name))


def _format(found: ResponsesBody) -> ResponseFormat | None:
    format = found.text.format if found.text else None
    if format is None or format.type == "text":
        return None
    if format.type == "json_object":
        return ResponseFormat("json_object")
    if format.schema is None:
        raise InvalidRequest("text.format.schema: a json_schema has one", param="text.format.schema")
    said = {"description": format.description, "strict": format.strict}
    schema = {"name": format.name or "answer", "schema": format.schema}
    return ResponseFormat("json_schema", schema | {name: value for name, value in said.items() if value is not None})


def _untranslated(found: ResponsesBody, others: set[str]) -> Iterator[str]:
    """Fields with no canonical place. A name goes into a response header, so only what looks like a field counts."""
    if found.truncation == "auto":
        yield "truncation"
    if found.text and found.text.verbosity:
        yield "text.verbosity"
    yield from sorted(filter(_FIELD_NAME.fullmatch, others))
