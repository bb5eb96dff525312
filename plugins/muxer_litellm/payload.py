"""A record as LiteLLM hands it to its loggers: keyword arguments with a `standard_logging_object`, without prompts."""

from datetime import datetime
from typing import Any

from muxer import Record
from muxer_litellm.library import Library

NANOS_PER_USD = 1_000_000_000

# Fields of the payload that nothing here knows: prompts and answers are not kept, the rest are LiteLLM's own matters.
_NOT_KEPT = dict.fromkeys((
    "messages", "response", "requester_ip_address", "user_agent", "cache_key", "cost_breakdown",
    "response_cost_failure_debug_info", "guardrail_information", "standard_built_in_tools_params",
    "autorouter_savings", "autorouter_savings_estimate", "autorouter_baseline_observation",
))  # fmt: skip


def event(record: Record, library: Library) -> dict[str, Any]:
    """The first argument of a logger's methods."""
    begun, ended = times(record)
    standard = _standard(record)
    return {
        "litellm_call_id": record.id,
        "call_type": "acompletion",
        "model": _upstream(record),
        "messages": None,
        "stream": record.needs.stream,
        "user": record.end_user or None,
        "custom_llm_provider": record.provider,
        "optional_params": {"stream": record.needs.stream},
        "litellm_params": {"metadata": _metadata(record), "api_base": ""},
        "start_time": begun,
        "end_time": ended,
        "completion_start_time": datetime.fromtimestamp(standard["completionStartTime"]),
        "api_call_start_time": begun,
        "response_cost": standard["response_cost"],
        "cache_hit": False,
        "exception": _exception(record, library),
        "traceback_exception": None,
        "log_event_type": "successful_api_call" if is_success(record) else "failed_api_call",
        "standard_logging_object": standard,
    }


def response(record: Record, library: Library) -> Any:
    """The second argument: an answer with its usage and without its text, which is not kept; None for a failure."""
    if not is_success(record):
        return None
    usage = record.usage
    litellm = library.litellm
    return litellm.ModelResponse(
        id=record.id,
        created=int(record.at),
        model=_upstream(record),
        choices=[],
        usage=litellm.Usage(
            prompt_tokens=usage.input_tokens,
            completion_tokens=usage.output_tokens,
            total_tokens=usage.input_tokens + usage.output_tokens,
            prompt_tokens_details={
                "cached_tokens": usage.cached_input_tokens,
                "cache_creation_tokens": usage.cache_write_tokens,
            },
            completion_tokens_details={"reasoning_tokens": usage.reasoning_tokens},
        ),
    )


def is_success(record: Record) -> bool:
    """Whether it is a success event: the caller got an answer."""
    return record.state == "done"


def times(record: Record) -> tuple[datetime, datetime]:
    """Begin and end in local time without a zone, as LiteLLM's loggers expect them."""
    return datetime.fromtimestamp(record.at), datetime.fromtimestamp(record.at + record.ms / 1000)


def _upstream(record: Record) -> str:
    return record.answered.upstream if record.answered else record.model


def _standard(record: Record) -> dict[str, Any]:
    usage = record.usage
    begun, ended = record.at, record.at + record.ms / 1000
    first_byte = record.at + record.first_byte_ms / 1000 if record.first_byte_ms else ended
    cost = record.cost_nanos / NANOS_PER_USD
    status = "success" if is_success(record) else "failure"
    return {
        **_NOT_KEPT,
        "id": record.id,
        "trace_id": record.id,
        "session_id": record.conversation,
        "litellm_call_id": record.id,
        "call_type": "acompletion",
        "stream": record.needs.stream,
        "response_cost": cost,
        "status": status,
        "status_fields": {"llm_api_status": status, "guardrail_status": "not_run"},
        "custom_llm_provider": record.provider,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "startTime": begun,
        "endTime": ended,
        "completionStartTime": first_byte,
        "response_time": record.ms / 1000,
        "model_map_information": {"model_map_key": _upstream(record), "model_map_value": None},
        "model": _upstream(record),
        "model_id": record.model,
        "model_group": record.requested_model or record.model,
        "api_base": "",
        "metadata": _metadata(record),
        "cache_hit": False,
        "saved_cache_cost": 0.0,
        "request_tags": list(record.tags),
        "end_user": record.end_user or None,
        "error_str": record.error or None,
        "error_information": _error_information(record),
        "model_parameters": {"stream": record.needs.stream},
        "hidden_params": {
            "model_id": record.model,
            "cache_key": None,
            "api_base": None,
            "response_cost": cost,
            "litellm_overhead_time_ms": None,
            "additional_headers": None,
            "batch_models": None,
            "litellm_model_name": _upstream(record),
            "usage_object": _usage_object(record),
        },
    }


def _usage_object(record: Record) -> dict[str, Any]:
    usage = record.usage
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_creation_tokens": usage.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _metadata(record: Record) -> dict[str, Any]:
    return {
        "user_api_key_hash": None,
        "user_api_key_alias": record.key,
        "user_api_key_user_id": record.user,
        "user_api_key_team_id": record.team or None,
        "user_api_key_team_alias": record.team or None,
        "user_api_key_end_user_id": record.end_user or None,
        "user_api_key_org_id": None,
        "user_api_key_user_email": None,
        "user_api_key_request_route": record.api,
        "team_id": record.team or None,
        "team_alias": record.team or None,
        "requester_ip_address": None,
        "user_agent": None,
        "requester_metadata": dict(record.notes),
        "spend_logs_metadata": {"route": record.route, "reason": record.reason, "signals": dict(record.signals)},
        "usage_object": _usage_object(record),
        "model_group": record.requested_model or record.model,
        "tags": list(record.tags),
    }


def _exception(record: Record, library: Library) -> Any:
    """The failure as one of LiteLLM's exceptions, by the status the caller got; None for a success."""
    if is_success(record):
        return None
    return library.litellm.exceptions.APIError(
        status_code=record.status, message=record.error, llm_provider=record.provider, model=_upstream(record)
    )


def _error_information(record: Record) -> dict[str, Any] | None:
    if is_success(record):
        return None
    return {
        "error_code": str(record.status),
        "error_class": record.error,
        "llm_provider": record.provider,
        "traceback": "",
        "error_message": record.error,
    }
