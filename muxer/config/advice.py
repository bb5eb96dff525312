"""What works and yet should change: secrets in the file, retired models, idle escrow. `check --strict` refuses it."""

import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from muxer.config.checks import Models
from muxer.config.environment import PLACEHOLDERS, SecretFile, file_references
from muxer.config.notes import Notes, Steps
from muxer.config.settings import Component, KeySettings
from muxer.config.tree import Items, Node, Scalar, Table, find
from muxer.limits import Amounts
from muxer.prices import PriceTable
from muxer.stores import HasJournal

_SECRETS = frozenset({"api_key", "secret", "password", "token", "authorization", "x-api-key"})
_PASSWORD_IN_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/@\s]*:[^/@\s]+@")
# As vendors issue them: OpenAI, Anthropic and many after them, Google, Groq, xAI, Hugging Face, AWS, GitHub, ours.
_LOOKS_SECRET = re.compile(
    r"(Bearer |Basic )?"
    r"(sk-[\w-]{16,}|AIza[\w-]{30,}|(gsk|xai|hf|ghp|github_pat)[_-]\w{16,}|AKIA[A-Z0-9]{16}|mux_[\w-]{20,})"
)
_DEFAULT = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*:-([^{}]+)\}")
NOTICE = timedelta(days=60)
"""How long before its end a model is warned of."""

_PASSWORD_IS_FILLED = re.compile(r"[a-z][a-z0-9+.-]*://[^/@\s]*:\$\{[^{}]*\}@")
_REMEDY = 'write a reference to the environment: "${NAME}"'


def advise_references(notes: Notes) -> None:
    """Warns of each secret that stands in the file itself."""
    for section in ("store", "providers", "keys", "authenticators", "guards", "sinks"):
        node = find(notes.root, (section,))
        if node is not notes.root and node.place is not None:
            _advise(notes, node, (section,))


def advise_open_files(notes: Notes, files: Mapping[str, SecretFile]) -> None:
    """Warns of each secret's file that every user of the machine can read."""

    def look(node: Node, steps: Steps) -> None:
        if isinstance(node, Items):
            for index, item in enumerate(node.items):
                look(item, (*steps, index))
        elif isinstance(node, Table):
            for key, entry in node.entries.items():
                look(entry, (*steps, key))
        else:
            for path in file_references(node.written.encode()):
                if files[path].is_open:
                    notes.add(steps, f"every user of this machine can read {path}", "take the right away: chmod o-r")

    if any(file.is_open for file in files.values()):
        look(notes.root, ())


def retired(
    notes: Notes, models: Models, providers: Mapping[str, Component | None], table: PriceTable, today: date
) -> set[str]:
    """The models whose vendor has retired them by today, each with a warning; one also for those it will soon."""
    found: set[str] = set()
    soon = today + NOTICE
    for name, model in models.items():
        provider = providers.get(model.provider or "") if model else None
        if model is None or provider is None:
            continue
        facts = table.facts(provider.vendor, model.name or name, provider.base_url)
        steps: Steps = ("models", name, "name") if model.name else ("models", name)
        last = facts.deprecated_on if facts else ""
        if last and last <= today.isoformat():
            notes.add(steps, f"the vendor retired this model on {last}", "name a current one")
            found.add(name)
        elif last and last <= soon.isoformat():
            notes.add(steps, f"the vendor retires this model on {last}", "name a current one before that")
    return found


def usable_default(notes: Notes, model: str | None, models: Models, retired_models: set[str]) -> str | None:
    """The model for when no route matches, or None and a warning when it cannot be asked."""
    steps: Steps = ("defaults", "model")
    if model is None:
        return None
    if model not in models:
        notes.add(steps, f"no model {notes.named(steps)}; ignored", "give a name under models")
        return None
    if model in retired_models:
        notes.add(steps, "this model is retired; ignored", "give a current one")
        return None
    return model


def advise_escrow(
    notes: Notes, store: Component, limits: Sequence[Amounts | None], keys: Sequence[KeySettings | None]
) -> None:
    """Warns of each limit with escrow over a store that keeps no journal."""
    if isinstance(store.settings, HasJournal):
        return
    of_keys = [(("keys", index, "limits"), key.limits) for index, key in enumerate(keys) if key]
    found: list[tuple[Steps, Sequence[Amounts | None]]] = [(("limits",), limits), *of_keys]
    for steps, amounts in found:
        for index, limit in enumerate(amounts):
            if limit and limit.on_store_error == "escrow":
                what = "escrow needs a store on another machine; here it refuses"
                notes.add((*steps, index, "on_store_error"), what, "give refuse or allow")


def _advise(notes: Notes, node: Node, steps: Steps) -> None:
    if isinstance(node, Items):
        for index, item in enumerate(node.items):
            _advise(notes, item, (*steps, index))
    elif isinstance(node, Table):
        for key, entry in node.entries.items():
            _advise(notes, entry, (*steps, key))
    # What a guard looks for has names of the operator's own: `patterns: {token: ...}`.
    elif _is_secret(node, "" if steps[0] == "guards" and len(steps) > 3 else str(steps[-1])):
        notes.add(steps, "a secret is written in the file", _REMEDY)


def _is_secret(node: Scalar, key: str) -> bool:
    """Whether a secret can be read in the file: as the value, or as what a reference falls back to."""
    if node.variable or node.sort not in ("text", "filled"):
        return False
    written = node.written if node.sort == "filled" else node.text
    texts = _DEFAULT.findall(written) if node.sort == "filled" else [written]
    is_url = _PASSWORD_IN_URL.match(written) is not None and not _PASSWORD_IS_FILLED.match(written)
    return is_url or any(
        text and text not in PLACEHOLDERS and (key.lower() in _SECRETS or _LOOKS_SECRET.match(text)) for text in texts
    )
