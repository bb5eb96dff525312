"""The provider an entry of model_list needs: kind, key, address, headers, and with LiteLLM everything else."""

import re
from collections.abc import Mapping
from decimal import Decimal
from urllib.parse import urlsplit

from muxer.litellm_import import costs
from muxer.litellm_import.draft import Draft, Value, is_no_key, is_secret
from muxer.litellm_import.entries import ADDRESSES, Entry
from muxer.litellm_import.tree import Table, View
from muxer.litellm_import.values import flag, is_reference, number, text
from muxer.litellm_import.vendors import address

_ELSEWHERE = frozenset({
    "model", "custom_llm_provider", "api_key", *ADDRESSES, "extra_headers", "headers", "timeout",
    "rpm", "tpm", "max_parallel_requests", "weight", "order", "max_budget", "budget_duration", "drop_params",
    "litellm_credential_name",
})  # fmt: skip
_GOES_ON = "a request goes on to the next model; the same one is not asked twice"
_OFFLINE = "`muxer serve --demo` answers offline"
_TOGETHER = "tokens are limited together: tokens_per_minute"
_DROPPED = {
    "stream_timeout": "first_byte_timeout_s would hold for answers in one piece too; set it if these are short",
    "max_retries": _GOES_ON,
    "num_retries": _GOES_ON,
    "cooldown_time": "how long a model rests after failures is not configured",
    "tags": "no model has tags; write a route whose `when` asks for the tags of a key",
    "mock_response": _OFFLINE,
    "mock_timeout": _OFFLINE,
    "model_info": "it belongs beside litellm_params",
    "configurable_clientside_auth_params": "a caller never chooses a provider's address or key",
    "use_in_pass_through": "there are no pass-through addresses",
    "region_name": "no model has a region; write a route that names those of one",
    "itpm": _TOGETHER,
    "otpm": _TOGETHER,
}
_REQUEST = "it belongs to a request"
_OUR_PART = "limits, records and caches are ours"
# What the plugin for LiteLLM takes elsewhere or not at all.
_NOT_PARAMS = {
    "max_tokens": "write `defaults.max_tokens`, which is for all models",
    "max_completion_tokens": "write `defaults.max_tokens`, which is for all models",
    "request_timeout": "write `timeout_s` of its provider",
    "fallbacks": "write `fallbacks` of the model",
    "context_window_fallback_dict": "write `fallbacks` of the model",
    **dict.fromkeys(
        ("messages", "stream", "stream_options", "n", "tools", "tool_choice", "functions", "function_call"), _REQUEST
    ),
    **dict.fromkeys(("acompletion", "client", "complete_response", "litellm_logging_obj", "model_list"), _REQUEST),
    **dict.fromkeys(("mock_tool_calls", "mock_delay"), _OFFLINE),
    **dict.fromkeys(("cache", "caching", "callbacks", "success_callback", "failure_callback", "logger_fn"), _OUR_PART),
}
_HEADER = re.compile("[A-Za-z0-9!#$%&'*+.^_|~-]+")


def provider(entry: Entry, handlers: Mapping[str, str], draft: Draft) -> dict[str, Value]:
    """The settings of the provider that serves an entry. Everything in litellm_params but limits and prices is told."""
    vendor, report = entry.model.vendor, draft.report
    settings: dict[str, Value] = {"kind": vendor.kind}
    params: dict[str, Value] = {}
    if vendor.name in handlers:
        settings["handler"] = handlers[vendor.name]
    key = _api_key(entry, draft)
    if key is not None:
        settings["api_key"] = key
    _add_address(entry, settings, draft)
    headers = _headers(entry, draft)
    if headers:
        settings["headers"] = headers
    timeout = entry.params.get("timeout")
    found = number(timeout, report, least=Decimal("0.001")) if timeout is not None else draft.timeout
    if found is not None:
        settings["timeout_s"] = found
        if timeout is not None:
            report.mapped(timeout, "timeout_s of its provider")
    drops = entry.params.get("drop_params")
    if drops is not None and flag(drops, report) is not None:
        report.approximated(drops, "strict_params at the top is for all models")
    _add_rest(entry, params, draft)
    if params:
        settings["params"] = params
    return settings


def _api_key(entry: Entry, draft: Draft) -> str | None:
    view, vendor = entry.params.get("api_key"), entry.model.vendor
    if view is None:
        # LiteLLM itself looks for the variables of the vendors it serves.
        if vendor.variable is None or vendor.kind == "litellm" or _is_own_server(entry):
            return None
        draft.report.variables.setdefault(vendor.variable, f"where LiteLLM takes the key of {vendor.name} from")
        return f"${{{vendor.variable}}}"
    if is_no_key(view):
        draft.report.mapped(view, "no key is sent")
        return None
    reference = draft.secrets.reference(view, f"{entry.name.value}_API_KEY")
    if reference is not None and is_reference(view):
        draft.report.mapped(view, "api_key of its provider")
    return reference


