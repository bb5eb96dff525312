"""A call of ours as the arguments of `litellm.acompletion`: only what a request may say, and what its vendor takes."""

from collections.abc import Collection

import msgspec

from muxer import Call, FilePart, Unsupported, refuse_dropped
from muxer.wire import openai_chat

WHO = "litellm"

# LiteLLM takes its own controls (api_base, mock_response, fallbacks, metadata ...) by the same door as a request's
# fields, so these names pass and no others.
_PASSED = frozenset({
    "messages", "stream", "stream_options", "temperature", "top_p", "n", "stop", "max_tokens", "presence_penalty",
    "frequency_penalty", "logit_bias", "user", "response_format", "seed", "tools", "tool_choice", "functions",
    "function_call", "parallel_tool_calls", "logprobs", "top_logprobs", "reasoning_effort", "verbosity", "thinking",
    "prediction", "service_tier", "safety_identifier", "store", "prompt_cache_key", "web_search_options",
})  # fmt: skip
# LiteLLM sees to these itself, whatever the vendor.
_ALWAYS = frozenset({"messages", "stream", "stream_options"})

_decode = msgspec.json.Decoder().decode


class _File(msgspec.Struct):
    file_data: str = ""


_decode_file = msgspec.json.Decoder(_File).decode


def arguments(call: Call, supported: Collection[str] | None) -> tuple[dict[str, object], tuple[str, ...]]:
    """The arguments a request makes, and the names of its fields that are left out.

    `supported` are the fields the vendor takes, None: nobody knows. Raises Unsupported for what would change the
    meaning or the price of the request if it were left out, ParametersUnsupported in strict mode.
    """
    _refuse_unsupported(call)
    fields, dropped = openai_chat.request_fields(call, cap_field="max_tokens")
    del fields["model"]
    asked: dict[str, object] = {}
    for name, value in fields.items():
        if bytes(value) == b"null":
            continue
        if name not in _PASSED or not _is_taken(name, supported):
            dropped.append(name)
        else:
            asked[name] = _decode(value)
    if "max_tokens" in dropped:
        raise Unsupported(f"{call.model} takes no output cap, and one is set", param="max_tokens")
    if "n" in dropped and (call.request.n or 1) > 1:
        raise Unsupported(f"{call.model} gives one answer a request", param="n")
    refuse_dropped(call, WHO, dropped)
    return asked, tuple(dropped)


def _is_taken(name: str, supported: Collection[str] | None) -> bool:
    return supported is None or name in _ALWAYS or name in supported


def _refuse_unsupported(call: Call) -> None:
    for index, tool in enumerate(call.request.tools or ()):
        if tool.type != "function":
            # LiteLLM would run some of these itself (MCP), or have the vendor charge for what no cap bounds.
            raise Unsupported("only function tools can be offered through LiteLLM", param=f"tools[{index}].type")
    for index, message in enumerate(call.request.messages):
        for part in message.parts:
            if isinstance(part, FilePart) and not _is_inline(part):
                # For some vendors LiteLLM fetches a file by its id or address.
                raise Unsupported("a file must be sent inline, as file_data", param=f"messages[{index}].content")


def _is_inline(part: FilePart) -> bool:
    try:
        return _decode_file(part.file).file_data.startswith("data:")
    except msgspec.ValidationError:
        return False
