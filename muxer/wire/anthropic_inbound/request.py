"""A request to the Messages API in canonical form."""

import re
from collections.abc import Collection, Iterator

import msgspec

from muxer.errors import InvalidMessages, InvalidModel, InvalidRequest, InvalidTools
from muxer.inbound import Inbound
from muxer.types import ChatRequest, FunctionSpec, NamedFunction, ResponseFormat, Tool, ToolChoice
from muxer.wire.anthropic_inbound.body import MessagesBody, Thinking, ToolSpec
from muxer.wire.anthropic_inbound.conversation import Conversation
from muxer.wire.anthropic_messages import API
from muxer.wire.bodies import decoded
from muxer.wire.openai_chat import decode_fields

_decode = msgspec.json.Decoder(MessagesBody).decode
_KNOWN = frozenset(MessagesBody.__struct_fields__)
_BY_FIELD: dict[str, type[InvalidRequest]] = {
    "messages": InvalidMessages,
    "system": InvalidMessages,
    "model": InvalidModel,
    "tools": InvalidTools,
}
# https://platform.claude.com/docs/en/api/messages; no max_tokens is 10 million yet.
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 1),
    "top_p": (0, 1),
    "top_k": (0, 1_000_000),
    "max_tokens": (0, 10_000_000),
}
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# Fields beside those we read that change no price.
_FREE = frozenset(("diagnostics", "user_profile_id"))
# Claude models that are told a budget think about this hard; what others make of a level is theirs.
_EFFORTS = ((2_048, "low"), (8_192, "medium"))
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def read(body: bytes, *, needs_cap: bool = True) -> Inbound:
    """The request and what it says. Raises a subclass of InvalidRequest that names the field.

    `max_tokens` may be missing without `needs_cap`: from a request that only has its tokens counted.
    """
    found = decoded(_decode, body, _BY_FIELD)
    _check(found, needs_cap=needs_cap)
    fields = decoded(decode_fields, body, _BY_FIELD)
    others = {name for name, value in fields.items() if name not in _KNOWN and bytes(value) != b"null"}
    conversation = Conversation(found)
    request = ChatRequest(
        messages=tuple(conversation.messages()),
        model=found.model,
        stream=bool(found.stream),
        max_tokens=found.max_tokens,
        temperature=found.temperature,
        top_p=found.top_p,
        stop=found.stop_sequences or None,
        tools=tuple(map(_tool, found.tools)) if found.tools else None,
        tool_choice=_choice(found),
        parallel_tool_calls=False if found.tool_choice and found.tool_choice.disable_parallel_tool_use else None,
        response_format=_format(found),
        reasoning_effort=_effort(found),
        user=found.metadata.user_id if found.metadata else None,
        # Priority capacity is bought ahead, so Anthropic's `auto` costs no more; `default` is OpenAI's word.
        service_tier="default" if found.service_tier == "standard_only" else None,
    )
    return Inbound(
        api=API,
        raw=body,
        request=request,
        untranslated=tuple(_untranslated(found, others)),
        is_priced=conversation.is_priced and _is_priced(found, others),
    )


def _check(found: MessagesBody, *, needs_cap: bool) -> None:
    if needs_cap and found.max_tokens is None:
        raise InvalidRequest("max_tokens: Field required", param="max_tokens")
    if not found.messages:
        raise InvalidMessages("messages: at least one message is required", param="messages")
    if found.model is not None and not 0 < len(found.model) <= 256:
        raise InvalidModel("model: must be a name of 1 to 256 characters, or be left out for `auto`", param="model")
    for name, (least, most) in _RANGES.items():
        value = getattr(found, name)
        if value is not None and not least <= value <= most:
            raise InvalidRequest(f"{name}: must be from {least} to {most}", param=name)
    for index, tool in enumerate(found.tools or ()):
        if _is_callers(tool) and not _TOOL_NAME.fullmatch(tool.name):
            param = f"tools[{index}].name"
            raise InvalidTools(f"{param}: must be 1 to 128 letters, digits, _ or -", param=param)
        if _is_callers(tool) and tool.input_schema is None:
            param = f"tools[{index}].input_schema"
            raise InvalidTools(f"{param}: Field required", param=param)
    if found.tool_choice and found.tool_choice.type == "tool" and not found.tool_choice.name:
        raise InvalidRequest("tool_choice.name: Field required", param="tool_choice.name")


def _is_callers(tool: ToolSpec) -> bool:
    return tool.type in (None, "custom")


def _tool(tool: ToolSpec) -> Tool:
    """A tool; one of Anthropic's keeps its type alone, which no translation takes and no bound covers (S3)."""
    if not _is_callers(tool):
        return Tool(tool.type or "")
    return Tool("function", FunctionSpec(tool.name, tool.description, tool.input_schema, tool.strict))


def _choice(found: MessagesBody) -> str | ToolChoice | None:
    choice = found.tool_choice
    if choice is None:
        return None
    if choice.type == "tool":
        return ToolChoice("function", NamedFunction(choice.name or ""))
    return _CHOICES[choice.type]


def _format(found: MessagesBody) -> ResponseFormat | None:
    format = found.output_config.format if found.output_config else None
    if format is None:
        return None
    return ResponseFormat("json_schema", {"name": "answer", "schema": format.schema})


def _effort(found: MessagesBody) -> str | None:
    asked = found.output_config.effort if found.output_config else None
    return asked or (_level(found.thinking) if found.thinking else None)


def _level(thinking: Thinking) -> str | None:
    """The level of a budget of tokens. Who thinks adaptively, or not at all, is told none: the model decides."""
    if thinking.type != "enabled":
        return None
    budget = thinking.budget_tokens or 0
    return next((level for most, level in _EFFORTS if budget <= most), "high")


def _untranslated(found: MessagesBody, others: Collection[str]) -> Iterator[str]:
    """Fields with no canonical place. A name goes into a response header, so only what looks like a field counts."""
    yield from (name for name in ("top_k", "inference_geo", "context_management") if getattr(found, name) is not None)
    if found.speed not in (None, "standard"):
        yield "speed"
    yield from sorted(filter(_FIELD_NAME.fullmatch, others))


def _is_priced(found: MessagesBody, others: Collection[str]) -> bool:
    """Whether nothing but the tokens themselves is paid for, at the prices of the table."""
    edits = found.context_management.edits if found.context_management else ()
    return (
        set(others) <= _FREE
        and found.speed in (None, "standard")
        and found.inference_geo in (None, "global")  # another costs a tenth more
        and all(edit.type.startswith("clear_") for edit in edits)  # the others ask the model once more
    )
