"""The routing.yaml in the making: its sections, names that are free, and secrets turned into variables."""

import re
from collections.abc import Collection, Mapping
from decimal import Decimal

from msgspec import Struct, field

from muxer.litellm_import.report import Report
from muxer.litellm_import.tree import Items, Table, View
from muxer.litellm_import.values import LONGEST_NUMBER, escaped, is_reference, plain, text, variable_in
from muxer.prices import PriceTable

Value = str | int | bool | Decimal | list["Value"] | dict[str, "Value"]
"""What the result can say; texts are as the file has them, so that `${NAME}` is a reference."""

_SECRET = re.compile(
    r"key|secret|passw|credential|authorization|cookie|webhook|private|token$|token_|_pat$|account$", re.IGNORECASE
)
_NO_SECRET = re.compile(r"max_.*token|token_(limit|count|type)|key_(name|alias)|budget_tokens", re.IGNORECASE)
_LOOKS_SECRET = re.compile(
    r"(sk|pk|rk|gsk|xai|pplx|hf|ghp|r8|nvapi)[-_]\S{6,}|AIza\S{10,}|AKIA\S{8,}|eyJ\S{10,}|Bearer .*"
)
_PASSWORD_IN_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/@\s]*:[^/@\s]+@|https?://\S*[?&](key|token|api_key|sig)=")
_LARGEST = 2**63
# What people write where a server wants no key.
_NO_KEY = frozenset({"", "none", "null", "empty", "fake", "fake-key", "dummy", "not-needed", "not_needed", "na", "n/a"})


class Secrets:
    """Gives each secret that stands in the input a variable; the secret itself goes nowhere."""

    def __init__(self, taken: Collection[str], report: Report) -> None:
        self._taken = set(taken)
        self._report = report
        self._variables: dict[str, str] = {}

    def reference(self, view: View, wanted: str) -> str | None:
        """`${NAME}` for a secret, whether the input refers to one or holds it."""
        if is_reference(view):
            return text(view, self._report)
        value = view.value
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
            self._report.wrong(view, "expected text")
            return None
        name = self._variables.get(str(value))
        if name is None:
            name = self._variables[str(value)] = self._free(wanted)
            self._report.variables[name] = f"the secret that stands in {view.spot}"
        self._report.approximated(view, f"a secret is not copied; put it in the variable {name}")
        return f"${{{name}}}"

    def _free(self, wanted: str) -> str:
        stem = re.sub("_+", "_", re.sub("[^A-Z0-9]", "_", wanted[:60].upper())).strip("_") or "SECRET"
        name = stem = stem if stem[0].isalpha() else f"SECRET_{stem}"
        count = 1
        while name in self._taken:
            count += 1
            name = f"{stem}_{count}"
        self._taken.add(name)
        return name


class Draft(Struct, kw_only=True):
    """The result so far. `kinds` are the kinds of provider that installed plugins may offer."""

    report: Report
    table: PriceTable
    kinds: frozenset[str]
    secrets: Secrets
    providers: dict[str, dict[str, Value]] = field(default_factory=dict)
    models: dict[str, dict[str, Value]] = field(default_factory=dict)
    routes: list[dict[str, Value]] = field(default_factory=list)
    limits: list[dict[str, Value]] = field(default_factory=list)
    keys: list[dict[str, Value]] = field(default_factory=list)
    guards: list[dict[str, Value]] = field(default_factory=list)
    sinks: list[dict[str, Value]] = field(default_factory=list)
    server: dict[str, Value] = field(default_factory=dict)
    store: dict[str, Value] = field(default_factory=dict)
    unpriced: dict[str, View] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    plugins: list[str] = field(default_factory=list)
    is_strict: bool = False
    timeout: Decimal | None = None

    def provider(self, vendor: str, settings: dict[str, Value], came_from: str) -> str:
        """The name of a provider with these settings, a new one only if there is none."""
        for name, known in self.providers.items():
            if known == settings:
                return name
        name = free_name(vendor, self.providers)
        self.providers[name] = settings
        self.comments[f"providers.{name}"] = came_from
        return name

    def model(self, name: str, entry: dict[str, Value], came_from: str) -> None:
        """Adds a model or a group under a name that is free."""
        self.models[name] = entry
        self.comments[f"models.{name}"] = came_from

    def limit(self, entry: dict[str, Value], came_from: str) -> str:
        """Adds a limit, and says how the report names it."""
        if entry in self.limits:
            return f"limits[{self.limits.index(entry)}]"
        self.limits.append(entry)
        place = f"limits[{len(self.limits) - 1}]"
        self.comments[place] = came_from
        return place

    def value(self, view: View, wanted: str) -> Value | None:
        """Any value as the result says it, secrets in it replaced by variables named after `wanted`."""
        if isinstance(view.node, Items):
            found = [self.value(item, wanted) for item in view.items()]
            return [one for one in found if one is not None]
        if isinstance(view.node, Table):
            inner = {name: self.value(one, f"{wanted}_{name}") for name, one in view.entries().items()}
            return {escaped(name): one for name, one in inner.items() if one is not None and is_key(name)}
        value = view.value
        if is_secret(view):
            return self.secrets.reference(view, wanted)
        if isinstance(value, str):
            return text(view, self.report)
        if not isinstance(value, int | Decimal) or isinstance(value, bool):
            return value
        return value if len(plain(Decimal(value))) <= LONGEST_NUMBER and abs(Decimal(value)) < _LARGEST else None


def is_key(name: str) -> bool:
    """Whether the result can have a key of that name."""
    return bool(name) and "${" not in name


def is_secret(view: View) -> bool:
    """Whether a text is a secret, by its key or by its looks; a reference to one is none."""
    value = view.value
    if not isinstance(value, str) or variable_in(value) is not None:
        return False
    key = re.split(r"[.\[]", view.path)[-1]
    named = _SECRET.search(key) is not None and _NO_SECRET.search(key) is None
    return named or looks_secret(value)


def looks_secret(text: str) -> bool:
    """Whether a text has the looks of a vendor's key, a token, or an address with a password."""
    return _LOOKS_SECRET.fullmatch(text) is not None or _PASSWORD_IN_URL.match(text) is not None


def is_no_key(view: View) -> bool:
    """Whether a key is one of the words people write for a server that wants none."""
    return isinstance(view.value, str) and view.value.strip().lower() in _NO_KEY


def free_name(wanted: str, taken: Collection[str] | Mapping[str, object]) -> str:
    """The name, or the first of NAME-2, NAME-3… that is free."""
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}-{count}"
    return name
