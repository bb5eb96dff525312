"""Entries that name a kind: the rest of the entry is the plugin's own settings, decoded by the plugin's own type."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, structs

from muxer.config.decode import Decoder
from muxer.config.environment import PLACEHOLDERS
from muxer.config.hints import nearest
from muxer.config.settings import Component, Listed, ListedGuard, ListedSink
from muxer.config.tree import Node, Scalar, Table
from muxer.errors import ConfigInvalid, Fault
from muxer.interfaces import Kind, Kinds, PricedAs

AnyKinds = Mapping[str, Kind[Any]]


class Offer(Struct, frozen=True):
    """The kinds of one sort that the loaded plugins offer. It is no `is_whole` offer where a plugin could not be
    loaded: nobody knows what that one has. `unnamed` are plugins that could be named."""

    kinds: AnyKinds
    is_whole: bool
    unnamed: frozenset[str] = frozenset()


def component(decoder: Decoder, node: Node, name: str, path: str, offer: Offer) -> Component | None:
    """The component an entry describes, or None and faults."""
    kind = _kind(decoder, node, path, offer)
    if kind is None or not isinstance(node, Table):
        return None
    reason = _missing_key(node)
    settings = decoder.struct(_own_settings(node, kind, without_key=bool(reason)), kind.settings, path)
    if settings is None:
        return None
    base_url = getattr(settings, "base_url", None)
    return Component(
        name=name,
        kind=kind.name,
        settings=settings,
        unavailable=reason,
        vendor=settings.priced_as if isinstance(settings, PricedAs) else kind.name,
        base_url=base_url if isinstance(base_url, str) else None,
    )


def components(
    decoder: Decoder, section: Node | None, name: str, shape: type[Listed], offer: Offer
) -> list[Component | None]:
    """The components of a list, by names that differ; None for one with faults."""
    found: list[Component | None] = []
    names: dict[str, str] = {}
    for index, node in enumerate(decoder.items(section, name)):
        path = f"{name}[{index}]"
        listed = decoder.struct(_part(node, shape, own=False), shape, path)
        one = component(decoder, _part(node, shape, own=True), "", path, offer)
        found.append(_listed(one, listed))
        named = found[-1].name if found[-1] else ""
        if named and names.setdefault(named, path) != path:
            decoder.note(node, path, f"{named!r} is already the name of {names[named]}", "give each its own `name`")
    return found


def _listed(one: Component | None, listed: Listed | None) -> Component | None:
    if one is None or listed is None:
        return None
    required = isinstance(listed, ListedGuard | ListedSink) and listed.required
    timeout_s = listed.timeout_s if isinstance(listed, ListedGuard) else 0.0
    return structs.replace(one, name=listed.name or one.kind, required=required, timeout_s=timeout_s)


def _part(node: Node, shape: type[Listed], *, own: bool) -> Node:
    """The keys of an entry that the core reads, or the others, which are the plugin's own."""
    if not isinstance(node, Table):
        return node
    entries = {key: entry for key, entry in node.entries.items() if (key not in shape.__struct_fields__) == own}
    return Table(node.place, entries, {key: place for key, place in node.keys.items() if key in entries})


def default_store(root: Table) -> Table:
    """The store of a file that names none: an embedded one beside it."""
    texts = {"kind": "sqlite", "path": "muxer.db"}
    entries: dict[str, Node] = {
        key: Scalar(place=root.place, sort="text", text=text, written=text) for key, text in texts.items()
    }
    return Table(root.place, entries, {})


def in_demo(providers: Mapping[str, Component], kinds: Kinds) -> dict[str, Component]:
    """The same providers, each played by the offline one. Raises ConfigInvalid when no plugin offers it."""
    demo = kinds.providers.get("demo")
    if demo is None:
        raise ConfigInvalid([Fault("no plugin offers the provider kind 'demo'", path="plugins")])
    settings: Struct = demo.settings()
    return {
        name: structs.replace(one, kind=demo.name, settings=settings, unavailable="") for name, one in providers.items()
    }


def _kind(decoder: Decoder, node: Node, path: str, offer: Offer) -> Kind[Any] | None:
    entries = decoder.table(node, path)
    if "kind" not in entries:
        if isinstance(node, Table):
            decoder.note(node, path, "missing key 'kind'")
        return None
    word = decoder.text(entries["kind"], f"{path}.kind")
    if word is not None and word not in offer.kinds and offer.is_whole:
        written = getattr(entries["kind"], "written", "")
        decoder.note(entries["kind"], path, f"unknown kind {written!r}", _kind_hint(word, offer))
    return offer.kinds.get(word or "")


def _kind_hint(word: str, offer: Offer) -> str:
    if word in offer.unnamed:
        return f"name the plugin {word} under plugins"
    if not offer.kinds:
        return "name a plugin that offers it under plugins"
    return nearest(word, offer.kinds) or f"known: {', '.join(sorted(offer.kinds))}"


def _missing_key(node: Table) -> str:
    """Why a provider without its `api_key` is unavailable, or nothing."""
    key = node.entries.get("api_key")
    if not isinstance(key, Scalar):
        return ""
    if key.missing:
        return f"{key.missing[0]} is not set"
    if key.text in PLACEHOLDERS:
        return "api_key is a placeholder"
    is_text = key.sort in ("text", "filled")
    return "api_key is empty" if is_text and not key.text.strip() else ""


def _own_settings(node: Table, kind: Kind[Any], *, without_key: bool) -> Table:
    """The entry as the plugin's settings see it: without `kind`, and without a key that is not there."""
    entries = {key: entry for key, entry in node.entries.items() if key != "kind"}
    keys = {key: place for key, place in node.keys.items() if key != "kind"}
    if without_key:
        is_required = "api_key" in {field.name for field in structs.fields(kind.settings) if field.required}
        entries.pop("api_key")
        if is_required:
            entries["api_key"] = Scalar(place=node.place, sort="text", text="unset", written="")
    return Table(node.place, entries, keys)
