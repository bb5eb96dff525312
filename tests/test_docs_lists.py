"""The documentation against the code: its lists of settings, codes, metrics, events, plugins and files are complete."""

import ast
import inspect
import re
from typing import get_args

import msgspec
import msgspec.inspect as types

import muxer
from muxer import Secret, hookspecs
from muxer.__main__ import COMMANDS
from muxer.config import settings
from muxer.errors import ConfigInvalid, MuxerError
from muxer.gates import Gate
from muxer.interfaces import ProviderSettings
from muxer.plugins import find_kinds, installed
from tests.test_docs import PAGES, ROOT, VARIABLES, below, headings

# Modules that readers are told to write.
EXAMPLES = {"muxer_debug", "acme_server", "muxer_acme", "muxer_echo"}


def test_each_error_code_is_a_heading_with_its_status_and_type() -> None:
    waiting: list[type[MuxerError]] = [MuxerError]
    codes: dict[str, str] = {}
    while waiting:
        error = waiting.pop()
        waiting += [one for one in error.__subclasses__() if one.__module__.startswith("muxer.")]
        if error is not ConfigInvalid:  # told by commands, never over HTTP
            codes.setdefault(error.code, f"**{error.status}** `{error.type}`")
    described = [one for one in headings("docs/http.md", 3) if re.fullmatch("[a-z_0-9]+", one)]
    assert sorted(described) == sorted(codes)
    assert {code: below("docs/http.md", code).split("\n")[0] for code in codes} == codes


def _words(wanted: types.Type) -> str:
    """A type as the pages write it."""
    match wanted:
        case types.UnionType():
            return " or ".join(_words(one) for one in wanted.types if not isinstance(one, types.NoneType))
        case types.Metadata():
            return _words(wanted.type)
        case types.LiteralType():
            return " or ".join(f"`{value}`" for value in wanted.values)
        case types.VarTupleType():
            return f"list, each {_words(wanted.item_type)}"
        case types.DictType():
            return f"mapping, each {_words(wanted.value_type)}"
        case types.IntType() | types.FloatType():
            name = "whole number" if isinstance(wanted, types.IntType) else "number"
            bounds = {"at least": wanted.ge, "above": wanted.gt, "at most": wanted.le, "below": wanted.lt}
            return ", ".join([name, *(f"{words} {bound:g}" for words, bound in bounds.items() if bound is not None)])
    if isinstance(wanted, types.CustomType) and wanted.cls is Secret:
        return "text"
    simple = {types.StrType: "text", types.BoolType: "true or false", types.DecimalType: "amount in US dollars"}
    return simple.get(type(wanted), "mapping")


def _default(field: types.Field) -> str:
    if field.required:
        return "required"
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    if isinstance(value, msgspec.Struct):
        return "default: as below"
    if value is None or value in ((), "", {}):
        return "default: none"
    return f"default: `{f'{value:g}' if isinstance(value, float) else str(value).replace('False', 'false')}`"


def keys_of(cls: type, prefix: str) -> dict[str, str]:
    """Every key of a settings type by its path, with its type and default in words."""
    info = types.type_info(cls)
    assert isinstance(info, types.StructType)
    found: dict[str, str] = {}
    for field in info.fields:
        path, wanted = f"{prefix}{field.encode_name}", field.type
        while isinstance(wanted, types.Metadata):
            wanted = wanted.type
        found[path] = f"*{_words(wanted)}; {_default(field)}*"
        suffix = {types.VarTupleType: "[].", types.DictType: ".NAME."}.get(type(wanted), ".")
        inner = getattr(wanted, "item_type", getattr(wanted, "value_type", wanted))
        for one in getattr(inner, "types", (inner,)):
            # In a component stands what its plugin wants.
            if isinstance(one, types.StructType) and one.cls is not settings.Component:
                found |= keys_of(one.cls, path + suffix)
    return found


