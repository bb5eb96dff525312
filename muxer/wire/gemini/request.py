"""A canonical request as the body of generateContent, with the names of the fields that had to be left out."""

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from muxer.errors import Unsupported
from muxer.types import Call, ChatRequest, ToolChoice
from muxer.wire.allowed import narrowed
from muxer.wire.gemini import body, schema
from muxer.wire.gemini.abilities import Abilities
from muxer.wire.gemini.contents import system_and_contents
from muxer.wire.leftovers import left_out, other_fields

MAX_STOPS = 5

_encode = msgspec.json.Encoder().encode

_TAKEN = frozenset((
    "messages", "model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "temperature", "top_p",
    "presence_penalty", "frequency_penalty", "stop", "seed", "tools", "tool_choice", "response_format", "logprobs",
    "top_logprobs", "reasoning_effort",
))  # fmt: skip
_IDLE = {"parallel_tool_calls": True, "service_tier": "auto"}
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
_LEVELS = {"low": "LOW", "medium": "MEDIUM", "high": "HIGH"}
# https://ai.google.dev/gemini-api/docs/openai: what Google's own translation makes of an effort.
_THINKING_TOKENS = {"none": 0, "minimal": 1_024, "low": 1_024, "medium": 8_192, "high": 24_576}
_LEAST_THINKING_TOKENS = 128
# How a schema of parameters says what they are, if not by `properties`.
_OTHER_WAYS = frozenset(("$ref", "allOf", "anyOf", "oneOf", "patternProperties"))


def encode_request(
    call: Call, abilities: Abilities, *, include_thoughts: bool = False
) -> tuple[bytes, tuple[str, ...]]:
    """The body to send, and the names of fields that were left out or made smaller.

    Raises Unsupported for what Gemini has no way to do, and other InvalidRequests.
    """
    request = narrowed(call.request)
    others = other_fields(call)
    dropped = [*call.untranslated, *left_out(request, _TAKEN, _IDLE), *(name for name in others if name != "top_k")]
    system, contents = system_and_contents(request.messages, abilities)
    config = _config(call, others, abilities, include_thoughts, dropped)
    tools, choice = _tools(request, dropped)
    sent = body.Body(
        contents=contents,
        system_instruction=body.Content([body.Part(text=text) for text in system]) if system else None,
        tools=tools,
        tool_config=choice,
        generation_config=None if config == body.GenerationConfig() else config,
    )
    return _encode(sent), tuple(dropped)


def _config(
    call: Call, others: Mapping[str, Raw], abilities: Abilities, include_thoughts: bool, dropped: list[str]
) -> body.GenerationConfig:
    request = call.request
    temperature, top_p, top_k = _sampling(call, others, dropped)
    presence, frequency = _penalties(request, abilities, dropped)
    mime_type, wanted = _format(request, dropped)
    return body.GenerationConfig(
        candidate_count=request.n if (request.n or 1) > 1 else None,
        stop_sequences=_stops(request.stop, dropped),
        max_output_tokens=request.caller_cap if call.output_cap is None else call.output_cap,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        seed=request.seed,
        presence_penalty=presence,
        frequency_penalty=frequency,
        response_logprobs=bool(request.logprobs),
        logprobs=(request.top_logprobs or None) if request.logprobs else None,
        response_mime_type=mime_type,
        response_json_schema=wanted,
        thinking_config=_thinking(request.reasoning_effort, abilities, include_thoughts, dropped),
    )


def _sampling(
    call: Call, others: Mapping[str, Raw], dropped: list[str]
) -> tuple[float | None, float | None, int | None]:
    temperature, top_p = call.request.temperature, call.request.top_p
    top_k = _whole_number(others.get("top_k"))
    if call.takes_sampling:
        if top_k is None and "top_k" in others:
            dropped.append("top_k")
        return temperature, top_p, top_k
    asked = {"temperature": temperature, "top_p": top_p, "top_k": others.get("top_k")}
    dropped += [name for name, value in asked.items() if value is not None]
    return None, None, None


def _whole_number(value: Raw | None) -> int | None:
    try:
        return None if value is None else msgspec.json.decode(value, type=int)
    except msgspec.ValidationError:
        return None


