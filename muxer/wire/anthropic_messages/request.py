"""A canonical request as the body of /v1/messages, with the names of the fields that had to be left out."""

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from muxer.errors import Unsupported
from muxer.types import Call, ChatRequest, ToolChoice
from muxer.wire.allowed import narrowed
from muxer.wire.anthropic_messages import blocks, schema, thoughts
from muxer.wire.anthropic_messages.conversation import system_and_turns
from muxer.wire.leftovers import left_out, other_fields

MAX_USER_ID = 256
CACHE_FIELD = "cache_control"
_CACHINGS = ({"type": "ephemeral"}, {"type": "ephemeral", "ttl": "5m"})

_encode = msgspec.json.Encoder().encode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode

_EFFORTS = frozenset(("low", "medium", "high", "xhigh", "max"))
_NEAREST_EFFORTS = {"none": "low", "minimal": "low"}
_TAKEN = frozenset((
    "messages", "model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "temperature", "top_p",
    "stop", "tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "user",
    "service_tier",
))  # fmt: skip
_IDLE = {"logprobs": False, "top_logprobs": 0, "presence_penalty": 0, "frequency_penalty": 0}
_SAMPLING = ("temperature", "top_p", "top_k")


def encode_request(
    call: Call,
    *,
    stream: bool,
    max_tokens_default: int,
    takes_effort: bool = True,
    takes_forced_tools: bool = True,
    caches: bool = False,
) -> tuple[bytes, tuple[str, ...]]:
    """The body to send, and the names of fields that were left out or clamped.

    A call in Anthropic's own format keeps the caller's bytes but for what must change. `max_tokens_default` is
    sent when nobody set a cap, since Anthropic requires one; the `takes_` arguments say what the model takes; with
    `caches` the prompt is cached also where the caller does not ask for it (`cache_control`). Raises Unsupported for
    what Anthropic has no way to do, and other InvalidRequests.
    """
    if call.api == blocks.API:
        return _own_format(call, stream, max_tokens_default)
    request = narrowed(call.request)
    if (request.n or 1) > 1:
        raise Unsupported("Anthropic gives one answer per request; leave out n, or send n requests", param="n")
    others = other_fields(call)
    dropped = [*call.untranslated, *left_out(request, _TAKEN, _IDLE), *(name for name in others if name != CACHE_FIELD)]
    caching = _caching(others, caches, dropped)
    asks: list[str] = []
    system, turns = system_and_turns(request.messages, call.model)
    tools, choice = _tools(request, turns, takes_forced_tools, asks, dropped)
    format = _format(request, asks, dropped)
    level = _effort(request.reasoning_effort, takes_effort, dropped)
    temperature, top_p = _sampling(call, dropped)
    caps = (call.output_cap, request.caller_cap, max_tokens_default)
    body = blocks.Body(
        model=call.model,
        max_tokens=next(cap for cap in caps if cap is not None),
        messages=turns,
        system="\n\n".join([*system, *asks]),
        tools=tools,
        tool_choice=choice,
        stop_sequences=_stops(request.stop, dropped),
        temperature=temperature,
        top_p=top_p,
        output_config=blocks.OutputConfig(level, format) if level or format else None,
        metadata=blocks.Metadata(request.user[:MAX_USER_ID]) if request.user else None,
        cache_control=caching,
        service_tier=_tier(request.service_tier, dropped),
        stream=stream,
    )
    return _encode(body), tuple(dropped)


def _own_format(call: Call, stream: bool, max_tokens_default: int) -> tuple[bytes, tuple[str, ...]]:
    fields = _decode_fields(call.raw)
    changes: dict[str, object] = {**call.changes, "model": call.model, "stream": stream}
    if call.output_cap is not None:
        changes["max_tokens"] = call.output_cap
    elif "max_tokens" not in fields:
        changes.setdefault("max_tokens", max_tokens_default)
    fields.update((name, Raw(_encode(value))) for name, value in changes.items())
    if thoughts.has_others(call.request):
        fields["messages"] = thoughts.without_others(fields["messages"])
    unwanted = () if call.takes_sampling else _SAMPLING
    dropped = tuple(name for name in unwanted if fields.pop(name, None) is not None)
    return _encode(fields), dropped


def _caching(others: Mapping[str, Raw], caches: bool, dropped: list[str]) -> blocks.CacheControl | None:
    asked = others.get(CACHE_FIELD)
    if asked is not None and msgspec.json.decode(asked) not in _CACHINGS:
        dropped.append(CACHE_FIELD)
        asked = None
    return blocks.CacheControl() if caches or asked is not None else None


