"""The sections beside model_list, key by key: what sets something here, and why the rest does not."""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial

from muxer.litellm_import import reasons
from muxer.litellm_import.budgets import window
from muxer.litellm_import.draft import Draft, Value
from muxer.litellm_import.groups import Routing, strategy
from muxer.litellm_import.stores import add_cache, add_store
from muxer.litellm_import.tree import Items, Table, View
from muxer.litellm_import.values import flag, number, text, whole

Setter = Callable[[View], None]
_MEGABYTE = 1_048_576
INSTANCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
"""How LiteLLM names something in a Python file of one's own."""


def read_sections(root: View, routing: Routing, draft: Draft) -> None:
    """Everything that is not model_list. Where router_settings and litellm_settings both speak, the first counts."""
    sections = {
        name: _section(root, name, draft) for name in ("router_settings", "litellm_settings", "general_settings")
    }
    router, library, general = sections.values()
    _router(router, routing, draft)
    _library(library, router, routing, draft)
    _general(general, draft)
    for name, view in root.entries().items():
        if name in reasons.TOP:
            draft.report.dropped(view, reasons.TOP[name])


def handlers_of(root: View, draft: Draft) -> dict[str, str]:
    """The vendors that the input's own handlers serve, each with `module.instance`."""
    section = root.get("litellm_settings")
    view = section.get("custom_provider_map") if section is not None else None
    handlers: dict[str, str] = {}
    for item in view.items() if view is not None else ():
        name, handler = item.get("provider"), item.get("custom_handler")
        if name is None or handler is None or not isinstance(name.value, str) or not isinstance(handler.value, str):
            draft.report.wrong(item, "expected provider and custom_handler")
            continue
        found = text(handler, draft.report)
        if found is None or not INSTANCE.fullmatch(found):
            draft.report.wrong(handler, "expected module.instance")
        elif name.value:
            handlers[name.value] = found
            draft.report.mapped(item, "handler of its providers, of kind litellm")
    return handlers


def _section(root: View, name: str, draft: Draft) -> dict[str, View]:
    view = root.get(name)
    if view is None:
        return {}
    if not isinstance(view.node, Table):
        draft.report.wrong(view, "expected a mapping")
    return _said(view)


def _said(view: View) -> dict[str, View]:
    """The entries that say something."""
    return {key: one for key, one in view.entries().items() if not one.is_nothing}


def _go(section: Mapping[str, View], setters: Mapping[str, Setter], why: Mapping[str, str], draft: Draft) -> None:
    for key, view in section.items():
        if key in setters:
            setters[key](view)
        elif key in why:
            draft.report.dropped(view, why[key])


def _choosing(routing: Routing, draft: Draft) -> dict[str, Setter]:
    """What LiteLLM takes in router_settings and in litellm_settings alike."""

    def family(name: str, view: View) -> None:
        routing.fallbacks.append((view, name))
        if not isinstance(view.node, Items | Table):
            draft.report.wrong(view, "expected a list of mappings from a model to its fallbacks")

    return {
        "fallbacks": partial(family, "fallbacks"),
        "context_window_fallbacks": partial(family, "context_window_fallbacks"),
        "content_policy_fallbacks": partial(family, "content_policy_fallbacks"),
        "default_fallbacks": routing.defaults.append,
        "timeout": partial(_timeout, draft=draft),
        "request_timeout": partial(_timeout, draft=draft),
    }


def _router(section: Mapping[str, View], routing: Routing, draft: Draft) -> None:
    setters = _choosing(routing, draft) | {
        "routing_strategy": partial(strategy, routing=routing, draft=draft),
        "model_group_alias": routing.aliases.append,
        "default_max_parallel_requests": partial(
            _limit, draft=draft, per="model", ours="concurrent", words="each model on its own"
        ),
    }
    _go(section, setters, reasons.ROUTER, draft)
    add_store(section, draft)


def _library(section: Mapping[str, View], router: Mapping[str, View], routing: Routing, draft: Draft) -> None:
    report = draft.report
    setters = _choosing(routing, draft) | {
        "drop_params": partial(_drop_params, draft=draft),
        "model_alias_map": routing.aliases.append,
        "tag_budget_config": partial(_tag_budgets, draft=draft),
    }
    if "cache" in section:
        add_cache(section["cache"], section.get("cache_params"), draft)
    elif "cache_params" in section:
        report.dropped(section["cache_params"], "cache is not true")
    for key in ("callbacks", "success_callback", "failure_callback", "service_callbacks"):
        setters[key] = partial(_callbacks, draft=draft)
    rest = {}
    for key, view in section.items():
        if key in router and key in setters and not key.endswith("callback"):
            report.dropped(view, "router_settings says it too, and that counts")
        else:
            rest[key] = view
    _go(rest, setters, reasons.LIBRARY, draft)
    _budget(section, "all", ("max_budget", "budget_duration"), draft)
    _budget(section, "user", ("max_internal_user_budget", "internal_user_budget_duration"), draft)
    for key, per in (("default_internal_user_params", "user"), ("default_team_params", "team"),
                     ("default_key_generate_params", "key")):  # fmt: skip
        params = section.get(key)
        if params is not None:
            _subject(_said(params), per, draft)


