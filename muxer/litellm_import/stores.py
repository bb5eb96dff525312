"""Where LiteLLM keeps counts and answers: the store of the result, and its guard for the cache."""

from collections.abc import Mapping

from muxer.litellm_import.draft import Draft, Value
from muxer.litellm_import.tree import View
from muxer.litellm_import.values import flag, number, whole

_PLACE = ("host", "port", "password", "db")
_HERE = frozenset({"local", "redis"})


def add_store(section: Mapping[str, View], draft: Draft) -> None:
    """Redis where LiteLLM shares its counts in one; without it the result has the file that needs nothing else."""
    url = section.get("redis_url")
    parts = {key: section[f"redis_{key}"] for key in _PLACE if f"redis_{key}" in section}
    found = _url(url, parts, "store.url", "REDIS", draft)
    if found is not None:
        draft.store |= {"kind": "redis", "url": found}


def add_cache(switch: View, params: View | None, draft: Draft) -> None:
    """The guard that answers what it has answered before, in Redis where LiteLLM's cache is."""
    report = draft.report
    values = {} if params is None else {key: one for key, one in params.entries().items() if not one.is_nothing}
    mode, kind = values.get("mode"), values.get("type")
    if not flag(switch, report) or (mode is not None and mode.value == "default_off"):
        words = "the cache is off, or for requests that ask for it"
        for view in filter(None, (switch, params)):
            report.dropped(view, words)
        return
    guard: dict[str, Value] = {"kind": "cache", "scope": "all"}
    if "ttl" in values:
        ttl = number(values["ttl"], report)
        if ttl:
            guard["ttl_s"] = ttl
            report.mapped(values["ttl"], "ttl_s of the guard cache")
    found = _url(values.get("url"), {key: values[key] for key in _PLACE if key in values}, "url", "CACHE", draft)
    if found is not None:
        guard["url"] = found
    if kind is not None and kind.value not in _HERE:
        report.approximated(kind, "in the memory of each process")
    elif kind is not None:
        report.mapped(kind, "the guard cache")
    report.approximated(switch, "the guard cache, scope: all as in LiteLLM; a narrower scope keeps answers apart")
    draft.guards.append(guard)
    draft.plugins.append("cache")
    draft.comments["guards[0]"] = str(switch.spot)


def _url(url: View | None, parts: Mapping[str, View], what: str, name: str, draft: Draft) -> str | None:
    """The address of a Redis, from one key or from several."""
    report = draft.report
    if url is not None:
        found = draft.value(url, f"{name}_URL")
        if not isinstance(found, str):
            report.wrong(url, "expected an address")
            return None
        report.mapped(url, what)
        for view in parts.values():
            report.dropped(view, "the url says it")
        return found
    if "host" not in parts:
        for view in parts.values():
            report.dropped(view, "there is no host beside it")
        return None
    host = draft.value(parts["host"], f"{name}_HOST")
    if not isinstance(host, str):
        report.wrong(parts["host"], "expected the name of a machine")
        return None
    password = draft.secrets.reference(parts["password"], f"{name}_PASSWORD") if "password" in parts else None
    port = whole(parts["port"], report) if "port" in parts else None
    database = whole(parts["db"], report, least=0) if "db" in parts else None
    for view in parts.values():
        report.mapped(view, what)
    if password is not None:
        report.mapped(parts["password"], "characters such as @ and / must be written %40 and %2F there")
    return f"redis://{f':{password}@' if password else ''}{host}:{port or 6379}/{database or 0}"
