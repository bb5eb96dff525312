"""The variables of the seed's README: each fills in what the file leaves out, as if it stood there."""

from collections.abc import Mapping

from muxer.config.environment import sha256_of, value_of
from muxer.config.faults import Faults
from muxer.config.tree import Items, Node, Scalar, Table

_DEFAULTS = {"model": "DEFAULT_MODEL", "max_tokens": "MAX_TOKENS_DEFAULT", "temperature": "TEMPERATURE_DEFAULT"}
_BUDGETS = {"daily_usd": ("DEFAULT_DAILY_BUDGET", "10"), "monthly_usd": ("DEFAULT_MONTHLY_BUDGET", "100")}


def with_variables(root: Table, variables: Mapping[str, str]) -> Table:
    """The file's tree with the defaults, limits and keys of the environment where it has none of its own."""
    entries = dict(root.entries)
    defaults = entries.get("defaults", Table(root.place, {}, {}))
    if isinstance(defaults, Table):
        entries["defaults"] = _with_defaults(defaults, variables)
    if "limits" not in entries:
        entries["limits"] = Items(None, (_limit(variables),))
    if "keys" not in entries and (secrets := value_of("ALLOWED_API_KEYS", variables)) is not None:
        entries["keys"] = _keys(secrets)
    return Table(root.place, entries, root.keys)


def is_debug(variables: Mapping[str, str], faults: Faults) -> bool:
    """Whether DEBUG asks for a talkative log."""
    word = (value_of("DEBUG", variables) or "false").strip().lower()
    if word not in ("true", "1", "yes", "on", "false", "0", "no", "off"):
        faults.add(None, "DEBUG", "expected true or false")
    return word in ("true", "1", "yes", "on")


def _with_defaults(defaults: Table, variables: Mapping[str, str]) -> Table:
    given: dict[str, Node] = {}
    for key, variable in _DEFAULTS.items():
        value = value_of(variable, variables)
        if value is not None and key not in defaults.entries:
            given[key] = _scalar(value.strip(), variable)
    return Table(defaults.place, {**defaults.entries, **given}, defaults.keys)


def _limit(variables: Mapping[str, str]) -> Table:
    amounts: dict[str, Node] = {
        key: _scalar((value_of(variable, variables) or default).strip(), variable)
        for key, (variable, default) in _BUDGETS.items()
    }
    return Table(None, {"per": _scalar("user", "DEFAULT_DAILY_BUDGET"), **amounts}, {})


def _keys(secrets: str) -> Items:
    """A key for each secret in the comma-separated list; its user is named after the secret's digest."""
    keys: dict[str, Node] = {}
    for secret in filter(None, map(str.strip, secrets.split(","))):
        name = f"key-{sha256_of(secret)[:8]}"
        # These keys may read /metrics too, as SEED's own did.
        texts = {"name": name, "secret": secret, "user": name, "role": "metrics"}
        keys[name] = Table(None, {key: _scalar(text, "ALLOWED_API_KEYS") for key, text in texts.items()}, {})
    return Items(None, tuple(keys.values()))


def _scalar(text: str, variable: str) -> Scalar:
    return Scalar(place=None, sort="filled", text=text, written="", variable=variable)