def _general(section: Mapping[str, View], draft: Draft) -> None:
    setters: dict[str, Setter] = {
        "master_key": partial(_master_key, draft=draft),
        "max_parallel_requests": partial(
            _limit, draft=draft, per="key", ours="concurrent", words="each key on its own, as in LiteLLM"
        ),
        "global_max_parallel_requests": partial(
            _limit, draft=draft, per="all", ours="concurrent", words="all together"
        ),
        "max_request_size_mb": partial(_body_size, draft=draft),
    }
    _go(section, setters, reasons.GENERAL, draft)


def _timeout(view: View, draft: Draft) -> None:
    if draft.timeout is not None:
        draft.report.dropped(view, "another timeout counts")
        return
    draft.timeout = number(view, draft.report, least=Decimal("0.001"))
    if draft.timeout is not None:
        draft.report.mapped(view, "timeout_s of every provider without its own")


def _drop_params(view: View, draft: Draft) -> None:
    drops = flag(view, draft.report)
    if drops is not None:
        draft.is_strict = not drops
        draft.report.mapped(view, f"strict_params: {'false, as it is without it' if drops else 'true'}")


def _callbacks(view: View, draft: Draft) -> None:
    """Prometheus is a plugin here, a logger of one's own a sink; the services LiteLLM knows by name are neither."""
    for item in list(view.items()) if isinstance(view.node, Items) else [view]:
        if item.value == "prometheus":
            if "prometheus" not in draft.plugins:
                draft.plugins.append("prometheus")
            draft.report.mapped(item, "the plugin prometheus: GET /metrics")
        elif isinstance(item.value, str) and INSTANCE.fullmatch(item.value):
            _add_sink(item.value, item, draft)
        elif isinstance(item.value, str):
            draft.report.dropped(item, "no sink writes there; the plugin jsonl writes records to a file to be read on")
        else:
            draft.report.wrong(item, "expected the name of a callback")


def _add_sink(logger: str, view: View, draft: Draft) -> None:
    if all(sink["logger"] != logger for sink in draft.sinks):
        draft.comments[f"sinks[{len(draft.sinks)}]"] = str(view.spot)
        draft.sinks.append({"kind": "litellm", "name": logger, "logger": logger})
    draft.report.approximated(view, "a sink: told of finished requests, without their prompts, and never before")


def _master_key(view: View, draft: Draft) -> None:
    reference = draft.secrets.reference(view, "LITELLM_MASTER_KEY")
    if reference is not None:
        draft.keys.append({"name": "master", "secret": reference, "role": "admin"})
        draft.comments["keys[0]"] = str(view.spot)
        draft.report.mapped(view, "a key of role admin")


def _body_size(view: View, draft: Draft) -> None:
    megabytes = number(view, draft.report, least=Decimal("0.001"))
    if megabytes is not None:
        draft.server["max_body_bytes"] = int(megabytes * _MEGABYTE)
        draft.report.mapped(view, "server.max_body_bytes")


def _limit(view: View, draft: Draft, per: str, ours: str, words: str) -> None:
    found = whole(view, draft.report)
    if found is not None:
        draft.limit({"per": per, ours: found}, str(view.spot))
        draft.report.mapped(view, f"{ours} of a limit per {per}: {words}")


def _budget(section: Mapping[str, View], per: str, keys: tuple[str, str], draft: Draft) -> None:
    """A budget and the key that says how long it lasts."""
    amount, duration = section.get(keys[0]), section.get(keys[1])
    found = window(amount, duration, f"of a limit per {per}", draft.report)
    if found and amount is not None:
        draft.limit({"per": per, **found}, str(amount.spot))


def _subject(params: Mapping[str, View], per: str, draft: Draft) -> None:
    """The budget and rates every new user, team or key gets in LiteLLM: here all of them have it."""
    _budget(params, per, ("max_budget", "budget_duration"), draft)
    rates: dict[str, Value] = {}
    for key, ours in (("rpm_limit", "requests_per_minute"), ("tpm_limit", "tokens_per_minute"),
                      ("max_parallel_requests", "concurrent")):  # fmt: skip
        rate = params.get(key)
        found = whole(rate, draft.report) if rate is not None else None
        if rate is not None and found is not None:
            rates[ours] = found
            draft.report.approximated(rate, f"{ours} of a limit per {per}, for those that exist too")
    if rates:
        first = next(iter(params.values()))
        draft.limit({"per": per, **rates}, str(first.spot))


def _tag_budgets(view: View, draft: Draft) -> None:
    for tag, params in view.entries().items():
        if "${" in tag or not tag:
            draft.report.wrong(params, "not a tag")
            continue
        before = len(draft.limits)
        _budget(_said(params), "tag", ("max_budget", "budget_duration"), draft)
        for limit in draft.limits[before:]:
            limit["where"] = {"tag": tag}