def _tier(asked: str | None, dropped: list[str]) -> str | None:
    """OpenAI's `default` is the standard capacity; Anthropic's `auto`, its default, may take what was bought ahead."""
    if asked == "default":
        return "standard_only"
    if asked not in (None, "auto"):
        dropped.append("service_tier")
    return None


def _sampling(call: Call, dropped: list[str]) -> tuple[float | None, float | None]:
    temperature, top_p = call.request.temperature, call.request.top_p
    if not call.takes_sampling:
        dropped += [name for name in _SAMPLING if getattr(call.request, name, None) is not None]
        return None, None
    if temperature is None:
        return None, top_p
    if top_p is not None:
        # Models since Claude 4.5 refuse the two together.
        dropped.append("top_p")
    if not 0 <= temperature <= 1:
        dropped.append("temperature")
    return min(1.0, max(0.0, temperature)), None


def _stops(stop: str | tuple[str, ...] | None, dropped: list[str]) -> list[str]:
    asked = (stop,) if isinstance(stop, str) else stop or ()
    # "each stop sequence must contain non-whitespace"
    taken = [sequence for sequence in asked if sequence.strip()]
    if len(taken) < len(asked):
        dropped.append("stop")
    return taken


def _effort(level: str | None, takes_effort: bool, dropped: list[str]) -> str | None:
    """Models since 2026 decide themselves whether to think (adaptive thinking); effort is what steers them."""
    if level is None or (takes_effort and level in _EFFORTS):
        return level
    dropped.append("reasoning_effort")
    return _NEAREST_EFFORTS.get(level) if takes_effort else None


def _format(request: ChatRequest, asks: list[str], dropped: list[str]) -> blocks.JSONFormat | None:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return None
    given = (wanted.json_schema or {}).get("schema")
    if isinstance(given, dict):
        sent, promises_less = schema.accepted(given)
        if promises_less:
            dropped.append("response_format")
        return blocks.JSONFormat(sent)
    dropped.append("response_format")
    asks.append("Answer with one valid JSON object and nothing else: no Markdown fence, no words around it.")
    return None


def _tools(
    request: ChatRequest, turns: list[blocks.Turn], forced: bool, asks: list[str], dropped: list[str]
) -> tuple[list[blocks.ToolSpec], blocks.ToolChoice | None]:
    if not request.tools:
        used = {block.name for turn in turns for block in turn.content if isinstance(block, blocks.ToolUseBlock)}
        # "Requests which include tool_use or tool_result blocks must define tools": those used, and not to be used.
        specs = [blocks.ToolSpec(name, _input_schema(None)) for name in sorted(used)]
        return specs, blocks.ToolChoice("none") if specs else None
    specs = []
    for number, tool in enumerate(request.tools):
        if tool.function is None:
            raise Unsupported(
                f"Anthropic is offered function tools only, not {tool.type[:64]!r}", param=f"tools[{number}].type"
            )
        spec = tool.function
        specs.append(blocks.ToolSpec(spec.name, _input_schema(spec.parameters), spec.description))
    if any(tool.function and tool.function.strict for tool in request.tools):
        # Anthropic's strict tools take few schemas of those OpenAI's take; a refusal would serve nobody.
        dropped.append("tools.strict")
    return specs, _choice(request, forced, asks, dropped)


def _input_schema(parameters: dict[str, object] | None) -> dict[str, object]:
    """Anthropic wants the type said; OpenAI takes it as understood."""
    return {"type": "object", **parameters} if parameters else {"type": "object", "properties": {}}


def _choice(request: ChatRequest, forced: bool, asks: list[str], dropped: list[str]) -> blocks.ToolChoice | None:
    one_at_a_time = request.parallel_tool_calls is False
    kind, name = _kind(request.tool_choice, dropped)
    if kind in ("any", "tool") and not forced:
        dropped.append("tool_choice")
        asks.append(f"Call the tool {name}." if name else "Call one of the tools.")
        kind, name = "auto", None
    if kind == "none":
        return blocks.ToolChoice("none")
    if kind is None and not one_at_a_time:
        return None
    return blocks.ToolChoice(kind or "auto", name, one_at_a_time)


def _kind(choice: str | ToolChoice | None, dropped: list[str]) -> tuple[str | None, str | None]:
    if isinstance(choice, ToolChoice):
        if choice.function:
            return "tool", choice.function.name
    elif choice is None or choice in ("auto", "none"):
        return choice, None
    elif choice == "required":
        return "any", None
    dropped.append("tool_choice")
    return None, None
