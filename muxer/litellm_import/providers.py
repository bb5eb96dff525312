"""The provider an entry of model_list needs: kind, key, address, headers, and with LiteLLM everything else."""

import re
from collections.abc import Mapping
from decimal import Decimal
from urllib.parse import urlsplit

from muxer.litellm_import import costs
from muxer.litellm_import.draft import Draft, Value, is_no_key
from muxer.litellm_import.entries import ADDRESSES, Entry
from muxer.litellm_import.tree import Table, View
from muxer.litellm_import.values import flag, is_reference, number
from muxer.litellm_import.vendors import address

_ELSEWHERE = frozenset({
    "model", "custom_llm_provider", "api_key", *ADDRESSES, "organization", "extra_headers", "headers", "timeout",
    "rpm", "tpm", "max_parallel_requests", "weight", "order", "max_budget", "budget_duration", "drop_params",
    "litellm_credential_name",
})  # fmt: skip
_GOES_ON = "a request goes on to the next model; the same one is not asked twice"
_OFFLINE = "`muxer serve --demo` answers offline"
_TOGETHER = "tokens are limited together: tokens_per_minute"
_DROPPED = {
    "stream_timeout": "timeout_s of the provider is for streams too",
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
    _add_address(entry, settings, params, draft)
    headers = _headers(entry, params, draft)
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


def _add_address(entry: Entry, settings: dict[str, Value], params: dict[str, Value], draft: Draft) -> None:
    vendor, report = entry.model.vendor, draft.report
    given = [entry.params[key] for key in ADDRESSES if key in entry.params]
    for other in given[1:]:
        report.dropped(other, "api_base says it too, and that counts")
    if not given:
        if vendor.base_url is not None:
            settings["base_url"] = vendor.base_url
        elif vendor.address_variable is not None:
            settings["base_url"] = f"${{{vendor.address_variable}}}"
            report.variables.setdefault(
                vendor.address_variable, f"where LiteLLM takes the address of {vendor.name} from"
            )
        return
    found = draft.value(given[0], f"{entry.name.value}_API_BASE")
    if not isinstance(found, str):
        return
    if vendor.kind == "litellm":
        params["api_base"] = found
        report.mapped(given[0], "params.api_base of its provider")
        return
    settings["base_url"] = address(vendor, found)
    report.mapped(given[0], "base_url of its provider")
    if "api_key" not in entry.params and _is_own_server(entry):
        report.approximated(
            given[0], "no key is sent there, where LiteLLM sends OPENAI_API_KEY; add api_key if it must"
        )


def _headers(entry: Entry, params: dict[str, Value], draft: Draft) -> dict[str, Value]:
    """Headers for every request; LiteLLM's plugin takes them as a parameter instead."""
    headers: dict[str, Value] = {}
    is_foreign = entry.model.vendor.kind == "litellm"
    organization = entry.params.get("organization")
    found = draft.value(organization, f"{entry.name.value}_ORGANIZATION") if organization is not None else None
    if organization is not None and not isinstance(found, str):
        draft.report.wrong(organization, "expected text")
    elif organization is not None and found is not None:
        (params if is_foreign else headers)["organization" if is_foreign else "OpenAI-Organization"] = found
        draft.report.mapped(organization, "params" if is_foreign else "headers of its provider")
    for key in ("extra_headers", "headers"):
        view = entry.params.get(key)
        if view is None:
            continue
        if not isinstance(view.node, Table):
            draft.report.wrong(view, "expected a mapping")
        for name, one in view.entries().items():
            header = draft.value(one, f"{entry.name.value}_{name}") if one.is_scalar else None
            if isinstance(header, str) and _HEADER.fullmatch(name) and "${" not in name and header.isprintable():
                headers[name] = header
                draft.report.mapped(one, "headers of its provider")
            else:
                draft.report.wrong(one, "not a header of a request")
    if headers and is_foreign:
        params["extra_headers"] = headers
        return {}
    return headers


def _add_rest(entry: Entry, params: dict[str, Value], draft: Draft) -> None:
    """Everything else an entry says: LiteLLM passes it to the vendor's API, so its plugin gets it."""
    for key, view in entry.params.items():
        if key in _ELSEWHERE or costs.is_cost(key):
            continue
        if key in _DROPPED:
            draft.report.dropped(view, _DROPPED[key])
        elif entry.model.vendor.kind != "litellm":
            draft.report.dropped(view, "what requests leave out is not filled in per model; `defaults` is for all")
        else:
            _add_param(key, view, entry, params, draft)


def _add_param(key: str, view: View, entry: Entry, params: dict[str, Value], draft: Draft) -> None:
    found = draft.value(view, f"{entry.name.value}_{key}")
    if found is None or not key or "${" in key:
        draft.report.dropped(view, "says nothing that a file can hold")
        return
    params[key] = found
    draft.report.mapped(view, f"params.{key} of its provider")