def test_each_key_of_the_file_is_a_heading_with_its_type_and_default() -> None:
    expected = keys_of(settings.Settings, "") | keys_of(ProviderSettings, "providers.NAME.")
    expected |= {name: re.sub(";.*", "; required*", expected[name]) for name in settings.REQUIRED}
    lists = {"authenticators": settings.Listed, "guards": settings.ListedGuard, "sinks": settings.ListedSink}
    for section, cls in lists.items():
        expected |= keys_of(cls, f"{section}[].")
    kinds = ("store", "providers.NAME", *(f"{section}[]" for section in lists))
    expected |= dict.fromkeys((f"{path}.kind" for path in kinds), "*text; required*")
    expected["store"] = "*mapping; default: `{kind: sqlite, path: muxer.db}`*"
    page = "docs/configuration.md"
    described = {path: below(page, path).split("\n")[0] for path in headings(page, 3)}
    assert described == expected


def test_each_setting_of_a_plugin_is_a_heading_on_its_page() -> None:
    kinds = find_kinds(sorted(installed()))
    shared = set(ProviderSettings.__struct_fields__)
    built = kinds.providers, kinds.stores, kinds.guards, kinds.sinks, kinds.authenticators
    own: dict[str, list[str]] = {}
    for kind in (kind for table in built for kind in table.values()):
        own.setdefault(kind.name, []).extend(one for one in kind.settings.__struct_fields__ if one not in shared)
    for name, fields in own.items():
        assert [one for one in headings(f"docs/plugins/{name}.md", 3) if one not in shared] == fields


def test_each_hook_is_a_heading_with_its_signature() -> None:
    hooks = [hook for hook in vars(hookspecs).values() if hasattr(hook, f"{hookspecs.GROUP}_spec")]
    signatures = [
        f"{hook.__name__}{inspect.signature(hook)}".replace("muxer.interfaces.", "").replace("muxer.stores.", "")
        for hook in hooks
    ]
    assert headings("docs/plugins.md", 3) == signatures


def test_each_command_is_a_heading() -> None:
    assert headings("docs/operate.md", 3) == [f"muxer {name}" for name in COMMANDS]


def rows(page: str) -> set[str]:
    """The words in backticks that begin a row of a table."""
    return set(re.findall(r"^\| `([^`]+)`", PAGES[page], re.MULTILINE))


def test_each_name_of_a_rule_and_each_gate_is_explained() -> None:
    assert {*settings.FREE_SIGNALS, *get_args(Gate)} <= rows("docs/routing.md")


def test_each_variable_is_explained() -> None:
    assert rows("docs/configuration.md") & rows("docs/from-seed.md") >= VARIABLES


def test_every_metric_named_exists() -> None:
    known = {metric.name for metric in muxer.ALL_METRICS}
    modules = {path.name.removesuffix(".py") for path in (ROOT / "plugins").iterdir()}
    for page, text in PAGES.items():
        named = set(re.findall(r"\bmuxer_[a-z_]*[a-z]\b", text))
        assert {re.sub("_(bucket|sum|count)$", "", name) for name in named} - known - modules - EXAMPLES == set(), page


def events() -> set[str]:
    """What the proxy and its plugins log, by the calls in their code: a level, and the event as a constant."""
    sources = [*(ROOT / "muxer").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    calls = [node for path in sources for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    logged = [one.args[1] for one in calls if len(one.args) > 1 and "log" in ast.unparse(one.func)]
    return {str(one.value) for one in logged if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def test_each_event_of_the_log_is_explained() -> None:
    _, _, rest = PAGES["docs/operate.md"].partition("\n## Logs\n")
    assert len(found := events()) > 30
    assert found - set(re.findall(r"^\| `(\w+)`", rest, re.MULTILINE)) == set()


def test_the_map_names_every_page() -> None:
    linked = {f"docs/{target}" for target in re.findall(r"\]\(([\w/.-]+\.md)", PAGES["docs/index.md"])}
    assert {page for page in PAGES if page.startswith("docs/")} - linked == {"docs/index.md"}


def test_the_table_of_plugins_has_each() -> None:
    assert re.findall(r"^\| \[(\w+)\]\(plugins/", PAGES["docs/plugins.md"], re.MULTILINE) == sorted(installed())


def test_the_map_names_every_file_of_the_core() -> None:
    files = {f"muxer/{path.name}" for path in (ROOT / "muxer").glob("*.py") if path.name != "__init__.py"}
    assert files - set(re.findall(r"muxer/\w+\.py", PAGES["docs/index.md"])) == set()