def _penalties(request: ChatRequest, abilities: Abilities, dropped: list[str]) -> tuple[float | None, float | None]:
    if abilities.penalties:
        return request.presence_penalty, request.frequency_penalty
    # A penalty of 0 asks for nothing.
    dropped += [name for name in ("presence_penalty", "frequency_penalty") if getattr(request, name)]
    return None, None


def _stops(stop: str | tuple[str, ...] | None, dropped: list[str]) -> tuple[str, ...]:
    asked = (stop,) if isinstance(stop, str) else stop or ()
    taken = tuple(sequence for sequence in asked if sequence)[:MAX_STOPS]
    if len(taken) < len(asked):
        dropped.append("stop")
    return taken


def _format(request: ChatRequest, dropped: list[str]) -> tuple[str | None, dict[str, object] | None]:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return None, None
    given = (wanted.json_schema or {}).get("schema")
    if not isinstance(given, dict):
        return "application/json", None
    sent, lost = schema.accepted(given, "response_format")
    dropped += lost
    return "application/json", sent


def _thinking(
    effort: str | None, abilities: Abilities, include_thoughts: bool, dropped: list[str]
) -> body.ThinkingConfig | None:
    if abilities.thinking == "none":
        # A model that never thinks does what `none` asks.
        dropped += [] if effort in (None, "none") else ["reasoning_effort"]
        return None
    level = tokens = None
    if effort is not None and abilities.thinking == "level":
        level = _level(effort, abilities, dropped)
    elif effort is not None:
        tokens = _tokens(effort, abilities, dropped)
    if level is None and tokens is None and not include_thoughts:
        return None
    return body.ThinkingConfig(level, tokens, include_thoughts)


def _level(effort: str, abilities: Abilities, dropped: list[str]) -> str | None:
    if effort == "minimal" and abilities.minimal_thinking:
        return "MINIMAL"
    if effort == "xhigh" and abilities.xhigh_thinking:
        return "XHIGH"
    if effort in _LEVELS:
        return _LEVELS[effort]
    dropped.append("reasoning_effort")
    if effort in ("none", "minimal"):
        return "MINIMAL" if abilities.minimal_thinking else "LOW"
    if effort in ("xhigh", "max"):
        return "XHIGH" if abilities.xhigh_thinking else "HIGH"
    return None


def _tokens(effort: str, abilities: Abilities, dropped: list[str]) -> int | None:
    tokens = _THINKING_TOKENS.get("high" if effort in ("xhigh", "max") else effort)
    is_met = effort in _THINKING_TOKENS and (tokens != 0 or abilities.stops_thinking)
    if not is_met:
        dropped.append("reasoning_effort")
    return _LEAST_THINKING_TOKENS if tokens == 0 and not abilities.stops_thinking else tokens


def _tools(request: ChatRequest, dropped: list[str]) -> tuple[tuple[body.Tool, ...], body.ToolConfig | None]:
    if not request.tools:
        return (), None
    offered = []
    lost: dict[str, None] = {}
    for number, tool in enumerate(request.tools):
        spec = tool.function
        if spec is None:
            raise Unsupported(
                f"Gemini is offered function tools only, not {tool.type[:64]!r}", param=f"tools[{number}].type"
            )
        parameters, keywords = _parameters(spec.parameters)
        lost.update(dict.fromkeys(keywords))
        if spec.strict:
            lost["tools.strict"] = None
        offered.append(body.FunctionDeclaration(spec.name, spec.description, parameters))
    dropped += lost
    return (body.Tool(offered),), _choice(request.tool_choice, dropped)


def _parameters(parameters: dict[str, object] | None) -> tuple[dict[str, object] | None, list[str]]:
    """Gemini wants the type said, and nothing at all for a function that takes nothing."""
    if not parameters or not (parameters.get("properties") or parameters.keys() & _OTHER_WAYS):
        return None, []
    return schema.accepted({"type": "object", **parameters}, "tools")


def _choice(choice: str | ToolChoice | None, dropped: list[str]) -> body.ToolConfig | None:
    if choice is None:
        return None
    if isinstance(choice, ToolChoice):
        if choice.function:
            return body.ToolConfig(body.FunctionCallingConfig("ANY", (choice.function.name,)))
    elif choice in _MODES:
        return body.ToolConfig(body.FunctionCallingConfig(_MODES[choice]))
    dropped.append("tool_choice")
    return None