def _is_own_server(entry: Entry) -> bool:
    """Whether an OpenAI-compatible server is not OpenAI: it is not shown OpenAI's key."""
    if entry.model.vendor.name != "openai" or entry.base_url is None:
        return False
    try:
        host = urlsplit(entry.base_url).hostname or ""
    except ValueError:
        return True
    return host != "api.openai.com" and not host.endswith(".api.openai.com")


def _add_address(entry: Entry, settings: dict[str, Value], draft: Draft) -> None:
    vendor, report = entry.model.vendor, draft.report
    given = [entry.params[key] for key in ADDRESSES if key in entry.params]
    for other in given[1:]:
        report.dropped(other, "api_base says it too, and that counts")
    if given:
        found = draft.value(given[0], f"{entry.name.value}_API_BASE")
        settings["base_url"] = address(vendor, str(found))
        report.mapped(given[0], "base_url of its provider")
        if "api_key" not in entry.params and _is_own_server(entry):
            words = "no key is sent there, where LiteLLM sends OPENAI_API_KEY; add api_key if it must"
            report.approximated(given[0], words)
    elif vendor.base_url is not None:
        settings["base_url"] = vendor.base_url
    elif vendor.address_variable is not None:
        settings["base_url"] = f"${{{vendor.address_variable}}}"
        report.variables.setdefault(vendor.address_variable, f"where LiteLLM takes the address of {vendor.name} from")
    version = entry.params.get("api_version")
    if version is not None and vendor.kind == "litellm":
        written = _version(version, entry, draft)
        if written is not None:
            settings["api_version"] = written


def _version(view: View, entry: Entry, draft: Draft) -> str | None:
    if is_secret(view):  # a key in the wrong line is not copied either
        return draft.secrets.reference(view, f"{entry.name.value}_API_VERSION")
    written = text(view, draft.report)
    if written is not None:
        draft.report.mapped(view, "api_version of its provider")
    return written


def _headers(entry: Entry, draft: Draft) -> dict[str, Value]:
    """Headers for every request; the organization is one of OpenAI's."""
    headers: dict[str, Value] = {}
    organization = entry.params.get("organization")
    if organization is not None and entry.model.vendor.kind != "litellm":
        found = draft.value(organization, f"{entry.name.value}_ORGANIZATION")
        _add_header("OpenAI-Organization", found, organization, headers, draft)
    for key in ("extra_headers", "headers"):
        view = entry.params.get(key)
        if view is None:
            continue
        if not isinstance(view.node, Table):
            draft.report.wrong(view, "expected a mapping")
        for name, one in view.entries().items():
            _add_header(name, draft.value(one, f"{entry.name.value}_{name}"), one, headers, draft)
    return headers


def _add_header(name: str, value: Value | None, view: View, headers: dict[str, Value], draft: Draft) -> None:
    if isinstance(value, str) and _HEADER.fullmatch(name) and "${" not in name and value.isprintable():
        headers[name] = value
        draft.report.mapped(view, "headers of its provider")
    else:
        draft.report.wrong(view, "not a header of a request")


def _add_rest(entry: Entry, params: dict[str, Value], draft: Draft) -> None:
    """Everything else an entry says: LiteLLM passes it to the vendor's API, so its plugin gets it."""
    is_foreign = entry.model.vendor.kind == "litellm"
    for key, view in entry.params.items():
        if key in _ELSEWHERE or costs.is_cost(key) or (is_foreign and key == "api_version"):
            continue
        if key == "organization" and not is_foreign:
            continue
        if key in _DROPPED:
            draft.report.dropped(view, _DROPPED[key])
        elif is_foreign and key in _NOT_PARAMS:
            draft.report.dropped(view, _NOT_PARAMS[key])
        elif is_foreign:
            _add_param(key, view, entry, params, draft)
        else:
            draft.report.dropped(view, "what requests leave out is not filled in per model; `defaults` is for all")


def _add_param(key: str, view: View, entry: Entry, params: dict[str, Value], draft: Draft) -> None:
    found = draft.value(view, f"{entry.name.value}_{key}")
    if found is None or not key or "${" in key:
        draft.report.dropped(view, "says nothing that a file can hold")
        return
    params[key] = found
    draft.report.mapped(view, f"params.{key} of its provider")
